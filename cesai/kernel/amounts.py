"""What is an amount of compute?"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

MS_PER_SECOND = 1_000
MS_PER_HOUR = 3_600_000


@dataclass(frozen=True, order=True, slots=True)
class GpuMilliseconds:
    """GPU time as a whole number of milliseconds; hours exist only for people's eyes."""

    value: int

    @classmethod
    def of(cls, *, gpus: int, seconds: int) -> GpuMilliseconds:
        """What so many GPUs use in so many whole seconds."""
        return cls(gpus * seconds * MS_PER_SECOND)

    @classmethod
    def of_hours(cls, hours: Decimal | int) -> GpuMilliseconds:
        """GPU-hours as a person writes them.

        Raises:
            ValueError: the hours are no whole number of milliseconds.
        """
        exact = Decimal(hours) * MS_PER_HOUR
        if exact != exact.to_integral_value():
            msg = f"{hours} GPU-hours are no whole number of GPU-milliseconds"
            raise ValueError(msg)
        return cls(int(exact))

    @property
    def hours(self) -> Decimal:
        """GPU-hours for people's eyes: a third of an hour has no exact decimal form, so never calculate with it."""
        return Decimal(self.value) / MS_PER_HOUR

    def __add__(self, other: GpuMilliseconds) -> GpuMilliseconds:
        return GpuMilliseconds(self.value + other.value)

    def __sub__(self, other: GpuMilliseconds) -> GpuMilliseconds:
        return GpuMilliseconds(self.value - other.value)

    def __bool__(self) -> bool:
        return self.value != 0

    def __str__(self) -> str:
        return f"{self.hours:,.2f} GPU-hours"


ZERO = GpuMilliseconds(0)
