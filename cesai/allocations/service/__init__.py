"""What can be done with the ledger: pledge, award, set aside, charge, read, verify, close?"""

from __future__ import annotations

from cesai.allocations.rules import AwardLine, Booked, Check, Fit, Line, Usage
from cesai.allocations.service.attempts import (
    book,
    book_unattributed,
    bookings,
    fits,
    release,
    reserve,
    reserved,
    settled,
    started,
)
from cesai.allocations.service.ledger import balances, broken, close_period, entries, verify
from cesai.allocations.service.promises import Award, award, awards, lines, pledge, pool_left
from cesai.allocations.store import Balance, Listed

__all__ = [
    "Award",
    "AwardLine",
    "Balance",
    "Booked",
    "Check",
    "Fit",
    "Line",
    "Listed",
    "Usage",
    "award",
    "awards",
    "balances",
    "book",
    "book_unattributed",
    "bookings",
    "broken",
    "close_period",
    "entries",
    "fits",
    "lines",
    "pledge",
    "pool_left",
    "release",
    "reserve",
    "reserved",
    "settled",
    "started",
    "verify",
]
