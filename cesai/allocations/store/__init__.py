"""How is the ledger read and written? Only inside this room."""

from __future__ import annotations

from cesai.allocations.store.attempts import (
    Owner,
    Pending,
    booked,
    latest_versions,
    launches,
    open_in,
    pendings,
    posted,
    record,
    reservation,
    reserved,
    site_of,
    usage,
)
from cesai.allocations.store.journal import lock_periods, lock_site, post
from cesai.allocations.store.reading import (
    Balance,
    Listed,
    award_lines,
    awards,
    balances,
    closed_periods,
    entries,
    invariants,
    last_number,
    left,
    lines,
)

__all__ = [
    "Balance",
    "Listed",
    "Owner",
    "Pending",
    "award_lines",
    "awards",
    "balances",
    "booked",
    "closed_periods",
    "entries",
    "invariants",
    "last_number",
    "latest_versions",
    "launches",
    "left",
    "lines",
    "lock_periods",
    "lock_site",
    "open_in",
    "pendings",
    "post",
    "posted",
    "record",
    "reservation",
    "reserved",
    "site_of",
    "usage",
]
