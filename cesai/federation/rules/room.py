"""When could a job start at a place?

A place's own scheduler is taken to start jobs in its order, and to let a later one go first where that delays nobody
at the head (EASY backfill). Whether a job fits now is answered by that test; when else it starts, by walking through
the wall times of all before it. Both answers only get later while a round adds jobs: what did not fit once in a round
need not be asked again.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cesai.federation.rules.wire import Place, Run, Wait

OVERDUE_S = 60.0  # work past its wall time is taken to end so soon
NEVER = math.inf


@dataclass(slots=True)
class Guard:
    """GPUs that somebody at the head gets at an instant; others may hold on beyond it only what is not his."""

    at_s: float
    extra: int


class Room:
    """What a place has left, in this round of planning."""

    def __init__(self, place: Place, unheard: Sequence[Wait], now: float) -> None:
        self.place = place
        self.free = min(place.free, place.up)
        self.guards: list[Guard] = []
        self.is_reserved = False
        self.starts: dict[str, float] = {}  # of jobs that wait here, by the hub's name
        self._now = now
        self._ends = _ends(place, now)
        self._start_queue([work for work in (*place.queued, *unheard) if work.gpus <= place.up])

    def fits_now(self, gpus: int, walltime_s: float) -> bool:
        """Whether it would start at once."""
        if gpus > self.free:
            return False
        end = self._now + walltime_s
        return all(end <= guard.at_s or gpus <= guard.extra for guard in self.guards)

    def starts_by(self, gpus: int) -> float:
        """When it starts at the latest, after all that wait there: seconds, or NEVER."""
        found = self._later.get(gpus)
        if found is None:
            found = self._later[gpus] = self._walk(gpus)[0]
        return found

    def take_now(self, gpus: int, walltime_s: float) -> None:
        """Let it start at once."""
        self.free -= gpus
        end = self._now + walltime_s
        for guard in self.guards:
            if end > guard.at_s:
                guard.extra -= gpus
        if end > self._front_s:
            self._front_free -= gpus
            self._add_end(end, gpus)

    def take_later(self, gpus: int, walltime_s: float) -> float:
        """Put it behind all that wait there; returns when it starts at the latest."""
        self._front_s, self._front_free, self._next = self._walk(gpus)
        self._front_free -= gpus
        self._add_end(self._front_s + walltime_s, gpus)
        return self._front_s

    def reserve(self, gpus: int, walltime_s: float) -> float:
        """Keep GPUs for it from when it can start on; returns that instant."""
        at_s = self.take_later(gpus, walltime_s)
        self.guards.append(Guard(at_s, max(0, self._front_free)))
        self.is_reserved = True
        return at_s

    # The place's own queue

    def _start_queue(self, queue: Sequence[Wait]) -> None:
        waiting = list(queue)
        first = next((index for index, work in enumerate(waiting) if not self._begin(work)), len(waiting))
        blocked = waiting[first:]
        if blocked:
            self.guards.append(self._shadow(blocked[0].gpus))
            blocked = [blocked[0], *(work for work in blocked[1:] if not self._begin(work))]
        self._ends.sort()
        self._front_s, self._front_free, self._next = self._now, self.free, 0
        self._later: dict[int, float] = {}
        for work in blocked:
            start = self.take_later(work.gpus, work.walltime_s)
            if work.job is not None:
                self.starts[work.job] = start

    def _begin(self, work: Wait) -> bool:
        """Start it, if it fits now."""
        if not self.fits_now(work.gpus, work.walltime_s):
            return False
        end = self._now + work.walltime_s
        self.free -= work.gpus
        self._ends.append((end, work.gpus))
        for guard in self.guards:
            if end > guard.at_s:
                guard.extra -= work.gpus
        if work.job is not None:
            self.starts[work.job] = self._now
        return True

    def _shadow(self, gpus: int) -> Guard:
        """When so many GPUs are free, and how many more are then."""
        free = self.free
        coming = list(self._ends)
        heapq.heapify(coming)
        while coming:
            at_s, released = heapq.heappop(coming)
            free += released
            if free >= gpus:
                return Guard(at_s, free - gpus)
        return Guard(NEVER, max(0, free - gpus))

    # The walk through wall times

    def _walk(self, gpus: int) -> tuple[float, int, int]:
        """The instant at which so many are free behind all that wait, how many are then, and the next end after it."""
        at_s, free, index = self._front_s, self._front_free, self._next
        while free < gpus:
            if index == len(self._ends):
                return NEVER, free, index
            end, released = self._ends[index]
            at_s, free, index = max(at_s, end), free + released, index + 1
        return at_s, free, index

    def _add_end(self, end: float, gpus: int) -> None:
        insort(self._ends, (end, gpus), lo=self._next)
        self._later.clear()


def _ends(place: Place, now: float) -> list[tuple[float, int]]:
    """When which GPUs come back. A partition's other work may be told too: never more than are held here."""
    held = max(0, place.up - min(place.free, place.up))
    ends = []
    for run in sorted(place.running, key=_end):
        gpus = min(run.gpus, held)
        if gpus:
            ends.append((max(run.ends_s, now + OVERDUE_S), gpus))
        held -= gpus
    return ends


def _end(run: Run) -> float:
    return run.ends_s


def unheard(waits: Iterable[Wait], place: Place) -> list[Wait]:
    """Those of our own submissions that the place's last word does not know yet."""
    known = {work.job for work in place.queued} | {run.job for run in place.running}
    return [work for work in waits if work.job not in known]
