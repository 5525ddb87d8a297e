"""When does an attempt wait too long, when is one surely over although nobody saw its end, when to look again?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cesai.federation.rules.settling import FLAG_AFTER, STAMPS_AFTER
from cesai.kernel.states import AttemptState

UNFETCHED_FOR = timedelta(minutes=3)  # a healthy agent fetches an order in a second
LOOK_AGAIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Open:
    """An attempt that has not ended."""

    state: AttemptState
    is_fetched: bool
    placed_at: datetime
    running_known_at: datetime | None  # by the hub's clock: a site's own may be an hour off
    patience_minutes: int
    walltime_minutes: int
    margin_minutes: int


def is_unfetched(one: Open, now: datetime) -> bool:
    """Whether its order has waited at the hub so long that another site may be quicker."""
    return not one.is_fetched and now - one.placed_at >= UNFETCHED_FOR


def is_out_of_patience(one: Open, now: datetime) -> bool:
    """Whether it waits at its site longer than the site's patience, so that it is better placed anew."""
    begun = {AttemptState.RUNNING, AttemptState.ENDED}
    return one.state not in begun and now - one.placed_at >= timedelta(minutes=one.patience_minutes)


def is_surely_over(one: Open, now: datetime) -> bool:
    """Whether it can no longer be running, even if nobody has seen its end.

    One that was not seen to begin may still start unseen: it is never surely over.
    """
    if one.running_known_at is None:
        return False
    return now >= one.running_known_at + timedelta(minutes=one.walltime_minutes + one.margin_minutes)


def next_look(one: Open, now: datetime) -> datetime:
    """When the sweep should look at it again: at its next deadline, or soon when that has passed."""
    if not one.is_fetched:
        deadline = one.placed_at + UNFETCHED_FOR
    elif one.running_known_at is None:
        deadline = one.placed_at + timedelta(minutes=one.patience_minutes)
    else:
        deadline = one.running_known_at + timedelta(minutes=one.walltime_minutes + one.margin_minutes)
    return deadline if deadline > now else now + LOOK_AGAIN


def next_look_after_end(end_known_at: datetime) -> datetime:
    """When to look whether accounting has told about an end: first for a flag, then for the wrapper's stamps."""
    return end_known_at + FLAG_AFTER


def last_look_after_end(end_known_at: datetime) -> datetime:
    """From when on the wrapper's stamps may stand in."""
    return end_known_at + STAMPS_AFTER
