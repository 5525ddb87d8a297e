"""How are things named?"""

from __future__ import annotations

import os
import re
import time
from uuid import UUID

SLUG = re.compile(r"[a-z][a-z0-9-]{1,30}")
MARKER = re.compile(r"[a-z0-9-]{26,40}")
_MARKER_PARTS = re.compile(r"([0-9a-f]{32})-a([1-9][0-9]{0,5})")


def new_id() -> UUID:
    """A fresh id that sorts by the time it was made.

    Source: RFC 9562, section 5.7 (UUID version 7).
    """
    random = int.from_bytes(os.urandom(10))
    value = (time.time_ns() // 1_000_000) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def marker(job_id: UUID, number: int) -> str:
    """The name under which a site knows one attempt; matched exactly, lower case only."""
    return f"{job_id.hex}-a{number}"


def read_marker(text: str) -> tuple[UUID, int] | None:
    """The job and attempt number that a marker names, or None when it is not one of ours."""
    match = _MARKER_PARTS.fullmatch(text)
    return (UUID(match[1]), int(match[2])) if match else None
