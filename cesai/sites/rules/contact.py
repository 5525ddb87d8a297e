"""Has a site gone silent, or has the hub gone deaf?

One persisted clock: the instants at which sites were last heard, and the one since which the hub trusts its own
hearing. A site that was not heard for three minutes gets no new work, whoever is to blame: that costs nothing. What
has consequences, that a site is given up, waits until the hub has been sure of itself for a quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SUSPECT_AFTER = timedelta(minutes=3)
LOST_AFTER = timedelta(minutes=15)
HUB_PAUSE = timedelta(minutes=1)  # the hub looks several times a minute; a longer gap means it was down
CLOCKS_AGREE = timedelta(seconds=30)  # tokens and wall times bear this much
AT_ONCE = timedelta(minutes=1)  # agents speak at least every 25 s, so what fails together falls silent within this


class ContactState(StrEnum):
    """How well a site is heard."""

    NEVER = "never"
    OK = "ok"
    SUSPECT = "suspect"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Watch:
    """What the hub knows about its own hearing."""

    looked_at: datetime | None  # when it last looked; None: never
    clocks_since: datetime  # silence before this instant may be the hub's own fault
    doubt: str | None  # why the hub suspects itself now


def contact_state(last_heard_at: datetime | None, clocks_since: datetime | None, now: datetime) -> ContactState:
    """The state of a site that was last heard then."""
    if last_heard_at is None:
        return ContactState.NEVER
    if now - last_heard_at <= SUSPECT_AFTER:
        return ContactState.OK
    counted_from = max(last_heard_at, clocks_since or last_heard_at)
    return ContactState.LOST if now - counted_from > LOST_AFTER else ContactState.SUSPECT


def clock_trouble(skew: timedelta) -> str | None:
    """What a site's admin should know about the site's clock when it is that much ahead of the hub's."""
    if abs(skew) <= CLOCKS_AGREE:
        return None
    way = "ahead of" if skew > timedelta(0) else "behind"
    return f"The site's clock is {abs(skew).total_seconds():.0f} s {way} the hub's: let it follow a time server."


def watch(before: Watch | None, last_heard: Sequence[datetime], now: datetime) -> Watch:
    """What the hub knows after one more look at when each site was last heard.

    While there is doubt the clocks restart with every look, so nothing is given up.
    """
    doubt = _doubt(before, last_heard, now)
    clocks_since = now if doubt or before is None else before.clocks_since
    return Watch(looked_at=now, clocks_since=clocks_since, doubt=doubt)


def _doubt(before: Watch | None, last_heard: Sequence[datetime], now: datetime) -> str | None:
    if before is None or before.looked_at is None:
        return "The hub has just begun to watch."
    if now - before.looked_at > HUB_PAUSE:
        return f"The hub itself did not look for {(now - before.looked_at).total_seconds():.0f} s."
    return _silent_at_once(last_heard, now)


def _silent_at_once(last_heard: Sequence[datetime], now: datetime) -> str | None:
    silent = [heard for heard in last_heard if now - heard > SUSPECT_AFTER]
    for last in silent:
        together = sum(last - AT_ONCE <= heard <= last for heard in silent)
        # Sites that had died long before say nothing about this moment.
        heard_then = sum(heard >= last - AT_ONCE for heard in last_heard)
        if together > 1 and 2 * together >= heard_then:
            return f"{together} of {heard_then} sites fell silent at once."
    return None
