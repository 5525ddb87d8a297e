"""How does Slurm write times, durations, resources and exit codes?"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NoReturn

from cesai.contract.connector import SiteUnavailable
from cesai_slurm.rows import NO_GPUS, Gpus

_NOTHING = frozenset({"", "Unknown", "None", "N/A", "(null)", "NONE"})
_DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_GRES = re.compile(r"gpu(?::([^:,()]*))?:(\d+)")
_INNER_PARENS = re.compile(r"\([^()]*\)")


def garbled(what: str, text: str) -> NoReturn:
    """Say that the answer cannot be read, and where.

    Raises:
        SiteUnavailable: always.
    """
    msg = f"Slurm's answer cannot be read: {what} is {text[:80]!r}"
    raise SiteUnavailable(msg) from None


def read_time(text: str) -> datetime | None:
    """An instant that was asked for with TZ=UTC and SLURM_TIME_FORMAT=standard; None where there is none."""
    if text in _NOTHING:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        garbled("a time", text)


def read_epoch(seconds: int | None) -> datetime | None:
    """An instant in seconds since 1970; 0 and less stand for none."""
    if seconds is None or seconds <= 0:
        return None
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        garbled("a time", str(seconds))


def read_whole(text: str) -> int:
    """A whole number that must be there."""
    try:
        return int(text)
    except ValueError:
        garbled("a number", text)


def read_minutes(text: str) -> int | None:
    """Minutes of "5:00", "1-00:00:00", rounded up; None for UNLIMITED, INVALID and the like.

    Source: squeue(1), %l: "days-hours:minutes:seconds".
    """
    match = _DURATION.fullmatch(text)
    if not match:
        if text.isdecimal() or not text.replace("_", "").replace("/", "").isalpha():
            garbled("a duration", text)
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes + (1 if seconds else 0)


def read_tres(text: str) -> Gpus:
    """GPUs of "cpu=1,gres/gpu=2,gres/gpu:h100=2"; the untyped figure counts all of them.

    Source: sacct(1), AllocTRES. Sites that track only typed TRES have no untyped figure.
    """
    total: int | None = None
    typed: dict[str, int] = {}
    for part in text.split(","):
        name, _, figure = part.partition("=")
        if name == "gres/gpu":
            total = read_whole(figure)
        elif name.startswith("gres/gpu:"):
            typed[name.removeprefix("gres/gpu:")] = read_whole(figure)
    count = sum(typed.values()) if total is None else total
    return Gpus(count, next(iter(typed)) if len(typed) == 1 else None) if count else NO_GPUS


def read_gres(text: str) -> tuple[Gpus, ...]:
    """GPUs of a node: "gpu:h100:4(S:0-1)", "gpu:4", "gpu:(null):2(IDX:0,3)".

    Source: sinfo(1), Gres and GresUsed.
    """
    plain = _INNER_PARENS.sub("", text)
    found: dict[str | None, int] = {}
    for part in plain.split(","):
        match = _GRES.fullmatch(part.strip())
        if match:
            gres_type = match[1] or None
            found[gres_type] = found.get(gres_type, 0) + int(match[2])
    return tuple(Gpus(count, gres_type) for gres_type, count in found.items())


def read_exit(text: str) -> int:
    """The exit code of "7:0", of "0:9" (a signal: 128 + 9, as a shell has it) or of a raw wait status (22.05)."""
    if ":" not in text:
        return read_wait_status(read_whole(text))
    code, _, signal = text.partition(":")
    return 128 + read_whole(signal) if read_whole(signal) else read_whole(code)


def read_wait_status(status: int) -> int:
    """The exit code in a wait status.

    Source: wait(2).
    """
    signal = status & 0x7F
    return 128 + signal if signal else status >> 8 & 0xFF


def count_tasks(job_id: str) -> int:
    """How many array tasks "12_[0-3,7%2]" stands for; 1 for a plain job or one task.

    Source: squeue(1), %i; sbatch(1), --array: ranges, steps after a colon, a limit after a percent sign.
    """
    _, bracket, inner = job_id.partition("[")
    return count_range(inner.rstrip("]")) if bracket else 1


def count_range(text: str) -> int:
    """How many numbers "0-3,7%2" or "0-8:4" holds; at least 1, also when it is cut ("0-3,...")."""
    count = 0
    for part in text.partition("%")[0].split(","):
        span, _, step = part.partition(":")
        low, dash, high = span.partition("-")
        if low.isdecimal() and high.isdecimal() and dash:
            count += (int(high) - int(low)) // max(1, int(step or 1)) + 1
        else:
            count += 1
    return max(1, count)
