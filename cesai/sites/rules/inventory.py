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


def contradiction(pools: Sequence[PoolCount]) -> str | None:
    """What cannot be true of this inventory, as a sentence for the site's admin; None: nothing.

    Not asked: whether nodes x GPUs per node is all GPUs, for nodes of one pool may differ; and whether what runs fits,
    for a scheduler is asked about nodes and about jobs at two moments.
    """
    seen: set[tuple[str, str, str | None]] = set()
    for pool in pools:
        if fault := _fault_of(pool):
            return fault
        key = (pool.cluster, pool.partition, pool.gres_type)
        if key in seen:
            return f"Pool {pool.title} is told twice."
        seen.add(key)
    return None


def _fault_of(pool: PoolCount) -> str | None:
    names = (pool.cluster, pool.partition, *([pool.gres_type] if pool.gres_type is not None else []))
    if bad := next((name for name in names if not _PLAIN.fullmatch(name)), None):
        return f"{bad!r} is no name of a cluster, partition or GPU type."
    claims = (
        (pool.gpus_free <= pool.gpus_up, f"{pool.gpus_free} GPUs free, but {pool.gpus_up} up"),
        (pool.gpus_up <= pool.gpus, f"{pool.gpus_up} GPUs up, but {pool.gpus} in all"),
        (pool.nodes_up <= pool.nodes, f"{pool.nodes_up} nodes up, but {pool.nodes} in all"),
        (not pool.gpus or (pool.nodes and pool.gpus_per_node), f"{pool.gpus} GPUs, but on no node"),
        (not pool.gpus_up or pool.nodes_up, f"{pool.gpus_up} GPUs up, but no node that is up"),
    )
    wrong = next((text for holds, text in claims if not holds), None)
    return f"Pool {pool.title}: {wrong}." if wrong else None


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
