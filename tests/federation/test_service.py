"""Does a job become exactly one effective run, and its use exactly one cost, whatever sites tell?"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from cesai.allocations import service as allocations
from cesai.federation import service, store
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import NotFound, Refused
from cesai.kernel.states import AttemptState, JobState, Outcome
from cesai.sites import service as sites
from tests.federation.conftest import OPERATOR, pool

HOUR = timedelta(hours=1)


# Submitting


def test_a_job_of_a_stranger_is_refused_without_saying_whether_the_project_is_there(world):
    with pytest.raises(Refused, match="not a member of a project legal-llm") as there:
        world.submit(by=world.stranger)
    with pytest.raises(Refused) as missing:
        world.submit(by=world.stranger, project="no-such")
    assert there.value.sentence.replace("legal-llm", "no-such") == missing.value.sentence


def test_an_unknown_class_is_refused_with_the_nearest_known(world):
    with pytest.raises(Refused, match=r"H1000.*H100"):
        world.submit(gpu_class="H1000")


def test_a_job_larger_than_any_site_is_refused_with_the_numbers(world):
    with pytest.raises(Refused, match=r"3 nodes x 4 GPUs is larger than any site has \(juelich gpu 2 x 4\)"):
        world.submit(nodes=3, gpus_per_node=4)


def test_a_wall_time_over_every_limit_is_refused_with_the_longest(world):
    with pytest.raises(Refused, match="the longest is 1440 minutes"):
        world.submit(walltime="2d")


def test_a_job_larger_than_the_award_left_is_refused_with_what_is_left(world):
    with pytest.raises(Refused, match=r"H100 at juelich: .*104\.27 GPU-hours .*100\.00 GPU-hours left"):
        world.submit(nodes=2, gpus_per_node=4, walltime="13h")


def test_queued_jobs_do_not_count_against_the_award(world):
    for _ in range(3):
        world.submit(nodes=2, gpus_per_node=4, walltime="12h")


def test_an_unknown_site_is_refused_with_the_nearest_known(world):
    with pytest.raises(Refused, match="did you mean juelich"):
        world.submit(sites="julich")


def test_a_project_that_no_site_took_in_is_told_what_to_do(world):
    with pytest.raises(Refused, match="No site has accepted other yet"):
        world.submit(by=world.stranger, project="other")


def test_a_submitted_job_waits_and_has_its_first_event(world):
    job = world.submit()
    assert job.state == JobState.QUEUED
    assert world.kinds(job) == ["submitted"]
    assert service.why(world.db, job.id, by=world.member, now=world.now).places[0].site_id == "juelich"


# Resuming


def test_a_job_resumes_at_the_site_where_the_checkpoints_are(world):
    attempt = world.place()
    with pytest.raises(Refused, match="still PLACED"):
        world.submit(resume=str(attempt.job_id))
    world.end(attempt, Outcome.CANCELLED)
    again = world.place(resume=str(attempt.job_id))
    assert again.site_id == "juelich"
    assert again.order["resume_from"] == f"jobs/{attempt.job_id.hex}/checkpoints"
    assert again.order["checkpoint_folder"] == f"jobs/{again.job_id.hex}/checkpoints"
    with pytest.raises(Refused, match="are at juelich"):
        world.submit(resume=str(attempt.job_id), sites="rwth")


def test_a_job_of_others_cannot_be_resumed_and_one_that_never_ran_has_nothing_to_resume(world):
    job = world.submit()
    service.cancel(world.db, job.id, None, by=world.member, now=world.now)
    with pytest.raises(Refused, match="has never run"):
        world.submit(resume=str(job.id))
    with pytest.raises(Refused, match=r"no job .* of yours"):
        world.submit(resume=str(job.id), by=world.stranger, project="other")


# Placing


def test_placing_books_the_reservation_with_the_attempt(world):
    attempt = world.place(gpus_per_node=2, walltime=58)
    assert attempt.state == AttemptState.PLANNED
    assert attempt.reserved_gpu_ms == 2 * 60 * 60_000
    assert world.line().pending.value == attempt.reserved_gpu_ms
    assert store.job(world.db, attempt.job_id).state == JobState.PLACED
    assert attempt.marker == f"{attempt.job_id.hex}-a1"
    assert world.holds()


def test_of_two_jobs_that_race_for_the_last_hours_the_second_waits_with_that_reason(world):
    first, second = (world.submit(nodes=2, gpus_per_node=1, walltime="24h") for _ in range(2))
    third = world.submit(nodes=2, gpus_per_node=1, walltime="24h")
    world.round()
    states = [world.fresh(job).state for job in (first, second, third)]
    assert states == [JobState.PLACED, JobState.PLACED, JobState.QUEUED]
    assert "award" in world.fresh(third).waiting_reason
    assert world.holds()


def test_whole_nodes_are_reserved_where_a_partition_is_exclusive(world):
    world.juelich.tell_capacity(pool("juelich", is_exclusive=True))
    attempt = world.place(nodes=2, gpus_per_node=1, walltime=58)
    assert attempt.charged_gpus == 8
    assert attempt.reserved_gpu_ms == 8 * 60 * 60_000


def test_a_job_has_one_open_attempt_at_any_time(world):
    attempt = world.place()
    with pytest.raises(IntegrityError, match="uq_attempt_one_open"), world.db.begin_nested():
        world.db.execute(
            text(
                "INSERT INTO attempt SELECT (jsonb_populate_record(a, jsonb_build_object("
                "'id', gen_random_uuid(), 'number', 2, 'marker', 'x'))).* FROM attempt a WHERE id = :id"
            ),
            {"id": attempt.id},
        )


def test_a_draining_site_gets_no_job_and_the_job_says_so(world):
    sites.set_draining(world.db, "juelich", is_draining=True, by=OPERATOR, now=world.now)
    job = world.submit()
    assert world.round() == 0
    assert "draining" in world.fresh(job).waiting_reason


def test_a_second_round_places_nothing_again(world):
    world.place()
    assert world.round() == 0


def test_a_round_knows_what_began_and_ended_since_the_site_last_told(world):
    first = world.place(nodes=2, gpus_per_node=4)
    world.juelich.tell(first.id, "RUNNING")
    second = world.submit()
    world.round()
    assert world.fresh(second).state == JobState.QUEUED
    busy = {"partition": "gpu", "gpus": 8, "ends_by": (world.now + HOUR).isoformat(), "marker": first.marker}
    world.juelich.tell_capacity(pool("juelich", gpus_free=0), running=[busy])
    world.juelich.tell(first.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    world.round()
    assert world.fresh(second).state == JobState.PLACED


# The agent's orders and reports


def test_an_agent_gets_its_own_sites_orders_whole_and_again(world):
    attempt = world.place()
    reply = world.juelich.sync()
    assert [order.attempt_id for order in reply.orders] == [str(attempt.id)]
    assert reply.orders[0].script == "#!/bin/sh\ntrue\n"
    assert reply.orders[0].account == "llm"
    assert world.juelich.sync().orders == reply.orders
    assert world.rwth.sync().orders == ()
    assert reply.accounts == ("llm",)


def test_the_order_revision_moves_when_a_job_is_placed(world):
    before = world.juelich.sync().revision
    world.place()
    assert service.order_revision(world.db, "juelich") != before


def test_an_attempt_runs_to_its_end_and_its_use_is_booked(world):
    attempt = world.place(gpus_per_node=2)
    world.juelich.sync()
    for state in ("SUBMITTING", "SUBMITTED"):
        world.juelich.tell(attempt.id, state)
    world.end(attempt, exit_code=0)
    job = store.job(world.db, attempt.job_id)
    assert job.state == JobState.SUCCEEDED
    assert attempt.is_settled
    assert allocations.settled(world.db, [attempt.id])[attempt.id] == GpuMilliseconds(2 * 600_000)
    assert world.line().pending == ZERO
    assert world.holds()
    assert world.kinds(job) == [
        "submitted",
        "placed",
        "submitting",
        "submitted",
        "running",
        "running",
        "ended",
        "succeeded",
        "settled",
    ]


def test_an_attempt_is_forgotten_only_when_its_end_use_and_log_are_here(world):
    attempt = world.place()
    world.juelich.sync()
    reply = world.juelich.tell(attempt.id, "ENDED", outcome="SUCCEEDED")
    assert (reply.orders, reply.settled) == ((), ())
    assert reply.log_wants[0].offset == 0
    reply = world.juelich.tell(attempt.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    assert reply.settled == ()
    last = world.juelich.report(attempt.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    reply = world.juelich.sync(attempts=[last], logs=[world.juelich.log(attempt.id, 0, b"", is_end=True)])
    assert reply.settled == (str(attempt.id),)
    assert reply.log_wants == ()


def test_reports_in_any_order_end_in_the_same_rows_and_the_same_ledger(world):
    history = [
        ("SUBMITTING", {}),
        ("SUBMITTED", {"external_id": "100"}),
        ("RUNNING", {"external_id": "100"}),
        ("ENDED", {"external_id": "100", "outcome": "SUCCEEDED", "is_usage_complete": True}),
    ]

    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(order=st.permutations([*range(4), *range(4)]), data=st.data())
    def check(order, data):
        attempt = world.place()
        world.juelich.sync()
        record = world.juelich.usage(attempt, seconds=60, gpus=1)
        told = [world.juelich.report(attempt.id, state, **facts) for state, facts in history]
        revised = record | {"revision": 2, "gpu_ms": 50_000}
        records = data.draw(st.permutations([record, revised, record, revised]))
        for index, chosen in enumerate(order):
            world.juelich.sync(attempts=[told[chosen]], usage=records[index : index + 1])
        world.fresh(attempt)
        job = world.fresh(store.job(world.db, attempt.job_id))
        assert (attempt.state, attempt.outcome, job.state) == ("ENDED", "SUCCEEDED", "SUCCEEDED")
        assert allocations.settled(world.db, [attempt.id])[attempt.id] == GpuMilliseconds(50_000)
        assert world.line().pending == ZERO

    check()
    assert world.holds()


def test_a_report_of_another_site_changes_nothing(world):
    attempt = world.place()
    world.juelich.sync()
    world.rwth.tell(attempt.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    world.rwth.tell("no-uuid", "RUNNING")
    assert world.fresh(attempt).state == AttemptState.PLANNED


def test_an_impossible_report_is_kept_as_evidence_and_changes_nothing(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "RUNNING")
    world.juelich.tell(attempt.id, "SUBMITTED")
    world.juelich.tell(attempt.id, "ENDED")
    job = store.job(world.db, attempt.job_id)
    assert world.fresh(attempt).state == AttemptState.RUNNING
    assert world.kinds(job).count("evidence") == 2


def test_evidence_of_a_site_that_errs_for_ever_does_not_pile_up(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "RUNNING")
    for _ in range(23):
        world.juelich.tell(attempt.id, "SUBMITTED")
    assert world.kinds(store.job(world.db, attempt.job_id)).count("evidence") == 20


def test_a_report_about_an_older_attempt_changes_nothing_of_the_job(world):
    first = world.place(retry={"causes": ["NODE_FAIL"], "limit": 1})
    world.juelich.tell(first.id, "RUNNING")
    world.juelich.tell(first.id, "ENDED", outcome="NODE_FAIL")
    world.round()
    second = world.attempt(store.job(world.db, first.job_id))
    assert (second.number, second.state) == (2, AttemptState.PLANNED)
    world.juelich.tell(first.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    assert store.job(world.db, first.job_id).state == JobState.PLACED
    assert world.fresh(first).outcome == Outcome.NODE_FAIL


def test_text_with_nul_and_impossible_times_from_a_site_break_nothing(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "SUBMITTED", reason="a\0b", submit_time="0001-01-01T00:00:00+14:00")
    assert world.fresh(attempt).submit_time is None
    assert "\0" not in attempt.reason


def test_the_order_of_a_job_holds_no_secret_and_its_entrypoint_as_a_script(world):
    attempt = world.place(script=None, entrypoint="false && true; echo $X", environment={"X": "1"})
    assert attempt.order["script"] == "#!/bin/sh\nset -e\nfalse && true; echo $X\n"
    assert attempt.order["environment"] == {"X": "1"}


# Cancelling


def test_a_queued_job_is_cancelled_at_once(world):
    job = world.submit()
    service.cancel(world.db, job.id, "wrong data", by=world.member, now=world.now)
    assert world.fresh(job).state == JobState.CANCELLED
    assert "wrong data" in job.cause
    assert world.round() == 0


def test_a_job_that_no_agent_has_fetched_is_cancelled_at_once_and_never_handed_out(world):
    attempt = world.place()
    service.cancel(world.db, attempt.job_id, None, by=world.member, now=world.now)
    assert store.job(world.db, attempt.job_id).state == JobState.CANCELLED
    assert world.fresh(attempt).outcome == Outcome.ABSENT
    assert world.juelich.sync().orders == ()
    assert world.line().left == world.line().awarded


@pytest.mark.parametrize("state", ["SUBMITTING", "UNKNOWN", "SUBMITTED", "RUNNING"])
def test_a_cancel_is_a_wish_until_the_site_has_told_a_final_state(world, state):
    attempt = world.place()
    world.juelich.sync()
    world.juelich.tell(attempt.id, state)
    before = service.order_revision(world.db, "juelich")
    service.cancel(world.db, attempt.job_id, None, by=world.member, now=world.now)
    service.cancel(world.db, attempt.job_id, None, by=world.member, now=world.now)
    assert service.order_revision(world.db, "juelich") == before + 1
    assert store.job(world.db, attempt.job_id).state in {JobState.PLACED, JobState.RUNNING}
    assert [order.wish for order in world.juelich.sync().orders] == ["cancel"]
    reply = world.juelich.tell(attempt.id, "ENDED", outcome="CANCELLED", is_usage_complete=True)
    assert reply.orders == ()
    assert world.fresh(store.job(world.db, attempt.job_id)).state == JobState.CANCELLED
    assert world.holds()


def test_a_job_that_ended_before_the_wish_reached_it_keeps_its_own_end(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "RUNNING")
    service.cancel(world.db, attempt.job_id, None, by=world.member, now=world.now)
    world.juelich.tell(attempt.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    assert store.job(world.db, attempt.job_id).state == JobState.SUCCEEDED
    with pytest.raises(Refused, match="ended already"):
        service.cancel(world.db, attempt.job_id, None, by=world.member, now=world.now)


def test_a_stranger_sees_no_job_and_cancels_none(world):
    job = world.submit()
    for ask in (service.job, service.events):
        with pytest.raises(NotFound):
            ask(world.db, job.id, by=world.stranger)
    with pytest.raises(NotFound):
        service.cancel(world.db, job.id, None, by=world.stranger, now=world.now)
