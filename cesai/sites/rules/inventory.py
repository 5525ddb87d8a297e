"""Can what a site says it has be true, and which GPU class may it be?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PLAIN = re.compile(r"[\w.@:+,=/ -]{1,256}")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class PoolCount:
    """The counts of one pool as told, not yet believed."""

    cluster: str
    partition: str
    gres_type: str | None
    features: tuple[str, ...]
    nodes: int
    nodes_up: int
    gpus_per_node: int
    gpus: int
    gpus_up: int
    gpus_free: int

    @property
    def title(self) -> str:
        """The pool's name for people."""
        return f"{self.cluster}/{self.partition}/{self.gres_type or 'gpu'}"


@dataclass(frozen=True, slots=True)
class WorkCount:
    """GPUs that run in a partition, as told."""

    partition: str
    gpus: int


def contradiction(pools: Sequence[PoolCount], running: Iterable[WorkCount]) -> str | None:
    """What cannot be true of this inventory, as a sentence for the site's admin; None: nothing.

    A draining node may run jobs although it is not up, so running work is held against all GPUs, not those up.
    """
    seen: set[tuple[str, str, str | None]] = set()
    for pool in pools:
        if fault := _fault_of(pool):
            return fault
        key = (pool.cluster, pool.partition, pool.gres_type)
        if key in seen:
            return f"Pool {pool.title} is told twice."
        seen.add(key)
    return _too_much_runs(pools, running)


def _fault_of(pool: PoolCount) -> str | None:
    names = (pool.cluster, pool.partition, *([pool.gres_type] if pool.gres_type is not None else []))
    if bad := next((name for name in names if not _PLAIN.fullmatch(name)), None):
        return f"{bad!r} is no name of a cluster, partition or GPU type."
    claims = (
        (pool.gpus_free <= pool.gpus_up, f"{pool.gpus_free} GPUs free, but {pool.gpus_up} up"),
        (pool.gpus_up <= pool.gpus, f"{pool.gpus_up} GPUs up, but {pool.gpus} in all"),
        (pool.nodes_up <= pool.nodes, f"{pool.nodes_up} nodes up, but {pool.nodes} in all"),
        (
            pool.gpus <= pool.nodes * pool.gpus_per_node,
            f"{pool.gpus} GPUs on {pool.nodes} nodes with {pool.gpus_per_node} GPUs each",
        ),
        (
            pool.gpus_up <= pool.nodes_up * pool.gpus_per_node,
            f"{pool.gpus_up} GPUs up on {pool.nodes_up} nodes that are up with {pool.gpus_per_node} GPUs each",
        ),
    )
    wrong = next((text for holds, text in claims if not holds), None)
    return f"Pool {pool.title}: {wrong}." if wrong else None


def _too_much_runs(pools: Sequence[PoolCount], running: Iterable[WorkCount]) -> str | None:
    capacity: dict[str, int] = {}
    for pool in pools:
        capacity[pool.partition] = capacity.get(pool.partition, 0) + pool.gpus
    used: dict[str, int] = {}
    for work in running:
        used[work.partition] = used.get(work.partition, 0) + work.gpus
    for partition, gpus in used.items():
        if partition in capacity and gpus > capacity[partition]:
            return f"Partition {partition}: {gpus} GPUs run, but it has {capacity[partition]}."
    return None


def proposal(gres_type: str | None, features: Iterable[str], classes: Sequence[str]) -> str | None:
    """The GPU class that a pool's own words suggest; None when they suggest none or several.

    The type says more than features: many sites name `nvidia_h100_80gb_hbm3`, others an untyped `gpu` and a feature.
    """
    found = _classes_in((gres_type,) if gres_type else (), classes) or _classes_in(features, classes)
    return next(iter(found)) if len(found) == 1 else None


def _classes_in(texts: Iterable[str], classes: Sequence[str]) -> set[str]:
    words = [_WORD.findall(text.lower()) for text in texts]
    whole = {name for name in classes for said in words if _is_part(_WORD.findall(name.lower()), said)}
    # A class whose name is a part of another's that is also there ("H100" in "H100-NVL") is not what was meant.
    return {name for name in whole if not any(_is_inside(name, other) for other in whole)}


def _is_part(part: list[str], said: list[str]) -> bool:
    return any(said[start : start + len(part)] == part for start in range(len(said) - len(part) + 1))


def _is_inside(name: str, other: str) -> bool:
    return name != other and _is_part(_WORD.findall(name.lower()), _WORD.findall(other.lower()))
