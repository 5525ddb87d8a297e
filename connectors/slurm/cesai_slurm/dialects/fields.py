"""How is a field taken out of slurmrestd's JSON without believing that it is there or of its type?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cesai_slurm.rows import NO_GPUS, Gpus
from cesai_slurm.words import garbled


def table(body: object, name: str) -> Mapping[str, Any]:
    """A table inside a table."""
    found = body.get(name) if isinstance(body, Mapping) else None
    if not isinstance(found, Mapping):
        garbled(name, repr(found))
    return found


def tables(body: object, name: str) -> Sequence[Mapping[str, Any]]:
    """A list of tables inside a table."""
    found = body.get(name) if isinstance(body, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        garbled(name, repr(found))
    return found


def text(body: Mapping[str, Any], name: str) -> str:
    """A text; null stands for an empty one."""
    found = body.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        garbled(name, repr(found))
    return found


def texts(body: Mapping[str, Any], name: str) -> list[str]:
    """A list of words."""
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        garbled(name, repr(found))
    return found


def whole(body: Mapping[str, Any], name: str) -> int:
    """A whole number that must be there, plain or as {set, infinite, number}."""
    found = number(body, name)
    if found is None:
        garbled(name, repr(body.get(name)))
    return found


def number(body: Mapping[str, Any], name: str) -> int | None:
    """A whole number, plain or as {set, infinite, number}; None when it is not set or has no limit."""
    found = body.get(name)
    if isinstance(found, Mapping):
        if not found.get("set") or found.get("infinite"):
            return None
        found = found.get("number")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int):
        garbled(name, repr(found))
    return found


def allocated_gpus(body: Mapping[str, Any]) -> Gpus:
    """GPUs of accounting's list of allocated resources; the untyped figure counts all of them."""
    total: int | None = None
    typed: dict[str, int] = {}
    for resource in tables(table(body, "tres"), "allocated"):
        name = text(resource, "name")
        if text(resource, "type") != "gres":
            continue
        if name == "gpu":
            total = number(resource, "count") or 0
        elif name.startswith("gpu:"):
            typed[name.removeprefix("gpu:")] = number(resource, "count") or 0
    count = sum(typed.values()) if total is None else total
    return Gpus(count, next(iter(typed)) if len(typed) == 1 else None) if count else NO_GPUS


def external_id(job_id: int, array_id: int, task: int | None) -> str:
    """The id as the commands write it: a task of an array is "12_3"."""
    return str(job_id) if task is None or not array_id else f"{array_id}_{task}"
