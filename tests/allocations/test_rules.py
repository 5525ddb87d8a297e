"""Are reservations, launches and charges split to the millisecond?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cesai.allocations.rules import (
    AccountKey,
    AccountKind,
    AwardLine,
    EntryKind,
    Line,
    Part,
    Posted,
    Usage,
    booking_period,
    check_award,
    check_pools,
    choose,
    corrections,
    entry_id,
    plausible,
    resplit,
    shares,
    split_launch,
    targets,
)
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import BERLIN, Period, touched

Q3, Q4, Q1 = Period(2026, 3), Period(2026, 4), Period(2027, 1)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=BERLIN).astimezone(UTC)
INSTANTS = st.integers(0, 4 * 366 * 86_400 * 1000).map(
    lambda ms: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
AMOUNTS = st.integers(0, 10**13).map(GpuMilliseconds)
TWO_AMOUNTS = st.fixed_dictionaries(dict.fromkeys((Q4, Q1), st.integers(1, 10**9).map(GpuMilliseconds)))


def at(text: str) -> datetime:
    """An instant in Berlin's own time."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def line(period: Period, left: int, *, position: int = 0, stream: str = "default") -> Line:
    return Line(uuid4(), "p", "s", "H100", period, stream, "default", position, GpuMilliseconds(left), ZERO, ZERO)


def launch(start: datetime, end: datetime | None, *, gpus: int = 1, key: str = "k", kind: str = "own", ms: int = -1):
    if ms < 0:
        assert end is not None
        ms = gpus * ((end.astimezone(UTC) - start.astimezone(UTC)) // timedelta(milliseconds=1))
    return Usage(key, 1, kind, start, end, gpus, GpuMilliseconds(ms))


# Spreading


@given(AMOUNTS, INSTANTS, st.timedeltas(timedelta(0), timedelta(days=500)))
def test_a_spread_loses_and_makes_nothing(amount, start, length):
    spread = shares(amount, start, start + length)
    assert sum(spread.values(), ZERO) == amount
    assert all(part >= ZERO for part in spread.values())
    assert tuple(spread) == touched(start, start + length)


@given(INSTANTS, st.timedeltas(timedelta(milliseconds=1), timedelta(days=500)), st.integers(1, 512))
def test_a_launch_is_split_at_the_periods_ends_without_an_error(start, length, gpus):
    end = start + length // timedelta(milliseconds=1) * timedelta(milliseconds=1)
    for period, part in split_launch(launch(start, end, gpus=gpus)).items():
        inside = min(end, period.end) - max(start, period.start)
        assert part.value == gpus * (inside // timedelta(milliseconds=1))


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        # Both changes of the clock: 02:00-03:00 is skipped in March and comes twice in October.
        ("2026-03-29T00:00", "2026-03-29T06:00", {"2026-Q1": 5}),
        ("2026-10-25T00:00", "2026-10-25T06:00", {"2026-Q4": 7}),
        # Over a period's end that lies in the other half of the year's clock than its start.
        ("2026-03-28T12:00", "2026-04-02T12:00", {"2026-Q1": 83, "2026-Q2": 36}),
        ("2026-09-30T22:00", "2026-10-26T00:00", {"2026-Q3": 2, "2026-Q4": 601}),
        # The year's end, in Berlin and not in UTC.
        ("2026-12-31T23:00", "2027-01-01T02:00", {"2026-Q4": 1, "2027-Q1": 2}),
        ("2026-12-31T23:59", "2027-01-01T00:00", {"2026-Q4": 1 / 60}),
        ("2027-01-01T00:00", "2027-01-01T00:59", {"2027-Q1": 59 / 60}),
        # A leap day.
        ("2028-02-28T00:00", "2028-03-01T00:00", {"2028-Q1": 48}),
        ("2027-02-28T00:00", "2027-03-01T00:00", {"2027-Q1": 24}),
        # A job of 45 days, and one of 120 over two ends.
        ("2026-12-01T00:00", "2027-01-15T00:00", {"2026-Q4": 31 * 24, "2027-Q1": 14 * 24}),
        ("2026-09-15T00:00", "2027-01-13T00:00", {"2026-Q3": 16 * 24, "2026-Q4": 92 * 24 + 1, "2027-Q1": 12 * 24}),
    ],
)
def test_a_launch_lies_in_the_quarters_of_berlins_calendar(start, end, hours):
    split = split_launch(launch(at(start), at(end), gpus=4))
    assert {str(period): part.value for period, part in split.items()} == {
        name: round(amount * 4 * 3_600_000) for name, amount in hours.items()
    }


def test_a_launch_without_an_end_or_with_one_before_its_start_is_spread_from_its_start():
    start = NEW_YEAR - timedelta(hours=1)
    for end in (None, start - timedelta(days=3)):
        split = split_launch(launch(start, end, gpus=2, ms=4 * 3_600_000))
        assert split == {Q4: GpuMilliseconds.of_hours(2), Q1: GpuMilliseconds.of_hours(2)}


def test_time_that_was_not_charged_is_missing_in_proportion():
    split = split_launch(launch(NEW_YEAR - timedelta(hours=3), NEW_YEAR + timedelta(hours=1), ms=2 * 3_600_000))
    assert split == {Q4: GpuMilliseconds(5_400_000), Q1: GpuMilliseconds(1_800_000)}


def test_a_launch_that_used_nothing_has_no_parts():
    assert split_launch(launch(NEW_YEAR, NEW_YEAR)) == {}


# Reserving


def test_a_job_draws_from_the_first_stream_that_bears_it_whole():
    lines = [line(Q4, 10, position=2), line(Q4, 50, position=1, stream="small"), line(Q1, 99)]
    now = NEW_YEAR - timedelta(days=9)
    wish = {"gpus": 1, "now": now, "latest_end": now + timedelta(days=2)}
    (hold,) = choose(lines, amount=GpuMilliseconds(10), **wish)
    assert (hold.line.stream, hold.amount.value) == ("small", 10)
    with pytest.raises(Refused):
        choose(lines, amount=GpuMilliseconds(51), **wish)


def test_a_line_must_bear_no_more_than_the_job_can_use_in_its_period():
    hour = 3_600_000
    now = NEW_YEAR - timedelta(hours=30)
    wish = {"amount": GpuMilliseconds(8 * hour), "gpus": 2, "now": now, "latest_end": NEW_YEAR + timedelta(hours=1)}
    holds = choose([line(Q4, 8 * hour), line(Q1, 2 * hour)], **wish)
    assert sum((hold.amount for hold in holds), ZERO) == wish["amount"]
    with pytest.raises(Refused, match="2027-Q1"):
        choose([line(Q4, 8 * hour), line(Q1, 2 * hour - 1)], **wish)


@given(INSTANTS, st.integers(1, 10**9), st.integers(1, 64), st.timedeltas(timedelta(minutes=1), timedelta(days=40)))
def test_what_is_set_aside_is_the_reservation_with_a_part_for_each_period(now, amount, gpus, length):
    end = now + length
    lines = [line(period, 10**12) for period in touched(now, end)]
    holds = choose(lines, amount=GpuMilliseconds(amount), gpus=gpus, now=now, latest_end=end)
    assert sum((hold.amount for hold in holds), ZERO).value == amount
    assert all(hold.amount for hold in holds)


@given(TWO_AMOUNTS, TWO_AMOUNTS, st.integers(-200, 200), st.integers(1, 8))
def test_moving_to_other_periods_keeps_the_sum_and_the_bounds(current, room, hours, gpus):
    found = resplit(current, started_at=NEW_YEAR + timedelta(hours=hours), gpus=gpus, room=room)
    total = sum(current.values(), ZERO)
    assert sum(found.values(), ZERO) == total
    assert all(ZERO <= found[period] <= current[period] + room[period] for period in current)
    if hours >= 0:
        assert found[Q1] == min(total, current[Q1] + room[Q1])


def test_what_runs_in_a_period_without_a_line_stays_with_the_nearest():
    current = {Q4: GpuMilliseconds(10), Q1: GpuMilliseconds(10)}
    room = dict.fromkeys(current, GpuMilliseconds(100))
    found = resplit(current, started_at=Q1.next().start, gpus=1, room=room)
    assert found == {Q4: ZERO, Q1: GpuMilliseconds(20)}
    found = resplit(current, started_at=Q3.start, gpus=1, room=room)
    assert found == {Q4: GpuMilliseconds(20), Q1: ZERO}


# Charging

LAUNCHES = st.lists(
    st.builds(
        launch,
        start=st.integers(-100, 100).map(lambda hours: NEW_YEAR + timedelta(hours=hours)),
        end=st.none(),
        gpus=st.integers(1, 4),
        key=st.uuids().map(str),
        kind=st.sampled_from(("own", "duplicate")),
        ms=st.integers(0, 10**9),
    ),
    max_size=6,
)


@given(LAUNCHES, AMOUNTS, TWO_AMOUNTS, st.booleans(), st.randoms())
def test_all_use_is_borne_by_somebody_whatever_the_order(launches, reserved, room, is_fault, random):
    parts = targets(launches, reserved=reserved, room=room, is_site_fault=is_fault)
    for each in launches:
        assert sum((part.amount for part in parts if part.key == each.key), ZERO) == each.gpu_ms
    settled = [part for part in parts if part.kind is EntryKind.SETTLE]
    assert sum((part.amount for part in settled), ZERO) <= reserved
    for period, limit in room.items():
        assert sum((part.amount for part in settled if part.period == period), ZERO) <= limit
    shuffled = random.sample(launches, len(launches))
    assert targets(shuffled, reserved=reserved, room=room, is_site_fault=is_fault) == parts


@given(LAUNCHES, LAUNCHES, AMOUNTS)
def test_what_is_taken_back_and_posted_leads_to_what_was_wished(before, after, reserved):
    room = {Q4: reserved, Q1: reserved}
    key = AccountKey(AccountKind.CONSUMED, "s", "H100", Q4)
    posted = [
        Posted(uuid4(), part, key, key, is_reversed=False)
        for part in targets(before, reserved=reserved, room=room, is_site_fault=False)
    ]
    wished = targets(after, reserved=reserved, room=room, is_site_fault=False)
    back, new = corrections(posted, wished)
    standing = [row.part for row in posted if row not in back] + list(new)
    assert sorted(standing, key=repr) == sorted(wished, key=repr)
    assert corrections(posted, [row.part for row in posted]) == ((), ())


def test_an_entry_that_says_the_same_stays_whatever_revision_said_it():
    key = AccountKey(AccountKind.CONSUMED, "s", "H100", Q4)
    old = Part("k", 1, Q4, EntryKind.SETTLE, GpuMilliseconds(5))
    same = Part("k", 2, Q4, EntryKind.SETTLE, GpuMilliseconds(5))
    assert corrections([Posted(uuid4(), old, key, key, is_reversed=False)], [same]) == ((), ())


def test_use_of_a_closed_period_is_booked_in_the_first_open_one():
    assert booking_period(Q3, {Q3, Q4}) == Q1
    assert booking_period(Q1, {Q3, Q4}) == Q1


@pytest.mark.parametrize(
    "wrong",
    [
        {"started_at": datetime(1970, 1, 1, tzinfo=UTC)},
        {"started_at": datetime(2300, 1, 1, tzinfo=UTC)},
        {"ended_at": datetime(1970, 1, 1, tzinfo=UTC)},
        {"ended_at": NEW_YEAR + timedelta(days=401)},
        {"gpu_ms": GpuMilliseconds(-1)},
        {"gpu_ms": GpuMilliseconds(2**60)},
        {"gpus": -1},
    ],
)
def test_what_no_machine_can_have_done_is_refused(wrong):
    told = {
        "key": "k",
        "revision": 1,
        "kind": "own",
        "started_at": NEW_YEAR,
        "ended_at": NEW_YEAR,
        "gpus": 1,
        "gpu_ms": ZERO,
    }
    plausible(Usage(**told))
    with pytest.raises(Refused):
        plausible(Usage(**(told | wrong)))


# Awarding


def test_the_lines_of_an_award_share_a_pool():
    lines = [AwardLine("s", "H100", Q4, GpuMilliseconds(6), stream) for stream in ("a", "b")]
    check_award(lines, now=NEW_YEAR - timedelta(days=1))
    check_pools(lines, {lines[0].pool: GpuMilliseconds(12)})
    with pytest.raises(Refused, match="cannot be awarded"):
        check_pools(lines, {lines[0].pool: GpuMilliseconds(11)})


def test_an_award_for_a_period_that_is_over_names_the_current_one():
    with pytest.raises(Refused, match="2026-Q4 is over: award for 2027-Q1 or later"):
        check_award([AwardLine("s", "H100", Q4, GpuMilliseconds(6))], now=NEW_YEAR)


def test_ids_follow_from_what_they_stand_for():
    assert entry_id("a", 1) == entry_id("a", 1) != entry_id("a", 2)
    key = AccountKey(AccountKind.LINE, "s", "H100", Q4, "p", "default", "default")
    assert key.name == "LINE:p:s:H100:2026-Q4:default:default"
