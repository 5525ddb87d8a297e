"""When is an attempt's cost booked, which usage counts, and do the witnesses agree?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cesai.kernel.amounts import MS_PER_SECOND, GpuMilliseconds
from cesai.kernel.states import NOTHING_RAN, AttemptState, Outcome

FLAG_AFTER = timedelta(hours=1)  # from then on people see that accounting has not told an end
STAMPS_AFTER = timedelta(hours=24)  # from then on the wrapper's stamps stand in, until accounting tells
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_LONGEST = timedelta(days=400)
_MOST_GPU_MS = 10**15
_WRAPPER_BELOW_S = 5
_WRAPPER_ABOVE_S = 1
_SCHEDULER_S = 1


class Step(StrEnum):
    """What the ledger is to do for an attempt."""

    WAIT = "wait"
    BOOK = "book"
    RELEASE = "release"


def step(state: AttemptState, outcome: Outcome | None, *, is_usage_complete: bool, has_usage: bool) -> Step:
    """Book when accounting has told the whole, release when nothing ran, else wait: an unknown end never expires."""
    if state is not AttemptState.ENDED:
        return Step.WAIT
    if outcome in NOTHING_RAN:
        return Step.BOOK if has_usage else Step.RELEASE
    return Step.BOOK if is_usage_complete else Step.WAIT


class Overdue(StrEnum):
    """How long an end has gone without accounting's word."""

    NO = "no"
    FLAG = "flag"
    STAMPS = "stamps"


def overdue(ended_at: datetime, now: datetime) -> Overdue:
    """What to do about a usage record that is missing since an attempt was known to have ended."""
    if now - ended_at >= STAMPS_AFTER:
        return Overdue.STAMPS
    return Overdue.FLAG if now - ended_at >= FLAG_AFTER else Overdue.NO


def is_plausible(instant: datetime) -> bool:
    """Whether a stamp can be one of this century's; others break databases and sums."""
    return _EARLIEST <= instant < _LATEST


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch as a site's accounting tells it."""

    started_at: datetime
    ended_at: datetime | None
    gpus: int
    gpu_ms: int
    is_final: bool = True


def doubt(launch: Launch) -> str | None:
    """Why this launch cannot be counted, or None when it can."""
    if not launch.is_final or launch.ended_at is None:
        return "it has not ended"
    if not (is_plausible(launch.started_at) and is_plausible(launch.ended_at)):
        return "its times are impossible"
    if launch.ended_at < launch.started_at:
        return "it ends before it starts"
    if launch.ended_at - launch.started_at > _LONGEST or launch.gpu_ms > _MOST_GPU_MS:
        return f"it is longer than {_LONGEST.days} days or larger than any machine"
    # A second more: accounting cuts both stamps to whole seconds.
    longest_ms = (_milliseconds(launch.ended_at - launch.started_at) + MS_PER_SECOND) * launch.gpus
    if launch.gpu_ms > longest_ms:
        return f"it charges {launch.gpu_ms} GPU-ms, more than {launch.gpus} GPUs in its time ({longest_ms})"
    return None


def by_stamps(started_at: datetime, ended_at: datetime, *, gpus: int) -> GpuMilliseconds:
    """What the wrapper's own pair of stamps says was used; never below nothing."""
    return GpuMilliseconds(max(0, _milliseconds(ended_at - started_at)) * gpus)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Who says what about an attempt's own use."""

    accounting: GpuMilliseconds
    scheduler: GpuMilliseconds | None
    wrapper: GpuMilliseconds | None
    gpus: int


def disagreements(witnesses: Witnesses) -> tuple[str, ...]:
    """Each witness that is out of its tolerance against accounting, in a sentence; none is copied from another."""
    second = GpuMilliseconds.of(gpus=witnesses.gpus, seconds=1).value
    told = witnesses.accounting.value
    found = []
    if witnesses.scheduler is not None and abs(witnesses.scheduler.value - told) > _SCHEDULER_S * second:
        found.append(f"The scheduler's own record says {witnesses.scheduler.value} GPU-ms, accounting {told}.")
    if witnesses.wrapper is not None:
        apart = witnesses.wrapper.value - told
        if not -_WRAPPER_BELOW_S * second <= apart <= _WRAPPER_ABOVE_S * second:
            found.append(f"The wrapper's stamps say {witnesses.wrapper.value} GPU-ms, accounting {told}.")
    return tuple(found)


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
