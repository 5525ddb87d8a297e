"""What does a placement round know, and what may it decide?

One snapshot serves production, the operators' what-if and simulations. How production fills it:

* A `Place` is one pool: GPUs of one kind in one partition. Its `name` is unique, its `site` the site's id. `free` and
  `up` count GPUs, `closed` says why it takes no new work. `running` and `queued` are what the site told last, in the
  site's own order; what the hub knows to run there since then is added to `running` and taken off `free`.
* `jobs` are all that have not started: those that wait at the hub without `places`, and those that a place's queue
  holds with that place's name. The latter correct the site's last word by our own submissions since.
* `held` are the GPUs that each project's running jobs hold. `acceptance` says for each project which sites accepted it
  (None) or why not, `budgets` what each award line has left, the line to use first in front. None for either of the
  two: not asked.

In the wire form a place is called a site, and of all these fields only the first few must be there. Instants and
durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cesai.federation.rules import reading
from cesai.federation.rules.reading import WireError, maybe, need

__all__ = ["Action", "Job", "Place", "Plan", "Policy", "Run", "Snapshot", "Wait", "WireError", "parse_now"]


@dataclass(frozen=True, slots=True)
class Run:
    """GPUs that are held until their wall time ends."""

    gpus: int
    ends_s: float
    project: str | None = None
    job: str | None = None

    @classmethod
    def parse(cls, content: object, path: str) -> Self:
        """[GPUs, end of the wall time] and, if known, project and job."""
        told = (*reading.row(content, path, ("GPUs", "end of the wall time")), None, None)
        return cls(
            gpus=reading.count(told[0], f"{path}[0]"),
            ends_s=reading.instant(told[1], f"{path}[1]"),
            project=maybe(told[2], f"{path}[2]", reading.name),
            job=maybe(told[3], f"{path}[3]", reading.name),
        )


@dataclass(frozen=True, slots=True)
class Wait:
    """Something that waits in a place's queue; a job of somebody else has no name here."""

    job: str | None
    gpus: int
    walltime_s: float

    @classmethod
    def parse(cls, content: object, path: str) -> Self:
        """[job or null, GPUs, wall time]."""
        told = reading.row(content, path, ("job or null", "GPUs", "wall time"))
        return cls(
            job=maybe(told[0], f"{path}[0]", reading.name),
            gpus=reading.count(told[1], f"{path}[1]"),
            walltime_s=reading.duration(told[2], f"{path}[2]"),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """GPUs that share one queue."""

    name: str
    gpus: int
    free: int
    up: int
    running: tuple[Run, ...] = ()
    queued: tuple[Wait, ...] = ()
    site: str = ""  # empty: the place is the site
    gpu_class: str | None = None
    memory_gb: int | None = None
    gpus_per_node: int | None = None
    nodes: int | None = None  # that are up
    max_walltime_s: float | None = None
    margin_s: float = 0  # what a reservation adds to the wall time
    is_exclusive: bool = False  # whole nodes are charged
    closed: str | None = None  # why it takes no new work, to follow its name

    @property
    def site_name(self) -> str:
        """The site that it is at."""
        return self.site or self.name

    @classmethod
    def parse(cls, content: object, path: str) -> Self:
        """An entry of `sites`; `up` is a number of GPUs, or whether the site is up."""
        told = reading.table(content, path)
        gpus = reading.count(need(told, "gpus", path), f"{path}.gpus")
        up = _up(need(told, "up", path), f"{path}.up", gpus)
        gpu_class = told.get("gpu_class", told.get("gpu_type"))
        return cls(
            name=reading.name(need(told, "name", path), f"{path}.name"),
            gpus=gpus,
            free=min(reading.count(need(told, "free", path), f"{path}.free"), up),
            up=up,
            running=reading.many(need(told, "running", path), f"{path}.running", Run.parse),
            queued=reading.many(need(told, "queued", path), f"{path}.queued", Wait.parse),
            site=maybe(told.get("site"), f"{path}.site", reading.name) or "",
            gpu_class=maybe(gpu_class, f"{path}.gpu_class", reading.name),
            memory_gb=maybe(told.get("memory"), f"{path}.memory", reading.count),
            gpus_per_node=maybe(told.get("gpus_per_node"), f"{path}.gpus_per_node", reading.positive),
            nodes=maybe(told.get("nodes"), f"{path}.nodes", reading.count),
            max_walltime_s=maybe(told.get("max_walltime_s"), f"{path}.max_walltime_s", reading.duration),
            margin_s=maybe(told.get("margin_s"), f"{path}.margin_s", reading.duration) or 0,
            is_exclusive=reading.claim(told.get("is_exclusive", False), f"{path}.is_exclusive"),
            closed=maybe(told.get("closed"), f"{path}.closed", reading.sentence),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A job that has not started."""

    id: str
    gpus: int
    walltime_s: float
    submit_s: float
    project: str
    user: str = ""
    home: str | None = None
    places: tuple[str, ...] = ()  # places whose queue holds it
    gpu_classes: tuple[str, ...] = ()  # any of these; empty: any
    memory_gb: int | None = None  # of each GPU, at least
    allowed_sites: tuple[str, ...] = ()  # only these; empty: any
    nodes: int | None = None
    gpus_per_node: int | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)  # place or site -> why it will not do
    moves: int = 0  # how often it was moved before

    @classmethod
    def parse(cls, content: object, path: str) -> Self:
        """An entry of `jobs`."""
        told = reading.table(content, path)
        gpu_classes = told.get("gpu_classes", told.get("gpu_type"))
        return cls(
            id=reading.name(need(told, "id", path), f"{path}.id"),
            gpus=reading.positive(need(told, "gpus", path), f"{path}.gpus"),
            walltime_s=reading.duration(need(told, "walltime_s", path), f"{path}.walltime_s"),
            submit_s=reading.instant(need(told, "submit_s", path), f"{path}.submit_s"),
            project=reading.name(need(told, "project", path), f"{path}.project"),
            user=reading.name(need(told, "user", path), f"{path}.user"),
            home=maybe(need(told, "home", path), f"{path}.home", reading.name),
            places=reading.many(need(told, "places", path), f"{path}.places", reading.name),
            gpu_classes=reading.one_or_more(gpu_classes, f"{path}.gpu_classes"),
            memory_gb=maybe(told.get("memory"), f"{path}.memory", reading.count),
            allowed_sites=reading.one_or_more(told.get("allowed_sites"), f"{path}.allowed_sites"),
            nodes=maybe(told.get("nodes"), f"{path}.nodes", reading.positive),
            gpus_per_node=maybe(told.get("gpus_per_node"), f"{path}.gpus_per_node", reading.positive),
            excluded=reading.by_name(told.get("excluded", {}), f"{path}.excluded", reading.sentence),
            moves=reading.count(told.get("moves", 0), f"{path}.moves"),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a placement round knows."""

    places: tuple[Place, ...]
    jobs: tuple[Job, ...]
    held: Mapping[str, int] = field(default_factory=dict)
    acceptance: Mapping[str, Mapping[str, str | None]] | None = None
    budgets: Mapping[tuple[str, str, str], tuple[int, ...]] | None = None  # (project, site, class) -> GPU-ms per line

    @classmethod
    def parse(cls, content: object) -> Self:
        """The snapshot that this wire form tells. Unknown fields are passed over.

        Raises:
            WireError: something is missing or not of its kind; the sentence names the path.
        """
        told = reading.table(content, "")
        snapshot = cls(
            places=reading.many(need(told, "sites", ""), "sites", Place.parse),
            jobs=reading.many(need(told, "jobs", ""), "jobs", Job.parse),
            held=reading.by_name(told.get("held", {}), "held", reading.count),
            acceptance=maybe(told.get("acceptance"), "acceptance", _acceptance),
            budgets=maybe(told.get("budgets"), "budgets", _budgets),
        )
        reading.unique([place.name for place in snapshot.places], "sites", "name")
        reading.unique([job.id for job in snapshot.jobs], "jobs", "id")
        return snapshot


@dataclass(frozen=True, slots=True)
class Policy:
    """What a round is after. As it stands: production, where a job is in one queue and stays there.

    Source: placement measurements on the Philly and Acme traces: the hub orders by GPUs held now, small jobs go first
    where they do not delay a big or old one that waits for its reservation.
    """

    soon_s: float = 300  # who starts later than this stays at the hub
    big_gpus: int = 8  # from so many on, a job that does not fit gets GPUs kept for it at once
    reserve_after_s: float = 1800  # any other gets them after so long
    may_move: bool = False
    move_gain_s: float = 600  # a move pays only if the job starts at least so much earlier
    max_moves: int = 2

    @classmethod
    def with_moves(cls) -> Policy:
        """A place with room takes jobs that wait elsewhere: for the what-if and simulations."""
        return cls(may_move=True)


@dataclass(frozen=True, slots=True)
class Action:
    """One step: `place` puts a job into a place's queue, `remove` takes it out."""

    kind: str
    job: str
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and why every other job waits."""

    actions: tuple[Action, ...]
    waiting: Mapping[str, str]

    def as_wire(self) -> dict[str, Any]:
        """The wire form."""
        actions = [[action.kind, action.job, action.place, action.reason] for action in self.actions]
        return {"actions": actions, "waiting": dict(self.waiting)}


def parse_now(content: object) -> float:
    """The instant that the wire form is about.

    Raises:
        WireError: it names none.
    """
    return reading.instant(need(reading.table(content, ""), "now", ""), "now")


def _up(content: object, path: str, gpus: int) -> int:
    if isinstance(content, bool):
        return gpus if content else 0
    return min(reading.count(content, path), gpus)


def _acceptance(content: object, path: str) -> Mapping[str, Mapping[str, str | None]]:
    # Of each project, under each site's name: true, or why it is refused.
    def verdict(said: object, place: str) -> str | None:
        return None if said is True or said is None else reading.sentence(said, place)

    return reading.by_name(content, path, lambda sites, place: reading.by_name(sites, place, verdict))


def _budgets(content: object, path: str) -> Mapping[tuple[str, str, str], tuple[int, ...]]:
    # Rows of project, site, GPU class and a list of what each line has left.
    def line(said: object, place: str) -> tuple[tuple[str, str, str], tuple[int, ...]]:
        told = reading.row(said, place, ("project", "site", "GPU class", "left of each line"))
        project, site, gpu_class = (reading.name(told[index], f"{place}[{index}]") for index in range(3))
        return (project, site, gpu_class), reading.many(told[3], f"{place}[3]", reading.amount)

    return dict(reading.many(content, path, line))
