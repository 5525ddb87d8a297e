"""What does the connector say, and how often does a script run, when real daemons freeze, die and come back?"""

from __future__ import annotations

import pytest

from cesai.contract.connector import FINAL, SiteState, SiteUnavailable
from tests.connectors.conftest import connector_of, trial_of

pytestmark = [pytest.mark.slurm, pytest.mark.fault]
RUNS = "#!/bin/sh\necho ran\nsleep 1\n"


@pytest.fixture(params=["cli", "rest"])
def trial(request, juelich):
    trial = trial_of(juelich, request.param)
    yield trial
    trial.clean_up()


def mend_nodes(site):
    for node in site.spec.node_names:
        site.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)
    site.await_idle()


def test_a_submission_to_a_frozen_controller_may_have_gone_in_and_still_runs_once(trial, juelich):
    order = trial.make(RUNS)
    trial.runs.prepare(order)
    juelich.freeze("slurmctld")
    try:
        with pytest.raises(SiteUnavailable):
            trial.runs.submit(order)
        seen = trial.runs.observe([order.marker], trial.since)
        assert not seen.queue_answered
    finally:
        juelich.thaw("slurmctld")
    trial.until(lambda: trial.runs.observe([], trial.since).queue_answered, what="the controller answers again")
    ids = [job.external_id for job in trial.until(lambda: trial.look(order), what="the lost submission is found")]
    ids.append(trial.runs.submit(order))
    trial.runs.release(ids)
    trial.reach(order, FINAL)
    assert trial.log(order).count(b"ran") == 1
    assert len(trial.folders.read_folder(order.marker).duplicate_ids) == len(ids) - 1


def test_without_accounting_jobs_run_and_its_silence_is_told(trial, juelich):
    juelich.kill("slurmdbd")
    try:
        order, job = trial.run(RUNS)
        assert job.state is SiteState.COMPLETED
        seen = trial.runs.observe([order.marker], trial.since)
        assert (seen.queue_answered, seen.accounting_answered) == (True, False)
        with pytest.raises(SiteUnavailable):
            trial.connector.usage([order.account], trial.since)
        assert {finding.name: finding.is_ok for finding in trial.connector.examine()}["accounting"] is False
    finally:
        juelich.restart("slurmdbd")
    rows = trial.until(
        lambda: [row for row in trial.connector.usage([order.account], trial.since) if row.name == order.marker],
        what="accounting catches up",
    )
    assert [row.gpus for row in rows] == [order.charged_gpus]


def test_a_slurmrestd_that_died_is_spoken_to_again_when_it_is_back(juelich):
    connector = connector_of(juelich, "rest")
    assert connector.cluster_identity() == "juelich/1"
    juelich.kill("slurmrestd")
    try:
        with pytest.raises(SiteUnavailable):
            connector.capacity()
    finally:
        juelich.restart("slurmrestd")
    assert connector.capacity().pools


def test_a_controller_killed_after_a_launch_runs_no_script_twice(juelich):
    trial = trial_of(juelich, "cli")
    trial.patience_s = 200
    orders = [trial.make(f"{RUNS}sleep 2\n", nodes=1, charged_gpus=2) for _ in range(3)]
    try:
        for order in orders:
            trial.start(order)
        for order in orders:
            trial.fence(order)
        juelich.kill("slurmctld")
        juelich.start_slurmctld()
        for order in orders:
            trial.await_log(order, b"ran")
            mend_nodes(juelich)
            trial.until(lambda o=order: all(job.state in FINAL for job in trial.look(o)), what="every launch is over")
        assert [trial.log(order).count(b"ran") for order in orders] == [1, 1, 1]
        assert all(trial.folders.read_folder(order.marker).stamps.exit_code == 0 for order in orders)
    finally:
        trial.clean_up()
        # A slurmd remembers the jobs that a killed controller forgot, and drains its node when their ids come again.
        for node in juelich.spec.node_names:
            juelich.restart(node)
        mend_nodes(juelich)
