"""When does an attempt wait too long, and when is one surely over although nobody saw its end?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cesai.kernel.states import AttemptState


@dataclass(frozen=True, slots=True)
class Waiting:
    """An attempt that has not begun to run."""

    state: AttemptState
    placed_at: datetime
    patience_minutes: int


def is_out_of_patience(waiting: Waiting, now: datetime) -> bool:
    """Whether it waits at its site longer than the site's patience, so that it is better placed anew."""
    begun = {AttemptState.RUNNING, AttemptState.ENDED}
    return waiting.state not in begun and now - waiting.placed_at >= timedelta(minutes=waiting.patience_minutes)


def is_surely_over(started_at: datetime | None, *, walltime_minutes: int, margin_minutes: int, now: datetime) -> bool:
    """Whether an attempt that began to run can no longer be running, even if nobody has seen its end.

    One that was not seen to begin may still start unseen: it is never surely over.
    """
    if started_at is None:
        return False
    return now >= started_at + timedelta(minutes=walltime_minutes + margin_minutes)
