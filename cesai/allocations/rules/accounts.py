"""Which accounts does the ledger have, and what is an entry?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID, uuid5

from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.periods import Period

DEFAULT = "default"  # of a line's stream and grant, until there are several
_NAMESPACE = UUID("6c2f4f0e-6d0c-5a57-9b1e-0f6d6a1d9c11")


class AccountKind(StrEnum):
    """What an account stands for, in the order of locking: the one that everybody writes comes last."""

    LINE = "LINE"  # what one project was awarded
    OVERRUN = "OVERRUN"  # used beyond what was set aside
    DUPLICATE = "DUPLICATE"  # launches that the fence ended
    UNATTRIBUTED = "UNATTRIBUTED"  # jobs under a hub account that the hub did not order
    SITE_LOSS = "SITE_LOSS"  # lost by a failure of site or hub: nobody's cost
    POOL = "POOL"  # what a site pledged and nobody was awarded yet
    SUPPLY = "SUPPLY"  # where pledges come from
    CONSUMED = "CONSUMED"  # where all use goes: its balance is what the site's accounting says


BOUNDED = frozenset({AccountKind.POOL, AccountKind.LINE})
# Accounts that hold what they were credited; the others are sources, known by what they gave.
HOLDERS = BOUNDED | {AccountKind.CONSUMED}
LOCK_ORDER = {kind: place for place, kind in enumerate(AccountKind)}


def entry_id(*parts: object) -> UUID:
    """The id that the same parts always get, so that a retry meets its own row."""
    return uuid5(_NAMESPACE, "/".join(str(part) for part in parts))


@dataclass(frozen=True, slots=True)
class AccountKey:
    """What makes an account the one that it is."""

    kind: AccountKind
    site_id: str
    gpu_class: str
    period: Period | None = None
    project_id: str | None = None
    stream: str | None = None
    grant: str | None = None

    @property
    def name(self) -> str:
        """Its name for people, like LINE:legal-llm:juelich:H100:2026-Q4:default:default."""
        parts = (self.kind, self.project_id, self.site_id, self.gpu_class, self.period, self.stream, self.grant)
        return ":".join(str(part) for part in parts if part is not None)

    @property
    def id(self) -> UUID:
        """Follows from the name."""
        return entry_id("account", self.name)

    @property
    def is_bounded(self) -> bool:
        """Whether it may give only what it was given."""
        return self.kind in BOUNDED

    @property
    def lock_order(self) -> tuple[int, str]:
        """Everybody who writes several accounts goes through them in this order."""
        return LOCK_ORDER[self.kind], self.name


class Phase(StrEnum):
    """Which counters an entry moves."""

    PENDING = "pending"
    RESOLUTION = "resolution"  # takes a pending back, whole
    POSTED = "posted"


class EntryKind(StrEnum):
    """Why an entry was made."""

    SUPPLY = "supply"
    AWARD = "award"
    RESERVE = "reserve"
    RELEASE = "release"  # the end of a reservation: what was used is posted beside it
    VOID = "void"  # the end of a reservation under which nothing ran
    SETTLE = "settle"
    OVERRUN = "overrun"
    DUPLICATE = "duplicate"
    UNATTRIBUTED = "unattributed"
    SITE_LOSS = "site-loss"
    REVERSAL = "reversal"


_PHASES = {
    EntryKind.RESERVE: Phase.PENDING,
    EntryKind.RELEASE: Phase.RESOLUTION,
    EntryKind.VOID: Phase.RESOLUTION,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the journal: this amount from one account to another."""

    id: UUID
    kind: EntryKind
    debit: AccountKey
    credit: AccountKey
    amount: GpuMilliseconds
    period: Period  # in which it is booked
    attempt_id: UUID | None = None
    source_key: str | None = None  # the site's launch that it comes from
    source_revision: int | None = None
    corrects: Period | None = None  # the closed period in which the use really was
    pending_id: UUID | None = None  # the pending that it resolves
    reverses_id: UUID | None = None  # the entry that it takes back
    award_id: UUID | None = None

    @property
    def phase(self) -> Phase:
        """Which counters it moves."""
        return _PHASES.get(self.kind, Phase.POSTED)


@dataclass(frozen=True, slots=True)
class Line:
    """An award line: what a project may use of one class at one site in one period, out of one stream."""

    id: UUID
    project_id: str
    site_id: str
    gpu_class: str
    period: Period
    stream: str
    grant: str
    position: int  # its place in the award's order of streams
    awarded: GpuMilliseconds
    pending: GpuMilliseconds
    posted: GpuMilliseconds

    @property
    def left(self) -> GpuMilliseconds:
        """What can still be set aside."""
        return self.awarded - self.pending - self.posted

    @property
    def key(self) -> AccountKey:
        """Its account."""
        return AccountKey(
            AccountKind.LINE, self.site_id, self.gpu_class, self.period, self.project_id, self.stream, self.grant
        )


@dataclass(frozen=True, slots=True)
class AwardLine:
    """So much for a project at a site, as an award says it."""

    site_id: str
    gpu_class: str
    period: Period
    amount: GpuMilliseconds
    stream: str = DEFAULT
    grant: str = DEFAULT

    def key(self, project_id: str) -> AccountKey:
        """The line's account."""
        return AccountKey(
            AccountKind.LINE, self.site_id, self.gpu_class, self.period, project_id, self.stream, self.grant
        )

    @classmethod
    def of(cls, key: AccountKey, amount: GpuMilliseconds) -> AwardLine:
        """So much on this line's account."""
        if key.period is None:
            msg = f"{key.name} is no award line"
            raise ValueError(msg)
        return cls(key.site_id, key.gpu_class, key.period, amount, key.stream or DEFAULT, key.grant or DEFAULT)

    @property
    def pool(self) -> AccountKey:
        """The account that pays."""
        return AccountKey(AccountKind.POOL, self.site_id, self.gpu_class, self.period)


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence that must always be true of the ledger, and whether it is."""

    name: str
    holds: bool
    detail: str  # what is wrong, empty when nothing is
