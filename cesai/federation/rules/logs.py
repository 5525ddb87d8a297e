"""Which bytes of a log are taken, and which are asked for next?"""

from __future__ import annotations

from datetime import timedelta

CAP_BYTES = 8 * 1024 * 1024  # of one attempt's log the hub keeps the first so many bytes
RANGE_BYTES = 256 * 1024
WISH_LASTS = timedelta(seconds=60)  # so long after somebody looked, the site goes on sending
KEPT_FOR = timedelta(days=90)


def taken(*, have: int, offset: int, length: int) -> slice | None:
    """The part of an incoming range that goes on where the log ends so far; None when none does.

    A range that leaves a gap is not taken: the next question asks from the end of what is there.
    """
    if not offset <= have < offset + length or have >= CAP_BYTES:
        return None
    return slice(have - offset, min(length, CAP_BYTES - offset))


def is_end(*, have: int, offset: int, length: int, says_end: bool) -> bool:
    """Whether nothing more will come: the site says so right where the log ends, or the cap is reached."""
    return have >= CAP_BYTES or (says_end and offset + length == have)


def wanted(*, have: int, is_complete: bool) -> tuple[int, int] | None:
    """The range to ask for next as (offset, limit), or None when the log is whole."""
    if is_complete or have >= CAP_BYTES:
        return None
    return have, min(RANGE_BYTES, CAP_BYTES - have)
