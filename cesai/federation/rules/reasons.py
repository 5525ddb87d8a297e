"""How is a job's owner told where his job goes, or why it waits?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cesai.federation.rules.room import NEVER, Room
from cesai.federation.rules.shapes import Budgets, Option, Shape
from cesai.federation.rules.wire import Place
from cesai.kernel.amounts import GpuMilliseconds

TOLD = 6  # places; more are only counted
_SHORT_S = 120
_MINUTES_S = 2 * 3600
_HOURS_S = 48 * 3600


def titles(places: Sequence[Place]) -> Mapping[str, str]:
    """What each place is called: by its site, where that has only one."""
    counts: dict[str, int] = {}
    for place in places:
        counts[place.site_name] = counts.get(place.site_name, 0) + 1
    return {place.name: place.site_name if counts[place.site_name] == 1 else place.name for place in places}


def lasting(seconds: float) -> str:
    """A duration for people's eyes, rounded up."""
    if seconds <= _SHORT_S:
        return f"{-(-seconds // 1):.0f} s"
    if seconds <= _MINUTES_S:
        return f"{-(-seconds // 60):.0f} min"
    if seconds <= _HOURS_S:
        return f"{-(-seconds // 3600):.0f} h"
    return f"{-(-seconds // 86400):.0f} days"


def starts_now(option: Option, *, is_home: bool) -> str:
    """Why a job goes to a place where it fits."""
    home = ", and it is the job's home" if is_home else ""
    return f"{option.charged} GPUs are needed, {option.room.free} are free: it starts now{home}"


def starts_soon(at_s: float, now: float) -> str:
    """Why a job goes into a place's queue."""
    return f"it starts there first, in {lasting(at_s - now)} at the latest"


def kept(option: Option, at_s: float, now: float, *, title: str) -> str:
    """Why a job waits for which GPUs are kept."""
    return f"Next in line at {title}: {option.charged} GPUs are kept for it, in {lasting(at_s - now)} at the latest."


class Waits:
    """Says why jobs wait, once a round has placed what it can."""

    def __init__(self, titles: Mapping[str, str], budgets: Budgets, now: float) -> None:
        self._titles = titles
        self._budgets = budgets
        self._now = now
        self._shortages: dict[tuple[str, int], str] = {}

    def why(self, shape: Shape, walltime_s: float) -> str:
        """Which rule keeps jobs back at each place, how many GPUs are short, and where they could run."""
        possible: list[str] = []
        impossible = [f"{self._titles[name]} {why}" for name, why in shape.refusals]
        for option in shape.options:
            if rule := self._rule(option, walltime_s):
                impossible.append(f"{self._titles[option.room.place.name]} {rule}")
            else:
                possible.append(self._shortage(option))
        if not possible:
            return f"No site can take it now: {_some(impossible) or 'no site is known'}."
        where = f"It could run at: {_some(possible)}."
        return f"{where} Not at: {_some(impossible)}." if impossible else where

    def _rule(self, option: Option, walltime_s: float) -> str | None:
        # The numbers are those of all jobs of the shape, not of one: many share the sentence.
        if walltime_s > option.longest_s:
            return f"runs no job for longer than {lasting(option.longest_s)}"
        if option.budget is None:
            return None
        affordable_s = self._budgets.affordable_s(option.budget, option.room.place, option.charged)
        if walltime_s <= affordable_s:
            return None
        left = GpuMilliseconds(max(0, self._budgets.most_left(option.budget)))
        if affordable_s <= 0:
            return f"is not paid for any more: the award there has {left} left"
        minutes = f"{affordable_s // 60:.0f} min of {option.charged} GPUs"
        return f"is paid for {minutes} at most: the award there has {left} left"

    def _shortage(self, option: Option) -> str:
        room = option.room
        key = (room.place.name, option.charged)
        if key not in self._shortages:
            short = option.charged - room.free
            state = f"{short} of {option.charged} GPUs short" if short > 0 else _guarded(room)
            by = room.starts_by(option.charged)
            until = "" if by == NEVER else f", in {lasting(by - self._now)} at the latest"
            self._shortages[key] = f"{self._titles[room.place.name]} ({state}{until})"
        return self._shortages[key]


def _guarded(room: Room) -> str:
    whose = "an older or larger job" if room.is_reserved else "the head of its queue"
    return f"its {room.free} free GPUs are kept for {whose}"


def _some(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - TOLD} more" if len(texts) > TOLD else ""
    return "; ".join(texts[:TOLD]) + more
