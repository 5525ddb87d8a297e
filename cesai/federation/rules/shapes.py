"""Where may a job of one kind run, whatever is free there?

Jobs of one project that ask for the same are one shape: 100,000 jobs have few of them, so what may be asked once per
shape and round is. Within a shape only the wall time differs, and a job that waits makes every longer one wait.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cesai.federation.rules.room import Room
from cesai.federation.rules.wire import Job, Place, Snapshot

MS = 1000
MINUTE_S = 60
BudgetKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Option:
    """A place that may take a shape."""

    room: Room
    charged: int  # GPUs, whole nodes where they are not shared
    longest_s: float  # wall time that the place takes
    affordable_s: float  # wall time that the award could pay when the round began
    budget: BudgetKey | None


@dataclass(slots=True)
class Shape:
    """Jobs that ask for the same GPUs at the same places, paid by the same award lines."""

    options: tuple[Option, ...]
    refusals: tuple[tuple[str, str], ...]  # place, why it will not do
    steps: tuple[float, ...]  # wall times at which a place drops out
    waits_from_s: float = math.inf  # no job of this wall time or a longer one could be placed in this round
    reasons: dict[int, str] = field(default_factory=dict)  # by the step in which a wall time lies

    def step(self, walltime_s: float) -> int:
        """Jobs in the same step wait for the same reason."""
        return bisect_left(self.steps, walltime_s)


class Budgets:
    """What award lines have left, less what this round has placed."""

    def __init__(self, lines: Mapping[BudgetKey, Sequence[int]] | None) -> None:
        self._lines = None if lines is None else {key: list(left) for key, left in lines.items()}

    def key(self, project: str, place: Place) -> BudgetKey | None:
        """The lines that pay for a project's job there; None: nobody asks for payment."""
        return None if self._lines is None else (project, place.site_name, place.gpu_class or "")

    def has_line(self, key: BudgetKey) -> bool:
        """Whether there is an award at all."""
        return bool(self._lines and self._lines.get(key))

    def most_left(self, key: BudgetKey) -> int:
        """What the line with the most has left, GPU-milliseconds."""
        return max((self._lines or {}).get(key, ()), default=0)

    def affordable_s(self, key: BudgetKey | None, place: Place, charged: int) -> float:
        """The longest wall time that they pay, whole minutes."""
        if key is None:
            return math.inf
        seconds = self.most_left(key) / (charged * MS) - place.margin_s
        return seconds // MINUTE_S * MINUTE_S

    def take(self, key: BudgetKey, need: int) -> None:
        """Draw from the first line that bears it."""
        lines = (self._lines or {})[key]
        lines[next(index for index, left in enumerate(lines) if left >= need)] -= need


def need_of(option: Option, walltime_s: float) -> int:
    """The reservation: charged GPUs x (wall time in whole minutes + margin), GPU-milliseconds."""
    minutes = math.ceil(walltime_s / MINUTE_S)
    return math.ceil(option.charged * (minutes * MINUTE_S + option.room.place.margin_s) * MS)


class Shapes:
    """Finds the shape of each job; what is common to many shapes is asked once."""

    def __init__(self, rooms: Sequence[Room], snapshot: Snapshot, budgets: Budgets) -> None:
        self._rooms = rooms
        self._acceptance = snapshot.acceptance
        self._budgets = budgets
        # Without awards and acceptance it does not matter whose the job is.
        self._is_anyones = snapshot.acceptance is None and snapshot.budgets is None
        self._shapes: dict[tuple[object, ...], Shape] = {}
        self._fits: dict[tuple[object, ...], tuple[tuple[int, str | None], ...]] = {}
        self._welcomes: dict[str, tuple[str | None, ...]] = {}

    def of(self, job: Job) -> Shape:
        """The shape of this job."""
        excluded = tuple(sorted(job.excluded.items())) if job.excluded else ()
        asked = (
            job.gpus,
            job.nodes,
            job.gpus_per_node,
            job.gpu_classes,
            job.allowed_sites,
            job.memory_gb,
            excluded,
        )
        key = asked if self._is_anyones else (job.project, *asked)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._made(job, asked)
        return shape

    def _made(self, job: Job, asked: tuple[object, ...]) -> Shape:
        fits = self._fits.get(asked)
        if fits is None:
            fits = self._fits[asked] = tuple(
                (_charged(job, room.place), _misfit(job, room.place)) for room in self._rooms
            )
        welcomes = self._welcomes.get(job.project)
        if welcomes is None:
            welcomes = self._welcomes[job.project] = tuple(
                self._unwelcome(job.project, room.place) for room in self._rooms
            )
        options: list[Option] = []
        refusals: list[tuple[str, str]] = []
        for room, (charged, misfit), unwelcome in zip(self._rooms, fits, welcomes, strict=True):
            if refusal := misfit or unwelcome:
                refusals.append((room.place.name, refusal))
            else:
                options.append(self._option(room, charged, job.project))
        limits = {min(option.longest_s, option.affordable_s) for option in options}
        return Shape(options=tuple(options), refusals=tuple(refusals), steps=tuple(sorted(limits)))

    def _option(self, room: Room, charged: int, project: str) -> Option:
        key = self._budgets.key(project, room.place)
        return Option(
            room=room,
            charged=charged,
            longest_s=math.inf if room.place.max_walltime_s is None else room.place.max_walltime_s,
            affordable_s=self._budgets.affordable_s(key, room.place, charged),
            budget=key,
        )

    def _unwelcome(self, project: str, place: Place) -> str | None:
        """Why the place takes no job of the project, to follow its name; None: it does."""
        if self._acceptance is not None:
            said = self._acceptance.get(project, {})
            if place.site_name not in said:
                return f"has not accepted project {project} yet"
            if why := said[place.site_name]:
                return f"refused project {project}: {why}"
        key = self._budgets.key(project, place)
        if key is None or self._budgets.has_line(key):
            return None
        return f"is not in an award of {project} for {place.gpu_class or 'its GPUs'} in this period"


def _charged(job: Job, place: Place) -> int:
    if not place.is_exclusive or place.gpus_per_node is None:
        return job.gpus
    nodes = job.nodes or -(-job.gpus // place.gpus_per_node)
    return max(job.gpus, nodes * place.gpus_per_node)


def _misfit(job: Job, place: Place) -> str | None:
    """Why the place will not do for what the job asks, to follow its name; None: it may."""
    return _not_allowed(job, place) or _wrong_gpus(job, place) or _closed(place) or _too_large(job, place)


def _not_allowed(job: Job, place: Place) -> str | None:
    if job.allowed_sites and place.name not in job.allowed_sites and place.site_name not in job.allowed_sites:
        return "is not among the sites that the job allows"
    why = job.excluded.get(place.name) or job.excluded.get(place.site_name)
    return f"will not do: {why}" if why else None


def _wrong_gpus(job: Job, place: Place) -> str | None:
    if job.gpu_classes and place.gpu_class not in job.gpu_classes:
        return f"has {place.gpu_class or 'GPUs of no known class'}, not {' or '.join(job.gpu_classes)}"
    if job.memory_gb and place.memory_gb is not None and place.memory_gb < job.memory_gb:
        return f"has {place.memory_gb} GB per GPU, {job.memory_gb} GB are asked"
    return None


def _closed(place: Place) -> str | None:
    if place.closed:
        return place.closed
    return None if place.up else "has no GPU that is up"


def _too_large(job: Job, place: Place) -> str | None:
    per_node = job.gpus_per_node or 0
    if place.gpus_per_node is not None and per_node > place.gpus_per_node:
        return f"has {place.gpus_per_node} GPUs per node, {per_node} are asked"
    if place.nodes is not None and (job.nodes or 0) > place.nodes:
        return f"has {place.nodes} nodes up, {job.nodes} are asked"
    charged = _charged(job, place)
    if charged > place.up:
        return f"has {place.up} GPUs up, {charged} are needed"
    return None
