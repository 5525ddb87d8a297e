"""Which awards make sense, and which can the pools bear?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from cesai.allocations.rules.accounts import AccountKey, AwardLine
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period


def check_award(lines: Sequence[AwardLine], *, now: datetime) -> None:
    """Nothing, when these lines could be an award.

    Raises:
        Refused: there is none, one stands twice, is not above zero, or its period is over.
    """
    if not lines:
        msg = "An award has at least one line."
        raise Refused(msg)
    seen: set[AccountKey] = set()
    for line in lines:
        key = line.key("")
        where = f"{line.gpu_class} at {line.site_id} in {line.period}"
        if key in seen:
            msg = f"The award has two lines for {where}, stream {line.stream}. Add them up."
            raise Refused(msg)
        seen.add(key)
        if line.amount <= ZERO:
            msg = f"Award more than 0 GPU-hours of {where}."
            raise Refused(msg)
        if line.period.end <= now:
            msg = f"{line.period} is over: award for {Period.of(now)} or later."
            raise Refused(msg)


def check_pools(lines: Sequence[AwardLine], left: Mapping[AccountKey, GpuMilliseconds]) -> None:
    """Nothing, when what the sites pledged and nobody was awarded yet can bear these lines.

    Raises:
        Refused: a pool cannot; the sentence has the numbers.
    """
    asked: dict[AccountKey, GpuMilliseconds] = {}
    for line in lines:
        asked[line.pool] = asked.get(line.pool, ZERO) + line.amount
    for pool, amount in asked.items():
        if amount > left[pool]:
            msg = (
                f"{amount} of {pool.gpu_class} at {pool.site_id} in {pool.period} cannot be awarded: "
                f"{left[pool]} of the site's pledge are left. Award at most so much, or ask the site to pledge more."
            )
            raise Refused(msg)
