"""How much compute can a site promise?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from cesai.kernel.amounts import MS_PER_HOUR, GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period

PERCENT = 100


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that a site's GPUs of one class can give in what remains of a period."""

    gpus_up: int
    remaining_ms: int
    availability_percent: int

    @property
    def amount(self) -> GpuMilliseconds:
        """Rounded down."""
        return GpuMilliseconds(self.gpus_up * self.remaining_ms * self.availability_percent // PERCENT)


def ceiling(*, gpus_up: int, availability_percent: int, period: Period, now: datetime) -> Ceiling:
    """The ceiling from now, or from the period's start when that lies ahead."""
    remaining = period.end - max(now, period.start)
    remaining_ms = max(0, int(Fraction(remaining.total_seconds()) * 1000))
    return Ceiling(gpus_up=gpus_up, remaining_ms=remaining_ms, availability_percent=availability_percent)


def check_pledge(amount: GpuMilliseconds, *, pledged: GpuMilliseconds, most: Ceiling, what: str) -> None:
    """Nothing, when the site can give this beside what it has pledged before.

    Raises:
        Refused: it cannot, or the amount is not above zero; the sentence has the numbers.
    """
    if amount.value <= 0:
        msg = "Pledge more than 0 GPU-hours."
        raise Refused(msg)
    if amount + pledged <= most.amount:
        return
    hours = most.remaining_ms / MS_PER_HOUR
    before = f" and {pledged} are pledged already" if pledged else ""
    left = GpuMilliseconds(max(0, most.amount.value - pledged.value))
    msg = (
        f"{amount} of {what} cannot be pledged: {most.gpus_up} GPUs that are up x {hours:,.1f} hours that remain"
        f" x {most.availability_percent} % availability = {most.amount}{before}. Pledge at most {left}."
    )
    raise Refused(msg)
