"""How does a test get an award line without a site's inventory and a project's members?"""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from sqlalchemy.orm import Session

from cesai.allocations import store
from cesai.allocations.rules import AccountKey, AccountKind, Entry, EntryKind
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.periods import Period


def fund(
    db: Session,
    project_id: str,
    period: Period,
    gpu_ms: int,
    *,
    now: datetime,
    stream: str = "default",
    site_id: str = "s",
) -> AccountKey:
    """Pledge and award so much of H100; the line's account."""
    supply = AccountKey(AccountKind.SUPPLY, site_id, "H100")
    pool = AccountKey(AccountKind.POOL, site_id, "H100", period)
    line = AccountKey(AccountKind.LINE, site_id, "H100", period, project_id, stream, "default")
    amount = GpuMilliseconds(gpu_ms)
    entries = [
        Entry(uuid4(), EntryKind.SUPPLY, supply, pool, amount, period),
        Entry(uuid4(), EntryKind.AWARD, pool, line, amount, period),
    ]
    store.post(db, entries, at=now, actor="test")
    return line
