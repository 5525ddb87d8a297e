"""How is compute promised, set aside and charged? Pure decisions."""

from __future__ import annotations

from cesai.allocations.rules.accounts import (
    BOUNDED,
    DEFAULT,
    HOLDERS,
    AccountKey,
    AccountKind,
    AwardLine,
    Check,
    Entry,
    EntryKind,
    Line,
    Phase,
    entry_id,
)
from cesai.allocations.rules.posting import Payer, lead_to
from cesai.allocations.rules.promises import check_award, check_pools
from cesai.allocations.rules.reservations import Fit, Hold, choose, fit, resplit, shares
from cesai.allocations.rules.usage import (
    Booked,
    Part,
    Posted,
    Usage,
    UsageFor,
    booked,
    booking_period,
    corrections,
    plausible,
    split_launch,
    targets,
)

__all__ = [
    "BOUNDED",
    "DEFAULT",
    "HOLDERS",
    "AccountKey",
    "AccountKind",
    "AwardLine",
    "Booked",
    "Check",
    "Entry",
    "EntryKind",
    "Fit",
    "Hold",
    "Line",
    "Part",
    "Payer",
    "Phase",
    "Posted",
    "Usage",
    "UsageFor",
    "booked",
    "booking_period",
    "check_award",
    "check_pools",
    "choose",
    "corrections",
    "entry_id",
    "fit",
    "lead_to",
    "plausible",
    "resplit",
    "shares",
    "split_launch",
    "targets",
]
