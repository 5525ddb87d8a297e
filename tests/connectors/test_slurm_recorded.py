"""Are the answers of real Slurm, as they were recorded, read as what they mean?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cesai.contract.connector import SiteState, SiteUnavailable, SubmitRefused
from cesai_slurm import capacity, cli_words, records
from cesai_slurm.dialects.v0038 import V0038
from cesai_slurm.dialects.v0042 import V0042
from cesai_slurm.rest import choose_dialect, faults, read_submitted

RECORDED = Path(__file__).parent / "recorded"
SEPARATOR = "<5e9a0a7c1b2d3e4f>"
RELEASES = ("slurm-22.05", "slurm-24.11")
DIALECTS = {"slurm-22.05": V0038(), "slurm-24.11": V0042()}
CLUSTERS = {"slurm-22.05": ("juelich", "h100"), "slurm-24.11": ("neu", "a100")}
each_release = pytest.mark.parametrize("release", RELEASES)


def text(release, name):
    return (RECORDED / release / name).read_text()


def body(release, name):
    return json.loads(text(release, f"{name}.json"))


def marker(number):
    return f"0192a7b3c4d5e6f708192a3b4c5d6e{number:02}-a1"


def queue_of(release, backend):
    if backend == "cli":
        return cli_words.read_squeue(text(release, "squeue.txt"), SEPARATOR)
    return DIALECTS[release].read_queue(body(release, "jobs"))


def history_of(release, backend):
    if backend == "cli":
        return cli_words.read_sacct(text(release, "sacct.txt"), SEPARATOR)
    dialect = DIALECTS[release]
    rows = (*dialect.read_history(body(release, "history")), *dialect.read_history(body(release, "history_cancelled")))
    return tuple({(row.external_id, row.submit_time): row for row in rows}.values())


def nodes_of(release, backend):
    if backend == "cli":
        return cli_words.read_sinfo(text(release, "sinfo.txt"), SEPARATOR)
    nodes, partitions = body(release, "nodes"), body(release, "partitions")
    return DIALECTS[release].read_nodes(nodes, partitions, exclusive=("short",))


each_backend = pytest.mark.parametrize("backend", ["cli", "rest"])


@each_backend
@each_release
def test_each_job_of_the_queue_has_its_state(release, backend):
    jobs = {row.name: records.of_queue(row) for row in queue_of(release, backend)}
    states = {number: jobs[marker(number)].state for number in range(1, 11)}
    assert states == {
        1: SiteState.CANCELLED,
        2: SiteState.HELD,
        3: SiteState.HELD,
        4: SiteState.RUNNING,
        5: SiteState.IMPOSSIBLE,
        6: SiteState.IMPOSSIBLE,
        7: SiteState.PENDING,
        8: SiteState.FAILED,
        9: SiteState.FAILED,
        10: SiteState.PENDING,
    }


@each_backend
@each_release
def test_a_job_in_the_queue_is_read_back_as_it_was_accepted(release, backend):
    jobs = {row.name: records.of_queue(row) for row in queue_of(release, backend)}
    held, running = jobs[marker(2)], jobs[marker(4)]
    assert (held.nodes, held.gpus, held.walltime_minutes, held.tasks, held.started_at) == (2, 4, 5, 1, None)
    assert (running.nodes, running.gpus, running.walltime_minutes) == (2, 4, 90)
    assert running.started_at is not None
    assert running.ended_at is None  # the end that squeue tells is only expected
    assert jobs[marker(3)].tasks == 5
    assert jobs[marker(7)].restart_count == 1
    assert jobs[marker(7)].started_at is None
    assert (jobs[marker(8)].exit_code, jobs[marker(9)].exit_code) == (7, 137)


@each_release
def test_both_back_ends_read_the_same_queue(release):
    by_cli = {row.external_id.partition("_")[0]: row for row in queue_of(release, "cli")}
    by_rest = {row.external_id.partition("_")[0]: row for row in queue_of(release, "rest")}
    assert by_cli.keys() == by_rest.keys()
    for key, row in by_cli.items():
        other = by_rest[key]
        # An array's id, a limit beyond Slurm's own and the number of a signal are written differently.
        same = {name: getattr(row, name) for name in ("external_id", "walltime_minutes", "reason")}
        assert records.of_queue(replace(other, **same)) == records.of_queue(row)


@each_backend
@each_release
def test_nobody_forges_a_row_with_the_name_of_his_job(release, backend):
    rows = queue_of(release, backend)
    assert sum(row.name == marker(4) for row in rows) == 1
    stranger = next(row for row in rows if row.name.startswith("stranger"))
    assert "\n99<separator>" in stranger.name
    assert stranger.comment == "x\ny"


@each_backend
@each_release
def test_accounting_knows_the_job_that_was_cancelled_while_held(release, backend):
    found = [row for row in history_of(release, backend) if row.name == marker(1)]
    (job,) = records.of_history(found)
    assert (job.state, job.gpus, job.started_at, job.from_accounting) == (SiteState.CANCELLED, 0, None, True)


@each_backend
@each_release
def test_each_launch_of_a_requeued_job_is_a_row_of_its_own(release, backend):
    found = [row for row in history_of(release, backend) if row.name == marker(7)]
    launches = records.launches(found)
    assert launches[0].native_state == "REQUEUED"
    assert launches[0].gpus == 1
    assert launches[0].is_final
    jobs = records.of_history(found)
    assert jobs[-1].state is SiteState.PENDING  # a requeue is no end
    assert jobs[-1].restart_count == 0


@each_backend
@each_release
def test_usage_has_the_gpus_that_were_allocated_and_their_type(release, backend):
    launches = {launch.name: launch for launch in records.launches(history_of(release, backend))}
    running, ended = launches[marker(4)], launches[marker(8)]
    gpu = CLUSTERS[release][1]
    assert (running.gpus, running.gres_type, running.account, running.is_final) == (4, gpu, "proj1", False)
    assert (ended.gpus, ended.gres_type, ended.is_final, ended.native_state) == (1, gpu, True, "FAILED")
    assert launches[marker(1)].gpus == 0


@each_backend
@each_release
def test_pools_tell_what_is_up_and_what_is_free(release, backend):
    cluster, gpu = CLUSTERS[release]
    found = {pool.partition: pool for pool in capacity.pools(cluster, nodes_of(release, backend))}
    assert found.keys() == {"gpu", "short"}
    pool, short = found["gpu"], found["short"]
    assert (pool.gres_type, pool.nodes, pool.nodes_up, pool.gpus, pool.gpus_up, pool.gpus_free) == (gpu, 2, 1, 8, 4, 2)
    assert (pool.gpus_per_node, pool.max_walltime_minutes, pool.is_exclusive) == (4, 1440, False)
    assert pool.features == (f"feat{gpu}",)
    assert (short.gpus_free, short.max_walltime_minutes, short.is_exclusive) == (0, 10, True)


@each_backend
@each_release
def test_running_and_queued_work_is_told_without_what_is_held_or_impossible(release, backend):
    rows, now = queue_of(release, backend), datetime(2026, 11, 25, 1, 28, tzinfo=UTC)
    running, queued = capacity.running(rows, now), capacity.queued(rows)
    assert [(work.marker, work.gpus) for work in running] == [(marker(4), 4)]
    assert running[0].ends_by.hour == 2
    assert {work.marker for work in queued} == {marker(7), marker(10)}


@each_release
def test_the_configuration_is_a_table_with_the_controllers_clock(release):
    table = cli_words.read_configuration(text(release, "config.txt"))
    assert table["ClusterName"] == CLUSTERS[release][0]
    assert table["SLURM_VERSION"].startswith(release.removeprefix("slurm-"))
    assert table["as of"].startswith("2026-11-25T01:2")
    assert int(table["NEXT_JOB_ID"]) > 1


@each_release
def test_the_dialect_is_chosen_from_what_slurmrestd_serves(release):
    assert choose_dialect(body(release, "openapi_paths")).version == DIALECTS[release].version


def test_a_slurmrestd_without_a_known_dialect_is_said_so():
    with pytest.raises(SiteUnavailable, match=r"serves v0\.0\.99; this connector speaks v0\.0\.42, v0\.0\.38"):
        choose_dialect({"paths": {"/slurm/v0.0.99/jobs": {}}})


@each_release
def test_a_job_that_goes_in_held_is_a_success(release):
    assert int(read_submitted(body(release, "submit_held"))) > 0


@each_release
@pytest.mark.parametrize(
    ("answer", "words"),
    [("submit_bad_account", "Invalid account"), ("submit_bad_partition", "nvalid partition")],
)
def test_a_clear_no_is_a_refusal_in_slurms_words(release, answer, words):
    with pytest.raises(SubmitRefused, match=words):
        read_submitted(body(release, answer))


@each_release
def test_a_token_that_is_refused_says_nothing_about_jobs(release):
    assert faults(json.loads(text(release, "bad_token.txt")))


def read_whole(release, backend, cut):
    if backend == "cli":
        return cli_words.read_squeue(cut, SEPARATOR)
    return DIALECTS[release].read_queue(json.loads(cut))


@each_backend
@each_release
def test_an_answer_cut_anywhere_is_no_answer(release, backend):
    whole = text(release, "squeue.txt" if backend == "cli" else "jobs.json")
    for end in range(1, len(whole.rstrip()), 97):
        # Between two rows of squeue a cut does not show; there the exit code of the command does.
        if backend == "cli" and whole[:end].count(SEPARATOR) % len(cli_words.QUEUE_COLUMNS) == 0:
            continue
        with pytest.raises((SiteUnavailable, ValueError)):
            read_whole(release, backend, whole[:end])
