"""Which accounting period does an instant belong to?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
_NAME = re.compile(r"(\d{4})-Q([1-4])")
_MONTHS_PER_QUARTER = 3
_QUARTERS = 4


@dataclass(frozen=True, order=True, slots=True)
class Period:
    """A quarter, half-open, cut at midnights in Berlin."""

    year: int
    quarter: int

    @classmethod
    def parse(cls, name: str) -> Period:
        """Read "2026-Q4".

        Raises:
            ValueError: not of that form.
        """
        match = _NAME.fullmatch(name)
        if not match:
            msg = f"{name!r} is no period; write it like 2026-Q4"
            raise ValueError(msg)
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, instant: datetime) -> Period:
        """The period in which this instant lies."""
        local = instant.astimezone(BERLIN)
        return cls(local.year, (local.month - 1) // _MONTHS_PER_QUARTER + 1)

    @property
    def start(self) -> datetime:
        """First instant, UTC."""
        month = (self.quarter - 1) * _MONTHS_PER_QUARTER + 1
        return datetime(self.year, month, 1, tzinfo=BERLIN).astimezone(UTC)

    @property
    def end(self) -> datetime:
        """First instant of the next period, UTC."""
        return self.next().start

    def next(self) -> Period:
        """The period after this one."""
        if self.quarter == _QUARTERS:
            return Period(self.year + 1, 1)
        return Period(self.year, self.quarter + 1)

    def __str__(self) -> str:
        return f"{self.year}-Q{self.quarter}"


def touched(start: datetime, end: datetime) -> tuple[Period, ...]:
    """Every period that the half-open span [start, end) touches, in order; at least one."""
    found = [Period.of(start)]
    while found[-1].end < end:
        found.append(found[-1].next())
    return tuple(found)
