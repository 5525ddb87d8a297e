"""What time is it?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; tests bring their own."""

    def now(self) -> datetime:
        """UTC, with zone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """UTC, with zone."""
        return datetime.now(UTC)
