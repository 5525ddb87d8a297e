"""Is every launch told once, to whom it belongs, whatever accounting does meanwhile?"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.agent.rules import HeldAttempt, Owner, Phase
from cesai.agent.rules.usage import (
    BY_STAMPS,
    WITHDRAWN,
    Told,
    is_due,
    is_told_whole,
    reading,
    revise,
    tell,
    tell_by_stamps,
    withdraw,
)
from cesai.contract.connector import Launch
from cesai.contract.messages import UsageKind, WrapperStamps
from tests.agent.fake_site import order

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def launch(external_id: str = "7", **changes: object) -> Launch:
    base = Launch(
        name=order().marker,
        external_id=external_id,
        submit_time=NOW,
        account="proj1",
        partition="gpu",
        native_state="COMPLETED",
        gres_type="h100",
        gpus=4,
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=60),
        elapsed_s=60,
    )
    return replace(base, **changes)


def ended(**changes: object) -> HeldAttempt:
    held = HeldAttempt(order=order(), accepted_at=NOW, phase=Phase.ENDED, tries=1, owner=Owner("7", NOW, 0))
    return replace(held, **changes)


def told(*launches: Launch, held: HeldAttempt | None = None) -> tuple[Told, ...]:
    return tell(launches, {held.marker: held} if held else {}, epoch="fake-1", cluster="fake")


def test_a_launch_costs_its_gpus_times_its_whole_seconds() -> None:
    (each,) = told(launch(), held=ended())
    assert each.record.gpu_ms == 4 * 60 * 1000
    assert (each.record.kind, each.record.attempt_id) == (UsageKind.OWN, "attempt-1")


def test_what_never_started_or_has_not_ended_is_not_told() -> None:
    assert not told(launch(started_at=None), launch(ended_at=None), held=ended())


@pytest.mark.parametrize(
    ("changes", "held", "kind"),
    [
        ({}, ended(), UsageKind.OWN),
        ({}, ended(owner=None), UsageKind.OWN),
        ({"external_id": "8"}, ended(), UsageKind.DUPLICATE),
        ({"submit_time": NOW + timedelta(minutes=5)}, ended(), UsageKind.OWN),  # requeued
        (
            {"submit_time": NOW + timedelta(minutes=5)},
            ended(duplicate_ids=("7",)),
            UsageKind.DUPLICATE,
        ),  # id used again
        ({}, ended(duplicate_ids=("7",)), UsageKind.OWN),
        ({"account": "proj9"}, ended(), UsageKind.UNATTRIBUTED),
        ({"name": "my-own-job"}, ended(), UsageKind.UNATTRIBUTED),
        ({"name": "0" * 31 + "2-a1"}, ended(), UsageKind.UNATTRIBUTED),
    ],
)
def test_a_launch_belongs_to_whom_the_fence_says(
    changes: dict[str, object], held: HeldAttempt, kind: UsageKind
) -> None:
    (each,) = told(launch(**changes), held=held)
    assert each.record.kind is kind
    assert (each.record.attempt_id is None) == (kind is UsageKind.UNATTRIBUTED)


def test_the_same_reading_twice_is_no_news() -> None:
    first = told(launch(), held=ended())
    assert revise(first, told(launch(), held=ended())) == ((), ())


def test_a_correction_raises_the_revision_of_the_same_key() -> None:
    first = told(launch(), held=ended())
    (news,), _ = revise(first, told(launch(elapsed_s=0), held=ended()))
    assert (news.record.key, news.record.revision, news.record.gpu_ms) == (first[0].record.key, 2, 0)


def test_a_corrected_start_or_a_new_epoch_makes_no_new_key() -> None:
    first = told(launch(), held=ended())
    later = tell(
        [launch(started_at=NOW + timedelta(seconds=2), elapsed_s=58)],
        {order().marker: ended()},
        epoch="fake-2",
        cluster="fake",
    )
    (news,), missing = revise(first, later)
    assert (news.record.key, news.record.revision) == (first[0].record.key, 2)
    assert not missing


def test_two_lives_of_a_requeued_job_are_two_launches() -> None:
    both = told(launch(), launch(started_at=NOW + timedelta(minutes=5), elapsed_s=10), held=ended())
    news, _ = revise((), both)
    assert len({each.record.key for each in news}) == 2


def test_an_id_used_again_is_another_launch() -> None:
    stranger = launch(name="stranger", submit_time=NOW + timedelta(days=1), started_at=NOW + timedelta(days=1))
    mine, other = told(launch(), stranger, held=ended())
    assert mine.record.key != other.record.key
    assert other.record.kind is UsageKind.UNATTRIBUTED


def test_what_accounting_no_longer_has_costs_nothing_and_is_told_once() -> None:
    (first,) = told(launch(), held=ended())
    _, (missing,) = revise([first], [])
    gone = withdraw(missing)
    assert gone is not None
    assert (gone.record.revision, gone.record.gpu_ms, gone.record.state) == (2, 0, WITHDRAWN)
    assert withdraw(gone) is None


def test_strangers_are_told_only_from_when_the_account_was_the_hubs() -> None:
    assert is_due(launch(), {"proj1": NOW + timedelta(seconds=30)})
    assert not is_due(launch(), {"proj1": NOW + timedelta(hours=1)})
    assert not is_due(launch(), {"proj2": NOW})


def test_the_stamps_stand_in_where_accounting_owes_the_end_and_yield_to_it_later() -> None:
    stamps = WrapperStamps(started_at=NOW, ended_at=NOW + timedelta(seconds=53), exit_code=0)
    stand_in = tell_by_stamps(ended(stamps=stamps), epoch="fake-1")
    assert stand_in is not None
    assert (stand_in.record.gpu_ms, stand_in.record.state) == (53_000, BY_STAMPS)
    (news,), missing = revise([stand_in], told(launch(), held=ended()))
    assert (news.record.key, news.record.revision, news.record.state) == (stand_in.record.key, 2, "COMPLETED")
    assert not missing


def test_without_an_end_stamp_nothing_stands_in() -> None:
    assert tell_by_stamps(ended(stamps=WrapperStamps(started_at=NOW)), epoch="fake-1") is None


@pytest.mark.parametrize(
    ("held", "launches"),
    [
        (ended(), [launch()]),
        (ended(owner=None), []),
        (ended(owner=None), [launch(started_at=None)]),
    ],
)
def test_usage_is_whole_when_every_launch_has_its_end(held: HeldAttempt, launches: list[Launch]) -> None:
    assert is_told_whole(held, launches)


@pytest.mark.parametrize(
    ("held", "launches"),
    [
        (ended(), []),  # it ran, and accounting does not know it yet
        (ended(), [launch("8")]),  # only the duplicate is there
        (ended(), [launch(), launch("8", ended_at=None)]),
        (ended(owner=None, started_at=NOW), []),
        (ended(phase=Phase.RUNNING), [launch()]),
    ],
)
def test_usage_is_not_whole_before(held: HeldAttempt, launches: list[Launch]) -> None:
    assert not is_told_whole(held, launches)


def test_a_reading_does_not_depend_on_the_order_of_its_rows() -> None:
    rows = [launch(str(number)) for number in range(5)]
    assert reading(rows) == reading(reversed(rows))


LAUNCHES = st.lists(
    st.builds(
        launch,
        external_id=st.sampled_from(["7", "8"]),
        started_at=st.sampled_from([NOW, NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)]),
        elapsed_s=st.integers(0, 100),
    ),
    max_size=4,
    unique_by=lambda each: (each.external_id, each.started_at),
)


def latest(stored: Iterable[Told]) -> dict[str, Told]:
    return {each.record.key: each for each in sorted(stored, key=lambda each: each.record.revision)}


@given(LAUNCHES, LAUNCHES, st.randoms())
def test_repeated_and_shuffled_readings_end_in_the_same_sum(
    first: list[Launch], last: list[Launch], chance: random.Random
) -> None:
    held = ended()
    stored: dict[str, Told] = {}
    for rows in (first, last, first, last, last):
        shuffled = chance.sample(rows, len(rows))
        news, missing = revise(list(stored.values()), told(*shuffled, held=held))
        gone = [each for each in map(withdraw, missing) if each is not None]
        for each in (*news, *gone):
            former = stored.get(each.record.key)
            assert each.record.revision == (former.record.revision + 1 if former else 1)
        stored = latest([*stored.values(), *news, *gone])
    known = sum(each.record.gpu_ms for each in stored.values())
    assert known == sum(each.gpus * each.elapsed_s * 1000 for each in last)
