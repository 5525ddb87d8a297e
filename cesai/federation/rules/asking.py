"""Can what a group asks for be given anywhere, ever? Each no says what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Asked:
    """The shape of a job."""

    nodes: int
    gpus_per_node: int
    gpu_classes: tuple[str, ...]
    walltime_minutes: int
    sites: tuple[str, ...] = ()  # empty: any


@dataclass(frozen=True, slots=True)
class Room:
    """GPUs of one class in one partition, whether up or not."""

    site_id: str
    partition: str
    gpu_class: str
    nodes: int
    gpus_per_node: int
    max_walltime_minutes: int | None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that somebody most likely meant."""
    near = get_close_matches(name.casefold(), [one.casefold() for one in known], n=1, cutoff=0.5)
    return next((one for one in known if near and one.casefold() == near[0]), None)


def unknown_name(name: str, known: Collection[str], *, kind: str) -> str | None:
    """Why a name is not taken, with the one that may have been meant; None when it is known."""
    if name in known:
        return None
    near = nearest(name, sorted(known))
    if near:
        return f"There is no {kind} {name}; did you mean {near}?"
    return f"There is no {kind} {name}; known are {', '.join(sorted(known)) or 'none yet'}."


def too_large(asked: Asked, rooms: Sequence[Room]) -> str | None:
    """Why no site can ever hold the job, with the numbers; None when one can."""
    eligible = _eligible(asked, rooms)
    if not eligible:
        where = " or ".join(asked.sites) or "any site"
        return f"No GPUs of class {' or '.join(asked.gpu_classes)} are open to you at {where}; ask for another class."
    if any(_holds(room, asked) for room in eligible):
        return None
    wish = f"{asked.nodes} nodes x {asked.gpus_per_node} GPUs"
    offers = sorted({f"{room.site_id} {room.partition} {room.nodes} x {room.gpus_per_node}" for room in eligible})
    return f"{wish} is larger than any site has ({'; '.join(offers)}); ask for fewer nodes or fewer GPUs per node."


def too_long(asked: Asked, rooms: Sequence[Room]) -> str | None:
    """Why no partition that can hold the job would let it run so long; None when one does."""
    holding = [room for room in _eligible(asked, rooms) if _holds(room, asked)]
    limits = [room.max_walltime_minutes for room in holding if room.max_walltime_minutes is not None]
    if not limits or len(limits) < len(holding) or any(asked.walltime_minutes <= limit for limit in limits):
        return None
    return (
        f"A wall time of {asked.walltime_minutes} minutes is over every partition's limit (the longest is "
        f"{max(limits)} minutes); ask for less and go on with `resume`."
    )


def usable(asked: Asked, rooms: Sequence[Room]) -> tuple[Room, ...]:
    """The rooms that can hold the job for as long as it asks."""
    return tuple(
        room
        for room in _eligible(asked, rooms)
        if _holds(room, asked)
        and (room.max_walltime_minutes is None or asked.walltime_minutes <= room.max_walltime_minutes)
    )


def _eligible(asked: Asked, rooms: Sequence[Room]) -> list[Room]:
    return [
        room
        for room in rooms
        if room.gpu_class in asked.gpu_classes and (not asked.sites or room.site_id in asked.sites)
    ]


def _holds(room: Room, asked: Asked) -> bool:
    return asked.nodes <= room.nodes and asked.gpus_per_node <= room.gpus_per_node
