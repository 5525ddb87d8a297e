"""Does an agent that is killed at any step of the protocol go on after its restart, with one run and nothing lost?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cesai.agent import cli
from cesai.kernel.crash import CrashPoint
from cesai.kernel.states import Outcome
from tests.agent.fake_site import DiskSite, order
from tests.agent.stub_hub import TOKEN, StubHub, serving

TOP = Path(__file__).parent.parent.parent
POINTS = [
    point for point in CrashPoint if point.name.startswith("AGENT_") and point is not CrashPoint.AGENT_CANCEL_SENT
]
PACE = """
[pace]
poll_seconds = 0.2
quick_seconds = 0.1
usage_seconds = 0.2
absent_seconds = 0.2
stamps_seconds = 0.3
max_backoff_seconds = 1
"""


class Machine:
    """The agent's program, started and started again."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._words = [sys.executable, "-m", "tests.agent.agent_at_fake_site", str(folder / "site.json")]
        self._config = folder / "agent.toml"
        self.site = DiskSite(folder / "site.json")
        self.deaths = 0
        assert cli.main(["enroll", "--hub", url, "--token", TOKEN, "--state", str(folder / "state")]) == 0
        text = f'hub = "{url}"\nstate = "state"\n[connector]\nname = "fake"\n'
        self._config.write_text(text + PACE)

    def start(self, crash_at: str | None = None) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if name != "CESAI_CRASH_AT"}
        env |= {"CESAI_CRASH_AT": crash_at} if crash_at else {}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*self._words, "run", "--config", str(self._config)],
                env=env,
                cwd=TOP,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @contextmanager
    def running(self, crash_at: str) -> Iterator[None]:
        """The agent; when it dies as wished it is started again."""
        self._agent = self.start(crash_at)
        try:
            yield
        finally:
            self._agent.send_signal(signal.SIGTERM)
            assert self._agent.wait(20) == 0, (self._folder / "log").read_text()

    def look(self) -> None:
        """One move of the site, and a new agent where the old one died."""
        self.site.tick()
        code = self._agent.poll()
        if code is None:
            return
        assert code == -signal.SIGKILL, (self._folder / "log").read_text()
        self.deaths += 1
        self._agent = self.start()


def play(tmp_path: Path, crash_at: str, *, cancel: bool = False) -> tuple[StubHub, Machine]:
    hub = StubHub(accounts=("proj1",))
    with serving(hub) as url:
        machine = Machine(tmp_path, url)
        hub.order(order(1))
        hub.order(order(2))
        with machine.running(crash_at):
            end = time.monotonic() + 60
            while len(hub.settled) < 2 or not machine.deaths:
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                machine.look()
                if cancel and "attempt-2" in hub.reports and hub.reports["attempt-2"].external_id:
                    hub.cancel("attempt-2")
                    cancel = False
                time.sleep(0.1)
    assert not hub.faults
    return hub, machine


@pytest.mark.e2e
@pytest.mark.parametrize("point", POINTS)
def test_an_agent_killed_at_this_step_loses_and_doubles_nothing(tmp_path: Path, point: CrashPoint) -> None:
    hub, machine = play(tmp_path, point)
    world = machine.site.look()
    assert machine.deaths == 1
    assert world.runs == {order(1).marker: 1, order(2).marker: 1}
    assert {report.outcome for report in hub.reports.values()} == {Outcome.SUCCEEDED}
    assert all(job["state"] == "completed" for job in world.jobs), "no copy is left behind"
    booked = sum(record.gpu_ms for record in hub.usage.values())
    assert booked == sum(int(job["ended"] - job["started"]) * 1000 for job in world.jobs)


@pytest.mark.e2e
def test_an_agent_killed_after_a_cancel_confirms_it_after_its_restart(tmp_path: Path) -> None:
    site = DiskSite(tmp_path / "site.json")
    with site._open() as world:
        world.run_for = 60
    hub, machine = play(tmp_path, CrashPoint.AGENT_CANCEL_SENT, cancel=True)
    assert machine.deaths == 1
    assert hub.reports["attempt-1"].outcome is Outcome.SUCCEEDED
    assert hub.reports["attempt-2"].outcome is Outcome.CANCELLED
    assert machine.site.look().runs[order(1).marker] == 1
