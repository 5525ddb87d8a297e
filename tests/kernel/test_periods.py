"""Are quarters cut at Berlin's midnights?"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.kernel.periods import BERLIN, Period, touched

INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  zone comes from the strategy


@pytest.mark.parametrize(
    ("instant", "name"),
    [
        (datetime(2026, 12, 31, 22, 59, 59, tzinfo=UTC), "2026-Q4"),
        (datetime(2026, 12, 31, 23, 0, tzinfo=UTC), "2027-Q1"),
        (datetime(2026, 3, 31, 21, 59, 59, tzinfo=UTC), "2026-Q1"),
        (datetime(2026, 3, 31, 22, 0, tzinfo=UTC), "2026-Q2"),
    ],
)
def test_a_quarter_ends_at_midnight_in_berlin(instant, name):
    assert str(Period.of(instant)) == name


def test_a_quarter_over_a_clock_change_is_an_hour_off():
    spring, autumn = Period.parse("2026-Q1"), Period.parse("2026-Q4")
    assert spring.end - spring.start == timedelta(days=90, hours=-1)
    assert autumn.end - autumn.start == timedelta(days=92, hours=1)


@given(INSTANTS)
def test_every_instant_lies_in_its_period(instant):
    period = Period.of(instant)
    assert period.start <= instant < period.end
    assert Period.parse(str(period)) == period
    assert period.start.astimezone(BERLIN).hour == 0


@given(INSTANTS, st.timedeltas(timedelta(), timedelta(days=800)))
def test_the_touched_periods_cover_the_span_without_a_gap(start, span):
    periods = touched(start, start + span)
    assert periods[0].start <= start
    assert periods[-1].end >= start + span
    assert all(first.end == second.start for first, second in pairwise(periods))


def test_a_span_that_ends_where_a_period_begins_does_not_touch_it():
    end = Period.parse("2026-Q4").end
    assert touched(end - timedelta(hours=1), end) == (Period.parse("2026-Q4"),)


@pytest.mark.parametrize("name", ["2026", "2026-Q5", "2026-q1", "26-Q1", "2026-Q1\n"])
def test_other_names_are_no_period(name):
    with pytest.raises(ValueError, match="no period"):
        Period.parse(name)
