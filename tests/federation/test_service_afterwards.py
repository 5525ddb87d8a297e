"""Is every use booked once, every silence met, every log whole, whatever sites tell or leave out?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from cesai.allocations import service as allocations
from cesai.db.paging import PageRequest
from cesai.federation import service, store
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import NotFound
from cesai.kernel.states import AttemptState, JobState, Outcome
from cesai.sites import service as sites

HOUR = timedelta(hours=1)


# Cost


def test_a_node_failure_costs_the_site_and_not_the_group(world):
    attempt = world.end(world.place(), Outcome.NODE_FAIL)
    assert world.line().posted == world.line().awarded - world.line().left
    assert world.line().left == world.line().awarded
    assert attempt.is_settled
    assert world.holds()


def test_an_attempt_that_never_ran_gives_everything_back(world):
    attempt = world.place()
    world.juelich.sync()
    world.juelich.tell(attempt.id, "ENDED", outcome="REJECTED", reason="BadConstraints")
    assert world.line().left == world.line().awarded
    job = store.job(world.db, attempt.job_id)
    assert job.state == JobState.FAILED
    assert "BadConstraints" in job.cause


def test_a_late_correction_is_booked_as_one(world):
    attempt = world.end(world.place())
    world.juelich.sync(usage=[world.juelich.usage(attempt, seconds=600, gpus=1, revision=2, gpu_ms=1_000)])
    assert allocations.settled(world.db, [attempt.id])[attempt.id] == GpuMilliseconds(1_000)
    assert "corrected" in world.kinds(store.job(world.db, attempt.job_id))
    assert world.holds()


def test_use_that_cannot_be_is_kept_and_not_booked(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "RUNNING")
    world.clock.move(HOUR)
    odd = world.juelich.usage(attempt, seconds=60, gpus=1, gpu_ms=10**9)
    told = world.juelich.report(attempt.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    reply = world.juelich.sync(attempts=[told], usage=[odd])
    assert reply.usage_booked == ((odd["key"], 1),)
    assert allocations.settled(world.db, [attempt.id]).get(attempt.id, ZERO) == ZERO
    assert "usage-doubted" in world.kinds(store.job(world.db, attempt.job_id))


def test_a_strangers_job_under_our_account_is_booked_as_nobodys(world):
    world.clock.move(HOUR)
    record = world.juelich.usage(None, seconds=60, gpus=2, kind="unattributed")
    reply = world.juelich.sync(usage=[record])
    assert reply.usage_booked == ((record["key"], 1),)
    balances = allocations.balances(world.db, PageRequest(limit=100), account="UNATTRIBUTED").items
    assert [one.balance for one in balances] == [GpuMilliseconds(120_000)]
    assert world.holds()


def test_an_attempt_of_another_site_is_booked_as_nobodys_too(world):
    attempt = world.place()
    world.clock.move(HOUR)
    world.rwth.sync(usage=[world.rwth.usage(attempt, seconds=60, gpus=1)])
    assert allocations.settled(world.db, [attempt.id]).get(attempt.id, ZERO) == ZERO
    assert world.holds()


def test_witnesses_that_disagree_are_shown(world):
    attempt = world.end(world.place(), scheduler_gpu_ms=999_000)
    assert attempt.is_usage_flagged
    assert "witnesses-apart" in world.kinds(store.job(world.db, attempt.job_id))


def test_accounting_that_stays_silent_is_flagged_then_stood_in_for_and_corrected_when_it_speaks(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "RUNNING")
    stamps = {"started_at": world.now.isoformat(), "ended_at": (world.now + timedelta(minutes=10)).isoformat()}
    record = world.juelich.usage(attempt, seconds=590, gpus=1)
    world.juelich.tell(attempt.id, "ENDED", outcome="SUCCEEDED", stamps=stamps)
    job = store.job(world.db, attempt.job_id)
    world.clock.move(HOUR)
    world.sweep()
    assert world.kinds(job)[-1] == "usage-missing"
    assert not world.fresh(attempt).is_settled
    world.clock.move(23 * HOUR)
    world.sweep()
    assert world.fresh(attempt).is_settled
    assert allocations.settled(world.db, [attempt.id])[attempt.id] == GpuMilliseconds(600_000)
    world.juelich.sync(usage=[record])
    assert allocations.settled(world.db, [attempt.id])[attempt.id] == GpuMilliseconds(590_000)
    assert world.holds()


def test_a_site_that_lets_stamps_stand_in_is_flagged(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "RUNNING")
    world.clock.move(HOUR)
    told = world.juelich.report(attempt.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    world.juelich.sync(attempts=[told], usage=[world.juelich.usage(attempt, seconds=60, gpus=1, state="BY-STAMPS")])
    assert world.fresh(attempt).is_usage_flagged
    assert "usage-by-stamps" in world.kinds(store.job(world.db, attempt.job_id))


def test_a_journal_that_was_begun_anew_is_heard_from_its_first_report(world):
    attempt = world.place()
    for state in ("SUBMITTING", "SUBMITTED"):
        world.juelich.tell(attempt.id, state)
    anew = world.agent("juelich", instance_id="instance-2")
    anew.tell(attempt.id, "RUNNING")
    assert world.fresh(attempt).state == AttemptState.RUNNING


# Silence


def test_an_order_that_is_not_fetched_is_withdrawn_and_the_job_placed_anew(world):
    attempt = world.place()
    world.clock.move(timedelta(minutes=3))
    world.sweep()
    job = store.job(world.db, attempt.job_id)
    assert world.fresh(attempt).state == AttemptState.ENDED
    assert job.state == JobState.QUEUED
    assert world.line().left == world.line().awarded
    world.juelich.tell_capacity()
    world.round()
    assert world.attempt(job).number == 2


def test_an_attempt_that_waits_longer_than_the_sites_patience_is_cancelled_there_and_placed_anew(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "SUBMITTED")
    world.clock.move(timedelta(minutes=120))
    world.sweep()
    job = store.job(world.db, attempt.job_id)
    assert job.state == JobState.PLACED
    assert [order.wish for order in world.juelich.sync().orders] == ["cancel"]
    assert world.round() == 0
    world.juelich.tell(attempt.id, "ENDED", outcome="CANCELLED", is_usage_complete=True)
    assert world.fresh(job).state == JobState.QUEUED
    world.juelich.tell_capacity()
    world.round()
    assert world.attempt(job).number == 2
    assert world.holds()


def test_a_running_attempt_is_never_out_of_patience(world):
    attempt = world.place(walltime="10h")
    world.juelich.tell(attempt.id, "RUNNING")
    world.clock.move(3 * HOUR)
    world.sweep()
    assert not world.fresh(attempt).is_cancel_ordered


def lose(world, site_id, after):
    """Let a site fall silent while the hub and the other site go on."""
    step = timedelta(seconds=50)
    for number in range(int(after / step)):
        world.clock.move(step)
        if number % 3 == 0:
            world.rwth.sync()
        sites.look(world.db, now=world.now)
    assert sites.contact_state(sites.site(world.db, site_id), world.now) == "lost"


@pytest.mark.parametrize(("policy", "state"), [("wait", JobState.RUNNING), ("rerun", JobState.QUEUED)])
def test_a_job_at_a_lost_site_goes_elsewhere_only_if_it_says_so_and_its_time_is_over(world, policy, state):
    attempt = world.place(walltime=60, on_site_loss=policy)
    world.juelich.sync()
    world.juelich.tell(attempt.id, "RUNNING")
    lose(world, "juelich", timedelta(minutes=40))
    world.sweep()
    job = store.job(world.db, attempt.job_id)
    assert world.fresh(job).state == JobState.RUNNING
    lose(world, "juelich", timedelta(minutes=25))
    world.sweep()
    assert world.fresh(job).state == state
    assert world.line().pending.value == attempt.reserved_gpu_ms


def test_a_lost_site_that_comes_back_is_told_to_end_and_pays_for_what_it_ran(world):
    attempt = world.place(walltime=60, on_site_loss="rerun")
    world.juelich.sync()
    world.juelich.tell(attempt.id, "RUNNING")
    lose(world, "juelich", timedelta(minutes=65))
    world.sweep()
    assert [order.wish for order in world.juelich.sync().orders] == ["cancel"]
    told = world.juelich.report(attempt.id, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    reply = world.juelich.sync(attempts=[told], usage=[world.juelich.usage(attempt, seconds=3600, gpus=1)])
    assert reply.orders == ()
    assert world.fresh(attempt).outcome == Outcome.LOST
    assert attempt.is_settled
    assert world.line().left == world.line().awarded
    assert world.holds()


# Logs


def test_a_log_is_asked_for_when_somebody_looks_and_read_from_where_he_was(world):
    attempt = world.place()
    world.juelich.tell(attempt.id, "RUNNING")
    assert world.juelich.sync().log_wants == ()
    before = service.order_revision(world.db, "juelich")

    def read(offset):
        return service.read_log(world.db, attempt.job_id, number=None, offset=offset, by=world.member, now=world.now)

    assert read(0).content == b""
    assert service.order_revision(world.db, "juelich") == before + 1
    assert [(want.offset, want.limit) for want in world.juelich.sync().log_wants] == [(0, 262_144)]
    world.juelich.sync(logs=[world.juelich.log(attempt.id, 0, b"loss 3\n")])
    reply = world.juelich.sync(logs=[world.juelich.log(attempt.id, 3, b"s 3\nloss 2\n")])
    assert reply.log_wants[0].offset == 14
    assert read(0).content == b"loss 3\nloss 2\n"
    assert read(9).content == b"ss 2\n"
    world.juelich.sync(logs=[world.juelich.log(attempt.id, 14, b"", is_end=True)])
    assert read(14).is_end


def test_a_stranger_reads_no_log(world):
    attempt = world.place()
    with pytest.raises(NotFound):
        service.read_log(world.db, attempt.job_id, number=1, offset=0, by=world.stranger, now=world.now)


def test_an_old_log_is_dropped_and_not_asked_for_again(world):
    attempt = world.end(world.place())
    world.clock.move(timedelta(days=91))
    world.sweep()
    part = service.read_log(world.db, attempt.job_id, number=1, offset=0, by=world.member, now=world.now)
    assert (part.content, part.is_end) == (b"", True)
