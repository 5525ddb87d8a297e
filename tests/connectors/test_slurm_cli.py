"""Are Slurm's commands called with clean words, and believed only when they end well?"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from cesai.contract.connector import SiteUnavailable, SubmitRefused
from cesai_slurm import cli_words
from cesai_slurm.connector import connect
from cesai_slurm.orders import submission

SINCE = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def tools(tmp_path):
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sbatch", "squeue", "sacct", "sinfo", "scontrol", "scancel", "sacctmgr"):
        shim(folder, name, "exit 1")
    return folder


@pytest.fixture
def connector(tmp_path, tools):
    base = tmp_path / "base"
    base.mkdir()
    table = {"backend": "cli", "cluster": "juelich", "base": str(base), "tools": str(tools), "timeout_s": 1}
    return connect(table)


def shim(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_words_of_a_submission_hold_nothing_of_the_users(connector, order):
    job = order(script="#SBATCH --array=0-9\n", environment={"A": "--wrap=evil"}, project="x --evil")
    words = cli_words.sbatch(submission(job, connector.settings))
    assert words[:2] == ["sbatch", "--parsable"]
    assert {"--hold", "--no-requeue", "--export=NIL", f"--job-name={job.marker}", f"--comment={job.marker}"} < {*words}
    assert {"--gres=gpu:h100:2", "--nodes=2", "--time=3", "--ntasks-per-node=1", "--account=legal-llm"} < {*words}
    assert not [word for word in words if "evil" in word or "array" in word]
    assert "evil" not in submission(job, connector.settings).wrapper


def test_a_site_that_counts_gpus_without_a_type_is_asked_without_one(connector, order):
    job = order(gres_type=None, launcher="srun")
    words = cli_words.sbatch(submission(job, connector.settings))
    assert "--gres=gpu:2" in words
    assert "--ntasks-per-node=2" in words


def test_nothing_of_the_agents_environment_reaches_a_command(connector, order, tools, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_ARRAY_INX", "0-9")
    monkeypatch.setenv("AGENT_SECRET", "x")
    shim(tools, "sbatch", f'env >{tmp_path}/env; umask >>{tmp_path}/env; cat >{tmp_path}/script; echo "12;juelich"')
    assert connector.submit(order()) == "12"
    found = (tmp_path / "env").read_text()
    assert "SBATCH_" not in found
    assert "AGENT_SECRET" not in found
    assert "TZ=UTC" in found
    assert "0007" in found
    assert "AGENT_SECRET" in os.environ
    assert (tmp_path / "script").read_text().startswith("#!/bin/sh\nexec /bin/sh /")


@pytest.mark.parametrize(
    "words", ["Invalid account or account/partition combination specified", "Invalid partition name specified"]
)
def test_a_clear_no_is_a_refusal(connector, order, tools, words):
    lines = f"sbatch: error: something before\nsbatch: error: Batch job submission failed: {words}"
    shim(tools, "sbatch", f"echo '{lines}' >&2; exit 1")
    with pytest.raises(SubmitRefused) as refused:
        connector.submit(order())
    assert str(refused.value) == f"Slurm refuses the job: {words}."


@pytest.mark.parametrize(
    "script",
    [
        'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1',
        'echo "sbatch: error: Batch job submission failed: Unable to contact slurm controller" >&2; exit 1',
        "exit 1",
        "exec sleep 5",
        "echo",
        "echo 12x",
        "kill -9 $$",
    ],
)
def test_everything_else_may_have_gone_in(connector, order, tools, script):
    shim(tools, "sbatch", script)
    with pytest.raises(SiteUnavailable):
        connector.submit(order())


def test_a_command_that_fails_or_is_not_there_proves_nothing(connector, tools):
    seen = connector.observe(["x" * 30], SINCE)
    assert (seen.queue_answered, seen.accounting_answered, seen.jobs) == (False, False, ())
    (tools / "squeue").write_text("no program")
    (tools / "squeue").chmod(0o644)
    assert not connector.observe([], SINCE).queue_answered
    for ask in (connector.capacity, lambda: connector.usage(["a"], SINCE), connector.cluster_identity):
        with pytest.raises(SiteUnavailable):
            ask()


def test_an_empty_output_of_a_command_that_ended_well_is_an_answer(connector, tools):
    for name in ("squeue", "sacct"):
        shim(tools, name, "exit 0")
    seen = connector.observe(["x" * 30], SINCE)
    assert (seen.queue_answered, seen.accounting_answered, seen.jobs) == (True, True, ())


@pytest.mark.parametrize(
    ("stderr", "is_released"),
    [
        ("Job has already finished for job 16\nslurm_suspend error: Job has already finished", True),
        ("Invalid job id specified for job 99\nslurm_suspend error: No error", False),
        ("Job has already finished for job 16\nAccess/permission denied for job 17\n", False),
        ("slurm_suspend error: Unable to contact slurm controller (connect failure)", False),
        ("", False),
    ],
)
def test_a_release_counts_unless_it_is_not_proven(connector, tools, stderr, is_released):
    shim(tools, "scontrol", f"echo '{stderr}' >&2; exit 1")
    if is_released:
        connector.release(["16", "17"])
    else:
        with pytest.raises(SiteUnavailable):
            connector.release(["16", "17"])


def test_nothing_to_release_or_to_cancel_asks_nobody(connector):
    connector.release([])
    connector.cancel([])


def test_an_order_for_another_cluster_is_refused(connector, order):
    with pytest.raises(SubmitRefused, match="'rwth'"):
        connector.prepare(order(cluster="rwth"))


def test_examining_a_site_where_nothing_works_says_how_to_mend_it(connector):
    findings = {finding.name: finding for finding in connector.examine()}
    assert findings["scheduler"].is_ok is False
    assert findings["accounting"].is_ok is False
    assert findings["folders"].is_ok is True
    assert findings["configuration"].is_ok is None
    assert all(finding.mend for finding in findings.values() if finding.is_ok is False)


def test_examining_tells_what_slurm_is_set_to(connector, tools, recorded):
    shim(tools, "scontrol", f"cat {recorded}/config.txt")
    findings = {finding.name: finding for finding in connector.examine()}
    assert findings["scheduler"].text == "Slurm 22.05.8, cluster juelich, back end cli"
    assert findings["job comments"].is_ok
    assert findings["GPU accounting"].text == "gres/gpu:h100"
    assert "half-life 7-00:00:00" in findings["usage decay"].text
    assert "EnforcePartLimits=ALL" in findings["partition limits"].mend
    assert findings["clock"].is_ok is False  # it was recorded long ago


@pytest.mark.parametrize(
    ("ahead", "found"),
    [(0, (True, True)), (3600, (False, False)), (20, (True, False)), (-5400, (False, False))],
)
def test_an_hour_off_is_a_time_zone_and_seconds_are_a_clock(connector, tools, recorded, ahead, found):
    shift = f"s/as of .*/as of $(date -u -d '{ahead} seconds' +%Y-%m-%dT%H:%M:%S)/"
    shim(tools, "scontrol", f'sed "{shift}" {recorded}/config.txt')
    findings = {finding.name: finding for finding in connector.examine()}
    assert (findings["time zone"].is_ok, findings["clock"].is_ok) == found


def test_job_ids_that_fall_far_back_are_a_new_life(connector, tools, recorded):
    def next_id(number):
        shim(tools, "scontrol", f"sed 's/NEXT_JOB_ID .*/NEXT_JOB_ID = {number}/' {recorded}/config.txt")

    next_id(5_000)
    assert connector.cluster_identity() == "juelich/1"
    next_id(4_950)  # a crash loses some
    assert connector.cluster_identity() == "juelich/1"
    next_id(1)
    assert connector.cluster_identity() == "juelich/2"
    next_id(2)
    assert connector.cluster_identity() == "juelich/2"
