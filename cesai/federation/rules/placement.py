"""Where does each job go, in which order, and why does the rest wait?

Budget and quota decide whether a job may run, what its project holds right now decides when it is its turn: decayed
usage would let a newcomer's burst overtake everybody. A job goes where it starts first, and only if that is now or
soon; everything else stays at the hub. Small jobs go first where they fit, but not before a big or old one for which
GPUs are kept.

One pass over the jobs, near-linear: what a shape of jobs was refused in a round, every longer job of it is refused too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from cesai.federation.rules import reasons
from cesai.federation.rules.room import NEVER, Room, unheard
from cesai.federation.rules.shapes import Budgets, Option, Shape, Shapes, need_of
from cesai.federation.rules.wire import Action, Job, Plan, Policy, Snapshot, Wait


def plan(snapshot: Snapshot, policy: Policy, now: float) -> Plan:
    """What to do now, and for each job that is in no place why it waits.

    The same snapshot gives the same plan, in whatever order its places and jobs are told.
    """
    return _Round(snapshot, policy, now).run()


class _Round:
    """One round of planning."""

    def __init__(self, snapshot: Snapshot, policy: Policy, now: float) -> None:
        places = sorted(snapshot.places, key=lambda place: place.name)
        ours = _own_waits(snapshot.jobs)
        self._rooms = [Room(place, unheard(ours.get(place.name, ()), place), now) for place in places]
        self._room_of = {room.place.name: room for room in self._rooms}
        self._jobs = snapshot.jobs
        self._held = _held(snapshot)
        self._policy = policy
        self._now = now
        self._budgets = Budgets(snapshot.budgets)
        self._titles = reasons.titles(places)
        self._shapes = Shapes(self._rooms, snapshot, self._budgets)
        self._kept_for: set[str] = set()  # projects that have a reservation
        self._actions: list[Action] = []
        self._waiting: dict[str, str] = {}
        self._blocked: list[tuple[Job, Shape]] = []

    def run(self) -> Plan:
        """Let the project that holds least place its next job, until none can."""
        turns = _by_project(self._jobs)
        heap = [(self._held.get(project, 0), jobs[0].submit_s, project, 0) for project, jobs in turns.items()]
        heapq.heapify(heap)
        while heap:
            holds, _, project, index = heapq.heappop(heap)
            jobs = turns[project]
            while index < len(jobs) and not (taken := self._try(jobs[index])):
                index += 1
            if index + 1 < len(jobs):
                heapq.heappush(heap, (holds + taken, jobs[index + 1].submit_s, project, index + 1))
        self._explain()
        return Plan(actions=tuple(self._actions), waiting=self._waiting)

    def _try(self, job: Job) -> int:
        """Place one job if it can be; returns how many GPUs its project holds more then."""
        if job.places:
            self._move(job)
            return 0
        shape = self._shapes.of(job)
        if job.walltime_s < shape.waits_from_s:
            found = self._first_start(shape, job)
            if found is not None and found[0] <= self._now + self._policy.soon_s:
                return self._place(job, found[1], found[0])
            shape.waits_from_s = job.walltime_s
            if found is not None and self._keep(job, found[1], found[0]):
                return 0
        self._blocked.append((job, shape))
        return 0

    def _explain(self) -> None:
        """Say why jobs wait; at the end, when it is known what is left."""
        waits = reasons.Waits(self._titles, self._budgets, self._now)
        for job, shape in self._blocked:
            step = shape.step(job.walltime_s)
            reason = shape.reasons.get(step)
            if reason is None:
                reason = shape.reasons[step] = waits.why(shape, job.walltime_s)
            self._waiting[job.id] = reason

    def _first_start(self, shape: Shape, job: Job) -> tuple[float, Option] | None:
        """Where it starts first; among equals at home, then where most is idle."""
        best: tuple[tuple[float, bool, float], Option] | None = None
        for option in shape.options:
            if not self._may_pay(option, job.walltime_s):
                continue
            room = option.room
            is_now = room.fits_now(option.charged, job.walltime_s)
            start = self._now if is_now else room.starts_by(option.charged)
            rank = (start, not _is_home(job, room), -room.free / room.place.up)
            if best is None or rank < best[0]:
                best = (rank, option)
        if best is None or best[0][0] == NEVER:
            return None
        return best[0][0], best[1]

    def _may_pay(self, option: Option, walltime_s: float) -> bool:
        if walltime_s > option.longest_s:
            return False
        return option.budget is None or need_of(option, walltime_s) <= self._budgets.most_left(option.budget)

    def _place(self, job: Job, option: Option, start: float) -> int:
        room = option.room
        if start <= self._now:
            reason = reasons.starts_now(option, is_home=_is_home(job, room))
            room.take_now(option.charged, job.walltime_s)
        else:
            reason = reasons.starts_soon(start, self._now)
            room.take_later(option.charged, job.walltime_s)
        if option.budget is not None:
            self._budgets.take(option.budget, need_of(option, job.walltime_s))
        self._actions.append(Action("place", job.id, room.place.name, reason))
        return option.charged

    def _keep(self, job: Job, option: Option, start: float) -> bool:
        """Keep GPUs for a job that is big or waits long: one per place and one per project at a time."""
        is_due = job.gpus >= self._policy.big_gpus or self._now - job.submit_s >= self._policy.reserve_after_s
        if not is_due or option.room.is_reserved or job.project in self._kept_for:
            return False
        option.room.reserve(option.charged, job.walltime_s)
        self._kept_for.add(job.project)
        title = self._titles[option.room.place.name]
        self._waiting[job.id] = reasons.kept(option, start, self._now, title=title)
        return True

    def _move(self, job: Job) -> None:
        """Let a place with room take a job that would wait long where it is; one move at a time, and not for ever."""
        if not self._policy.may_move or job.moves >= self._policy.max_moves or len(job.places) > 1:
            return
        here = self._room_of.get(job.places[0])
        is_dead = here is None or here.place.closed is not None or here.place.up == 0
        # What the place does not list yet is on its way there: moving it again could go on for ever.
        is_heard = here is not None and any(work.job == job.id for work in here.place.queued)
        if not (is_dead or is_heard):
            return
        start = NEVER if here is None or is_dead else here.starts.get(job.id, self._now)
        found = self._first_start(self._shapes.of(job), job)
        if found is None or found[0] > self._now or start - self._now < self._policy.move_gain_s:
            return
        if found[1].room is not here:
            self._place(job, found[1], found[0])
            gain = (
                "that place takes no work now"
                if start == NEVER
                else f"there it waits {reasons.lasting(start - self._now)}"
            )
            self._actions.append(Action("remove", job.id, job.places[0], f"it starts elsewhere now; {gain}"))


def _own_waits(jobs: Iterable[Job]) -> dict[str, list[Wait]]:
    """What we have put into each place's queue, oldest first."""
    waits: dict[str, list[Wait]] = {}
    for job in sorted((job for job in jobs if job.places), key=_age):
        for place in job.places:
            waits.setdefault(place, []).append(Wait(job.id, job.gpus, job.walltime_s))
    return waits


def _held(snapshot: Snapshot) -> dict[str, int]:
    """GPUs that each project holds, or will as soon as a queue lets it."""
    held = dict(snapshot.held)
    for place in snapshot.places:
        for run in place.running:
            if run.project is not None:
                held[run.project] = held.get(run.project, 0) + run.gpus
    for job in snapshot.jobs:
        if job.places:
            held[job.project] = held.get(job.project, 0) + job.gpus
    return held


def _by_project(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Each project's jobs, oldest first."""
    turns: dict[str, list[Job]] = {}
    for job in sorted(jobs, key=_age):
        turns.setdefault(job.project, []).append(job)
    return turns


def _is_home(job: Job, room: Room) -> bool:
    return job.home in (room.place.name, room.place.site_name)


def _age(job: Job) -> tuple[float, str]:
    return job.submit_s, job.id
