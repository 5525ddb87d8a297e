"""What did a site promise, and can it?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import Caller
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.ids import new_id
from cesai.kernel.periods import Period
from cesai.sites import rules, store, tables
from cesai.sites.service.inventory import pools
from cesai.sites.service.registry import check_gpu_class, lock, site


@dataclass(frozen=True, slots=True)
class NewPledge:
    """What a site wants to promise."""

    site_id: str
    gpu_class: str
    period: Period
    amount: GpuMilliseconds


@dataclass(frozen=True, slots=True)
class Pledge:
    """What a site promised."""

    id: UUID
    site_id: str
    gpu_class: str
    period: Period
    amount: GpuMilliseconds
    pledged_by: str
    pledged_at: datetime


def record_pledge(db: Session, new: NewPledge, *, by: Caller, now: datetime) -> Pledge:
    """Note what the site promises, if its GPUs that are up can give it in what remains of the period.

    Raises:
        NotFound: there is no such site.
        Refused: they cannot; the sentence has the numbers.
    """
    lock(db, new.site_id)
    check_pledge(db, new, now=now)
    row = tables.Pledge(
        id=new_id(),
        site_id=new.site_id,
        gpu_class=new.gpu_class,
        period=str(new.period),
        gpu_ms=new.amount.value,
        pledged_by=by.username,
        pledged_at=now,
    )
    db.add(row)
    db.flush()
    details = {"gpu_class": new.gpu_class, "period": str(new.period), "gpu_ms": new.amount.value}
    access.audit(db, actor=by, action="site.pledge", subject=new.site_id, details=details, now=now)
    return _pledge(row)


def check_pledge(db: Session, new: NewPledge, *, now: datetime) -> None:
    """Nothing, when the site could pledge this now beside what it has pledged.

    Raises:
        NotFound: there is no such site.
        Refused: it could not; the sentence has the numbers.
    """
    promised_by = site(db, new.site_id)
    check_gpu_class(db, new.gpu_class)
    gpus_up = sum(pool.gpus_up for pool in pools(db, new.site_id) if pool.gpu_class == new.gpu_class)
    if gpus_up == 0:
        msg = (
            f"{new.site_id} has no {new.gpu_class} that is up: let its agent tell the inventory, "
            f"confirm the mapping to GPU classes, then pledge."
        )
        raise Refused(msg)
    most = rules.ceiling(
        gpus_up=gpus_up, availability_percent=promised_by.availability_percent, period=new.period, now=now
    )
    before = store.pledged_ms(db, new.site_id, gpu_class=new.gpu_class, period=str(new.period))
    what = f"{new.gpu_class} at {new.site_id} in {new.period}"
    rules.check_pledge(new.amount, pledged=GpuMilliseconds(before), most=most, what=what)


def pledges(db: Session, site_id: str) -> tuple[Pledge, ...]:
    """What the site has pledged, oldest first."""
    site(db, site_id)
    return tuple(_pledge(row) for row in store.pledges(db, site_id))


def _pledge(row: tables.Pledge) -> Pledge:
    return Pledge(
        id=row.id,
        site_id=row.site_id,
        gpu_class=row.gpu_class,
        period=Period.parse(row.period),
        amount=GpuMilliseconds(row.gpu_ms),
        pledged_by=row.pledged_by,
        pledged_at=row.pledged_at,
    )
