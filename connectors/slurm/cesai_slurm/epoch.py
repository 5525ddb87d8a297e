"""Do the cluster's job ids still mean what they meant?

Slurm tells nobody the id of its state. What can be seen is the next job id: it falls far back when slurmctld lost its
state or wrapped around. A crash loses a few ids only, and is no new life: marker and submit time tell those apart.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from cesai.contract.connector import SiteUnavailable
from cesai_slurm import words
from cesai_slurm.backend import Backend
from cesai_slurm.settings import Settings

FALL = 1_000
_STEP = 100


@dataclass(frozen=True, slots=True)
class Life:
    """One life of the id sequence, and the highest next id seen in it."""

    number: int
    next_id: int


def follow(life: Life | None, next_id: int | None) -> Life:
    """The life that this next id belongs to; None: nothing can be seen now."""
    if life is None:
        return Life(1, next_id or 1)
    if next_id is None:
        return life
    if next_id + FALL < life.next_id:
        return Life(life.number + 1, next_id)
    return Life(life.number, max(life.next_id, next_id))


def identity(settings: Settings, backend: Backend) -> str:
    """The cluster's name and the number of its life, remembered beside the projects' folders.

    Raises:
        SiteUnavailable: Slurm or the file system does not answer.
    """
    path = settings.base / f".epoch-{settings.cluster}"
    try:
        known = _read(path)
        life = follow(known, _next_id(backend))
        if known is None or life.number != known.number or life.next_id >= known.next_id + _STEP:
            _write(path, life)
    except OSError as error:
        msg = f"the epoch's file {path} does not answer: {error.strerror}"
        raise SiteUnavailable(msg) from error
    return f"{settings.cluster}/{life.number}"


def _next_id(backend: Backend) -> int | None:
    table = backend.configuration()
    if table is not None:
        return words.read_whole(table.get("NEXT_JOB_ID", ""))
    # slurmrestd does not tell it: the job that was submitted last has about the highest id.
    ids = [
        (row.submit_time, words.read_whole(row.external_id.partition("_")[0]))
        for row in backend.queue()
        if row.submit_time
    ]
    return max(ids)[1] + 1 if ids else None


def _read(path: Path) -> Life | None:
    try:
        found = json.loads(path.read_text())
        return Life(int(found["number"]), int(found["next_id"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        msg = f"{path} cannot be read as an epoch; restore it, or remove it to begin anew"
        raise SiteUnavailable(msg) from None


def _write(path: Path, life: Life) -> None:
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with fresh.open("w") as stream:
        json.dump(asdict(life), stream)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.rename(path)
