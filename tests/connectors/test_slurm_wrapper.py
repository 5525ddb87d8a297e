"""Does the wrapper run a script once, whoever else starts it or buries it, and write down what happened?

The wrapper runs for real here, without Slurm around it: its environment is what slurmd would give it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from cesai.contract.connector import SiteUnavailable, SubmitRefused
from cesai_slurm.folders import Folders
from cesai_slurm.orders import places
from cesai_slurm.settings import read_settings

RUNS = "#!/bin/sh\necho ran >>ran\n"


@pytest.fixture
def tools(tmp_path):
    folder = tmp_path / "tools"
    folder.mkdir()
    shim(folder, "squeue", "echo 2026-11-24T12:00:00")
    return folder


@pytest.fixture
def folders(tmp_path, tools):
    base = tmp_path / "base"
    base.mkdir()
    return Folders(read_settings({"backend": "cli", "cluster": "juelich", "base": str(base), "tools": str(tools)}))


def shim(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def launch(folders, order, *, job=7, gpus="0,1", **more):
    place = places(folders.settings, account=order.account, marker=order.marker)
    env = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": str(job), "SLURM_EXPORT_ENV": "NIL", "HOME": "/", "USER": "me"}
    if gpus:
        env["CUDA_VISIBLE_DEVICES"] = gpus
    with (place.attempt / "output").open("ab") as log:
        return subprocess.Popen(
            ["/bin/sh", place.attempt / "wrapper.sh", place.attempt],
            env=env | more,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def run(folders, order, **more):
    return launch(folders, order, **more).wait(30)


def ran(folders, order):
    path = folders.settings.base / order.account / "ran"
    return path.read_text().count("ran") if path.exists() else 0


def until(claim):
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


def test_a_run_leaves_owner_stamps_and_exit_code(folders, order):
    job = order(script="#!/bin/sh\nexit 3\n")
    folders.prepare(job)
    assert run(folders, job) == 3
    reading = folders.read(job.marker)
    assert (reading.owner, reading.owner_restart) == ("7", 0)
    assert reading.owner_submit_time == datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert reading.stamps.exit_code == 3
    assert reading.stamps.started_at <= reading.stamps.ended_at
    assert datetime.now(UTC) - reading.stamps.ended_at < timedelta(seconds=30)
    assert reading.stamps.started_at.microsecond % 1000 == 0


def test_of_many_launches_at_once_one_runs_and_the_others_end_quietly(folders, order):
    job = order(script=RUNS)
    folders.prepare(job)
    launches = [launch(folders, job, job=number) for number in range(1, 25)]
    assert {one.wait(60) for one in launches} == {0}
    reading = folders.read(job.marker)
    assert ran(folders, job) == 1
    assert len(reading.duplicate_ids) == 23
    assert reading.owner not in reading.duplicate_ids
    assert reading.stamps.duplicates == 23


def test_burial_and_start_race_for_one_place(folders, order):
    buried = started = 0
    for delay in range(40):
        job = order(script=RUNS)
        folders.prepare(job)
        before = ran(folders, job)
        one = launch(folders, job)
        time.sleep(delay / 1000)
        is_buried = folders.bury(job.marker)
        assert one.wait(30) == 0
        has_run = ran(folders, job) > before
        assert is_buried != has_run
        assert folders.read(job.marker).is_buried == is_buried
        buried, started = buried + is_buried, started + has_run
    assert buried > 0
    assert started + buried == 40


def test_a_reader_never_sees_half_of_anything(folders, order):
    job = order(script=RUNS)
    folders.prepare(job)
    is_over = threading.Event()

    def read():
        while not is_over.is_set():
            reading = folders.read(job.marker)
            assert reading.owner is not None or reading.stamps is None
            assert reading.stamps is None or reading.stamps.exit_code in {None, 0}

    with ThreadPoolExecutor() as pool:
        found = pool.submit(read)
        for one in [launch(folders, job, job=number) for number in range(1, 9)]:
            one.wait(30)
        is_over.set()
        found.result()
    assert folders.read(job.marker).stamps.ended_at is not None


def test_a_job_that_is_launched_again_after_its_end_hands_on_its_first_exit_code(folders, order):
    job = order(script=f"{RUNS}exit 5\n")
    folders.prepare(job)
    assert run(folders, job) == 5
    assert run(folders, job, SLURM_RESTART_COUNT="1") == 5
    assert ran(folders, job) == 1
    assert folders.read(job.marker).duplicate_ids == ("7",)


def test_a_job_that_was_killed_and_is_launched_again_is_no_success(folders, order):
    job = order(script=f"{RUNS}exec sleep 60\n")
    folders.prepare(job)
    one = launch(folders, job)
    until(lambda: ran(folders, job) == 1)
    one.kill()
    one.wait(30)
    assert run(folders, job, SLURM_RESTART_COUNT="1") == 75
    assert ran(folders, job) == 1
    assert folders.read(job.marker).stamps.ended_at is None


def test_a_fence_whose_making_was_answered_with_an_error_is_known_as_ones_own(folders, order, tools):
    shim(tools, "mv", '/bin/mv "$@"; [ "$1" != -T ]')
    job = order(script=RUNS)
    folders.prepare(job)
    assert run(folders, job) == 0
    assert ran(folders, job) == 1
    assert folders.read(job.marker).duplicate_ids == ()


def test_without_a_fence_nothing_runs(folders, order, tools):
    shim(tools, "mkdir", 'echo "No space left on device" >&2; exit 1')
    job = order(script=RUNS)
    folders.prepare(job)
    assert run(folders, job) == 74
    assert ran(folders, job) == 0
    assert "file system full" in folders.read(job.marker).trouble


@pytest.mark.parametrize("gpus", ["", "NoDevFiles", "0"])
def test_without_the_gpus_that_were_ordered_nothing_runs(folders, order, gpus):
    job = order(script=RUNS)
    folders.prepare(job)
    assert run(folders, job, gpus=gpus) == 71
    assert ran(folders, job) == 0
    reading = folders.read(job.marker)
    assert "of 2 GPUs" in reading.trouble
    assert reading.stamps.exit_code == 71


def test_a_script_that_is_asked_to_stop_may_save_and_its_end_is_written_down(folders, order):
    job = order(script="#!/bin/sh\ntrap 'echo saved; exit 4' TERM\necho ready >>ran\nwhile :; do sleep 0.05; done\n")
    folders.prepare(job)
    one = launch(folders, job)
    until((folders.settings.base / job.account / "ran").exists)
    one.send_signal(signal.SIGTERM)
    assert one.wait(30) == 4
    assert folders.read(job.marker).stamps.exit_code == 4
    assert folders.read_log(job.marker, offset=0, limit=100) == b"saved\n"


def test_a_script_that_dies_of_a_signal_ends_with_its_number(folders, order):
    job = order(script="#!/bin/sh\nkill -9 $$\n")
    folders.prepare(job)
    assert run(folders, job) == 137
    assert folders.read(job.marker).stamps.exit_code == 137


def test_the_script_gets_the_listed_environment_and_nothing_else(folders, order):
    job = order(script="#!/bin/sh\nexec env -0\n", environment={"A": "it's\n$(touch pwned)"}, resume_from="old")
    folders.prepare(job)
    assert run(folders, job, BASH_ENV="/evil", LD_LIBRARY_PATH="/evil", SLURM_NTASKS="4", AGENT_SECRET="x") == 0
    log = folders.read_log(job.marker, offset=0, limit=10_000).decode()
    found = dict(pair.split("=", 1) for pair in log.split("\0") if pair)
    project = str(folders.settings.base / job.account)
    assert found.pop("CESAI_CHECKPOINT_DIR").startswith(project)
    assert found == {
        "A": "it's\n$(touch pwned)",
        "CESAI_JOB_MARKER": job.marker,
        "CESAI_PROJECT_DIR": project,
        "CESAI_RESUME_FROM": f"{project}/old",
        "PATH": folders.settings.search_path,
        "HOME": "/",
        "USER": "me",
        "PWD": project,
        "SLURM_CONF": "",
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "4",
        "CUDA_VISIBLE_DEVICES": "0,1",
    }


def test_what_the_job_makes_is_open_to_its_group_only(folders, order):
    job = order(script="#!/bin/sh\ntouch made\n")
    folders.prepare(job)
    assert run(folders, job) == 0
    place = places(folders.settings, account=job.account, marker=job.marker)
    for path in (place.project / "made", place.attempt / "fence" / "owner", place.attempt / "order.sh"):
        assert path.stat().st_mode & 0o777 == 0o660
    assert place.attempt.stat().st_mode & 0o7777 == 0o2770


def test_an_attempt_buried_before_it_is_prepared_stays_buried(folders, order):
    job = order(script=RUNS)
    assert folders.bury(job.marker)
    assert folders.read(job.marker).is_buried
    with pytest.raises(SubmitRefused):
        folders.prepare(job)
    assert run(folders, job) == 0
    assert ran(folders, job) == 0


def test_a_folder_that_cannot_be_written_is_the_sites_trouble(folders, order):
    folders.settings.base.rmdir()
    with pytest.raises(SiteUnavailable, match="cannot be written"):
        folders.prepare(order(script=RUNS))
    with pytest.raises(SiteUnavailable, match="cannot be read"):
        folders.read(order().marker)


def test_a_stamp_that_nobody_can_read_is_the_sites_trouble(folders, order):
    job = order(script=RUNS)
    folders.prepare(job)
    run(folders, job)
    fence = places(folders.settings, account=job.account, marker=job.marker).attempt / "fence"
    (fence / "ended").write_text("at=yesterday\nexit_code=0\n")
    with pytest.raises(SiteUnavailable, match="a stamp"):
        folders.read(job.marker)


@pytest.mark.parametrize("trap", ["link", "pipe", "folder"])
def test_what_a_job_puts_in_place_of_its_log_is_not_read(folders, order, tmp_path, trap):
    job = order(script=RUNS)
    folders.prepare(job)
    output = places(folders.settings, account=job.account, marker=job.marker).attempt / "output"
    secret = tmp_path / "agents-own"
    secret.write_text("secret")
    {"link": lambda: output.symlink_to(secret), "pipe": lambda: os.mkfifo(output), "folder": output.mkdir}[trap]()
    assert folders.read_log(job.marker, offset=0, limit=100) == b""
