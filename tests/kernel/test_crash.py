"""Does a crash point kill, and only where it is told to?"""

import subprocess
import sys

import pytest

PROGRAM = """
from cesai.kernel.crash import CrashPoint, reach
for _ in range(3):
    reach(CrashPoint.HUB_PLACED)
    print("passed", flush=True)
"""


@pytest.mark.parametrize(
    ("wish", "passed", "code"), [("", 3, 0), ("agent-released", 3, 0), ("hub-placed", 0, -9), ("hub-placed:3", 2, -9)]
)
def test_a_process_dies_the_nth_time_it_reaches_the_named_point(wish, passed, code):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"CESAI_CRASH_AT": wish}, capture_output=True, text=True, check=False
    )
    assert (done.stdout.count("passed"), done.returncode) == (passed, code)
