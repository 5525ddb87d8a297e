"""Can what is built be run: does the wheel bring migrations and pages along?"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

TOP = Path(__file__).parent.parent.parent
# Runs from the unpacked wheel alone, in a folder from which no checkout is seen.
SCRIPT = """
import sys
from fastapi.testclient import TestClient
from sqlalchemy import create_engine
import cesai
from cesai.hub import database
from cesai.hub.app import create_app, prepare
from cesai.hub.settings import Settings

assert cesai.__file__.startswith(sys.argv[1]), cesai.__file__
engine = create_engine(Settings().database_url)
database.upgrade(engine)
database.check(engine)
app = create_app(Settings(), engine=engine)
prepare(app)
page = TestClient(app, base_url="http://127.0.0.1:8000").get("/realms/cesai/device")
assert page.status_code == 200 and "<form" in page.text, page.text
engine.dispose()
print("a page from the wheel")
"""


@pytest.mark.e2e
def test_the_wheel_migrates_and_serves_a_page(tmp_path, empty_database_url):
    wheel = next(WheelBuilder(str(TOP)).build(directory=str(tmp_path), versions=["standard"]))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CESAI_")}
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(site)],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(site), "CESAI_DATABASE_URL": empty_database_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "a page from the wheel" in said.stdout
