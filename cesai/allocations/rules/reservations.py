"""From which line is a job paid, and how is its reservation spread over periods?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cesai.allocations.rules.accounts import Line
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period, touched

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a job alone would fit; the sentence says what is short, or for what it will have to wait."""

    ok: bool
    left: GpuMilliseconds
    sentence: str


@dataclass(frozen=True, slots=True)
class Hold:
    """So much is set aside on this line."""

    line: Line
    amount: GpuMilliseconds


def shares(amount: GpuMilliseconds, start: datetime, end: datetime) -> dict[Period, GpuMilliseconds]:
    """An amount spread evenly over [start, end), cut at the periods' ends; the parts add up to it exactly.

    Each part is the difference of two rounded-down running totals, so no millisecond is lost or made. A span without
    length lies in the period of its start.
    """
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    periods = touched(start, end)
    length = max((end - start) // _MICROSECOND, 1)
    found: dict[Period, GpuMilliseconds] = {}
    before = 0
    for period in periods[:-1]:
        total = amount.value * ((period.end - start) // _MICROSECOND) // length
        found[period] = GpuMilliseconds(total - before)
        before = total
    found[periods[-1]] = GpuMilliseconds(amount.value - before)
    return found


def choose(
    lines: Sequence[Line], *, amount: GpuMilliseconds, gpus: int, now: datetime, latest_end: datetime
) -> tuple[Hold, ...]:
    """What to set aside on which lines for a job that starts at the earliest now and ends at the latest then.

    One line per period touched: the first in the award's order of streams that could bear all that the job can use in
    that period. What is set aside is the reservation, spread over the span; what is asked of a line is more, because
    nobody knows yet in which of the periods the job will run.

    Raises:
        Refused: a period has no line, or none with enough left.
    """
    spread = shares(amount, now, latest_end)
    holds = []
    for period, share in spread.items():
        need = min(amount, most_in(period, gpus=gpus, start=now, end=latest_end))
        line = _first_that_bears(lines, period, need)
        if share:
            holds.append(Hold(line, share))
    return tuple(holds)


def most_in(period: Period, *, gpus: int, start: datetime, end: datetime) -> GpuMilliseconds:
    """The most that so many GPUs can use in the part of a period that lies in [start, end); rounded up."""
    part = min(period.end, end) - max(period.start, start)
    return GpuMilliseconds(-(-gpus * (part // _MICROSECOND) // 1000))


def _first_that_bears(lines: Sequence[Line], period: Period, need: GpuMilliseconds) -> Line:
    eligible = sorted((line for line in lines if line.period == period), key=lambda line: (line.position, line.stream))
    if not eligible:
        msg = f"There is no award for {period}, in which the job might run. Ask for one, or shorten the wall time."
        raise Refused(msg)
    for line in eligible:
        if line.left >= need:
            return line
    most = max(line.left for line in eligible)
    msg = f"It may use {need} in {period}; the award has {most} left. It waits until jobs end or the award grows."
    raise Refused(msg)


def fit(lines: Sequence[Line], *, amount: GpuMilliseconds, now: datetime, latest_end: datetime) -> Fit:
    """Whether a line that has not expired could bear the job, taken alone; other jobs that queue are not counted."""
    open_lines = [line for line in lines if line.period.end > now]
    if not open_lines:
        return Fit(ok=False, left=ZERO, sentence="The project has no award there that has not expired. Ask for one.")
    left = max(line.left for line in open_lines)
    if left < amount:
        sentence = (
            f"The job needs {amount} and the award has {left} left. "
            "Ask for fewer GPUs or a shorter wall time, or for a larger award."
        )
        return Fit(ok=False, left=left, sentence=sentence)
    missing = [p for p in touched(now, latest_end) if not any(line.period == p for line in open_lines)]
    sentence = f"It can start only when there is an award for {missing[0]} too." if missing else ""
    return Fit(ok=True, left=left, sentence=sentence)


def resplit(
    current: Mapping[Period, GpuMilliseconds],
    *,
    started_at: datetime,
    gpus: int,
    room: Mapping[Period, GpuMilliseconds],
) -> dict[Period, GpuMilliseconds]:
    """How the same sum is set aside once it is known when the job runs.

    `room` is what each line has left beside the current pendings. Where a line cannot take more, the rest stays where
    it was: the sum never changes.
    """
    total = sum((amount for amount in current.values()), ZERO)
    end = started_at + timedelta(milliseconds=-(-total.value // gpus))
    wished = _onto(shares(total, started_at, end), tuple(sorted(current)))
    rises = {p: min(wished[p] - current[p], max(room[p], ZERO)) for p in current if wished[p] > current[p]}
    to_move = sum(rises.values(), ZERO)
    found = {p: amount + rises.get(p, ZERO) for p, amount in current.items()}
    for period in sorted(p for p in current if wished[p] < current[p]):
        moved = min(current[period] - wished[period], to_move)
        found[period] -= moved
        to_move -= moved
    return found


def _onto(spread: Mapping[Period, GpuMilliseconds], known: Sequence[Period]) -> dict[Period, GpuMilliseconds]:
    # A period without a line of this reservation cannot bear anything: its part goes to the nearest that has one.
    found = dict.fromkeys(known, ZERO)
    for period, amount in spread.items():
        earlier = [p for p in known if p <= period]
        found[earlier[-1] if earlier else known[0]] += amount
    return found
