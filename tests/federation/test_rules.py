"""Do the pure decisions of the federation hold, whatever the order in which sites tell?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.federation.rules import asking, endings, logs, patience, reports, reservation, settling
from cesai.federation.rules.reports import Known, Told, Weight, after, judge
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.states import ATTEMPT_MOVES, AttemptState, JobState, Outcome

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PLANNED = Known(AttemptState.PLANNED)


@st.composite
def lawful_histories(draw):
    """What an honest agent tells of one attempt, in its order."""
    state, told = AttemptState.PLANNED, []
    for sequence in range(1, draw(st.integers(2, 8))):
        state = draw(st.sampled_from([state, *sorted(ATTEMPT_MOVES[state])]))
        ended = state is AttemptState.ENDED
        if ended and told and told[-1].state is AttemptState.ENDED:
            told.append(Told(sequence, state, told[-1].outcome))
            continue
        told.append(Told(sequence, state, draw(st.sampled_from(sorted(Outcome))) if ended else None))
    return told


@given(lawful_histories(), st.data())
def test_any_order_and_repetition_of_reports_ends_in_the_same_state(history, data):
    shuffled = data.draw(st.permutations(history + data.draw(st.lists(st.sampled_from(history)))))
    end = reduce(after, shuffled, PLANNED)
    assert end == reduce(after, history, PLANNED)
    assert end.state == history[-1].state


HOSTILE = st.builds(
    Told,
    sequence=st.integers(1, 20),
    state=st.sampled_from(AttemptState),
    outcome=st.none() | st.sampled_from(Outcome),
    exit_code=st.none() | st.integers(0, 255),
)


@given(st.lists(HOSTILE, max_size=20))
def test_no_report_moves_an_attempt_against_the_table_and_an_end_stays(told):
    path = [PLANNED]
    for one in told:
        path.append(after(path[-1], one))
    for before, then in pairwise(path):
        assert then.state == before.state or then.state in ATTEMPT_MOVES[before.state]
        assert then.sequence >= before.sequence
        if before.state is AttemptState.ENDED:
            assert then.outcome == before.outcome


def test_an_impossible_report_is_named_and_changes_nothing_but_the_sequence():
    running = Known(AttemptState.RUNNING, 4)
    told = Told(5, AttemptState.SUBMITTED)
    assert judge(running, told).weight is Weight.IMPOSSIBLE
    assert after(running, told) == Known(AttemptState.RUNNING, 5)
    assert judge(running, Told(5, AttemptState.ENDED)).sentence == "the site says ENDED, but not how"


def test_a_script_that_ended_with_an_error_failed_whatever_the_site_calls_it():
    told = Told(1, AttemptState.ENDED, Outcome.SUCCEEDED, exit_code=1)
    assert reports.outcome_told(told) is Outcome.FAILED


def ended(outcome, **more):
    return endings.ending(endings.Ended(outcome, causes=frozenset({"NODE_FAIL", "PREEMPTED"}), limit=1, **more))


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.SUCCEEDED, JobState.SUCCEEDED),
        (Outcome.FAILED, JobState.FAILED),
        (Outcome.TIMEOUT, JobState.FAILED),
        (Outcome.OUT_OF_MEMORY, JobState.FAILED),
        (Outcome.CANCELLED, JobState.CANCELLED),
        (Outcome.REJECTED, JobState.FAILED),
        (Outcome.NODE_FAIL, JobState.QUEUED),
        (Outcome.PREEMPTED, JobState.QUEUED),
        (Outcome.ABSENT, JobState.QUEUED),
        (Outcome.LOST, JobState.FAILED),
    ],
)
def test_each_end_of_an_attempt_has_its_end_for_the_job(outcome, state):
    assert ended(outcome).state is state


def test_a_job_is_tried_again_only_as_often_as_it_says():
    assert ended(Outcome.NODE_FAIL, earlier=(Outcome.PREEMPTED,)).state is JobState.FAILED
    assert ended(Outcome.NODE_FAIL, earlier=(Outcome.ABSENT,)).state is JobState.QUEUED


def test_a_job_that_keeps_vanishing_gives_up():
    assert ended(Outcome.ABSENT, earlier=(Outcome.ABSENT, Outcome.ABSENT)).state is JobState.FAILED


def test_a_wish_to_cancel_ends_the_job_unless_it_ended_by_itself():
    assert ended(Outcome.CANCELLED, is_cancel_wished=True).state is JobState.CANCELLED
    assert ended(Outcome.ABSENT, is_cancel_wished=True).state is JobState.CANCELLED
    assert ended(Outcome.NODE_FAIL, is_cancel_wished=True).state is JobState.CANCELLED
    assert ended(Outcome.SUCCEEDED, is_cancel_wished=True).state is JobState.SUCCEEDED
    assert ended(Outcome.FAILED, is_cancel_wished=True).state is JobState.FAILED


def test_an_attempt_that_the_hub_moved_goes_back_into_the_queue():
    assert ended(Outcome.CANCELLED, is_moved=True).state is JobState.QUEUED
    assert ended(Outcome.CANCELLED, is_moved=True, is_cancel_wished=True).state is JobState.CANCELLED


@given(st.sampled_from(Outcome), st.booleans(), st.booleans(), st.lists(st.sampled_from(Outcome)))
def test_every_end_leads_somewhere_with_a_sentence(outcome, wished, moved, earlier):
    end = ended(outcome, is_cancel_wished=wished, is_moved=moved, earlier=tuple(earlier))
    assert end.cause.endswith(".")
    assert end.state not in {JobState.PLACED, JobState.RUNNING}


def test_a_reservation_is_charged_gpus_for_wall_time_and_margin():
    charged = reservation.charged_gpus(nodes=2, gpus_per_node=1, node_gpus=4, is_exclusive=True)
    assert charged == 8
    assert reservation.charged_gpus(nodes=2, gpus_per_node=1, node_gpus=4, is_exclusive=False) == 2
    amount = reservation.reservation(charged=8, walltime_minutes=60, margin_minutes=2)
    assert amount == GpuMilliseconds(8 * 62 * 60_000)


def test_an_unknown_end_is_never_released():
    step, ended_state = settling.step, AttemptState.ENDED
    assert step(AttemptState.RUNNING, None, is_usage_complete=True, has_usage=True) is settling.Step.WAIT
    assert step(ended_state, Outcome.LOST, is_usage_complete=False, has_usage=False) is settling.Step.WAIT
    assert step(ended_state, Outcome.ABSENT, is_usage_complete=False, has_usage=False) is settling.Step.RELEASE
    assert step(ended_state, Outcome.ABSENT, is_usage_complete=False, has_usage=True) is settling.Step.BOOK
    assert step(ended_state, Outcome.FAILED, is_usage_complete=True, has_usage=True) is settling.Step.BOOK


def launch(seconds, gpus, gpu_ms, **more):
    return settling.Launch(NOON, NOON + timedelta(seconds=seconds), gpus=gpus, gpu_ms=gpu_ms, **more)


def test_usage_that_cannot_be_is_not_counted():
    assert settling.doubt(launch(60, 4, 240_000)) is None
    assert settling.doubt(launch(-1, 4, 0)) == "it ends before it starts"
    assert "more than 4 GPUs" in settling.doubt(launch(60, 4, 999_000))
    assert settling.doubt(launch(60, 4, 0, is_final=False)) == "it has not ended"
    ancient = settling.Launch(datetime(1, 1, 1, tzinfo=UTC), NOON, gpus=1, gpu_ms=1)
    assert settling.doubt(ancient) == "its times are impossible"


def test_witnesses_agree_within_their_tolerances_and_not_beyond():
    def said(scheduler, wrapper):
        told = settling.Witnesses(
            GpuMilliseconds(400_000), GpuMilliseconds(scheduler), GpuMilliseconds(wrapper), gpus=4
        )
        return settling.disagreements(told)

    assert said(404_000, 380_000) == ()
    assert said(396_000, 404_000) == ()
    assert len(said(404_001, 379_999)) == 2
    assert len(said(400_000, 404_001)) == 1


def test_accounting_that_stays_silent_is_flagged_first_and_stood_in_for_later():
    assert settling.overdue(NOON, NOON + timedelta(minutes=59)) is settling.Overdue.NO
    assert settling.overdue(NOON, NOON + timedelta(hours=1)) is settling.Overdue.FLAG
    assert settling.overdue(NOON, NOON + timedelta(hours=24)) is settling.Overdue.STAMPS


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), max_size=40))
def test_a_log_is_never_torn_whatever_ranges_arrive(ranges):
    whole = bytes(range(101))
    have = b""
    for offset, length in ranges:
        piece = whole[offset : offset + length]
        part = logs.taken(have=len(have), offset=offset, length=len(piece))
        if part is not None:
            have += piece[part]
    assert whole.startswith(have)


def test_a_log_ends_at_its_cap_and_is_not_asked_for_beyond():
    part = logs.taken(have=logs.CAP_BYTES - 2, offset=logs.CAP_BYTES - 2, length=10)
    assert part == slice(0, 2)
    assert logs.wanted(have=logs.CAP_BYTES, is_complete=False) is None
    assert logs.wanted(have=5, is_complete=False) == (5, logs.RANGE_BYTES)
    assert logs.is_end(have=7, offset=7, length=0, says_end=True)
    assert not logs.is_end(have=5, offset=7, length=0, says_end=True)


ROOMS = (
    asking.Room("juelich", "gpu", "H100", nodes=2, gpus_per_node=4, max_walltime_minutes=1440),
    asking.Room("rwth", "gpu", "A100", nodes=2, gpus_per_node=2, max_walltime_minutes=None),
)


def asked(nodes=1, gpus=1, gpu_class="H100", walltime=60, sites=()):
    return asking.Asked(nodes, gpus, (gpu_class,), walltime, sites)


def test_a_job_larger_than_any_site_hears_the_sizes_there_are():
    assert asking.too_large(asked(2, 4), ROOMS) is None
    assert "3 nodes x 4 GPUs is larger than any site has (juelich gpu 2 x 4)" in asking.too_large(asked(3, 4), ROOMS)
    assert "open to you at rwth" in asking.too_large(asked(sites=("rwth",)), ROOMS)


def test_a_wall_time_over_every_limit_hears_the_longest():
    assert asking.too_long(asked(walltime=1440), ROOMS) is None
    assert "the longest is 1440 minutes" in asking.too_long(asked(walltime=1441), ROOMS)
    assert asking.too_long(asked(gpu_class="A100", walltime=99_999), ROOMS) is None


def test_an_unknown_class_hears_the_nearest_known():
    assert asking.unknown_name("H100", {"H100"}, kind="GPU class") is None
    assert asking.unknown_name("h100", {"H100", "A100"}, kind="GPU class").endswith("did you mean H100?")
    assert "known are A100, H100" in asking.unknown_name("TPU", {"H100", "A100"}, kind="GPU class")


def open_attempt(state=AttemptState.SUBMITTED, *, is_fetched=True, running_known_at=None):
    return patience.Open(
        state=state,
        is_fetched=is_fetched,
        placed_at=NOON,
        running_known_at=running_known_at,
        patience_minutes=120,
        walltime_minutes=60,
        margin_minutes=2,
    )


def after_minutes(minutes):
    return NOON + timedelta(minutes=minutes)


def test_an_attempt_that_was_not_seen_to_begin_is_never_surely_over():
    assert not patience.is_surely_over(open_attempt(), NOON + timedelta(days=99))
    running = open_attempt(AttemptState.RUNNING, running_known_at=NOON)
    assert patience.is_surely_over(running, after_minutes(62))
    assert not patience.is_surely_over(running, after_minutes(61))


def test_patience_ends_for_what_waits_and_not_for_what_runs():
    assert patience.is_out_of_patience(open_attempt(), after_minutes(120))
    assert not patience.is_out_of_patience(open_attempt(), after_minutes(119))
    assert not patience.is_out_of_patience(open_attempt(AttemptState.RUNNING), after_minutes(500))


def test_an_order_that_nobody_fetches_is_taken_back_after_three_minutes():
    assert patience.is_unfetched(open_attempt(is_fetched=False), after_minutes(3))
    assert not patience.is_unfetched(open_attempt(is_fetched=True), after_minutes(3))


@given(st.booleans(), st.none() | st.integers(0, 500), st.integers(0, 5000))
def test_every_open_attempt_is_looked_at_again(is_fetched, running, now):
    one = open_attempt(is_fetched=is_fetched, running_known_at=None if running is None else after_minutes(running))
    assert patience.next_look(one, after_minutes(now)) > after_minutes(now)
