"""How is compute set aside for an attempt, and how is what it used charged?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.allocations import rules, store
from cesai.allocations.tables import Reservation
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import NotFound, Refused, Stale
from cesai.kernel.periods import Period

HUB = "hub"


def fits(
    db: Session,
    *,
    project_id: str,
    site_id: str,
    gpu_class: str,
    amount: GpuMilliseconds,
    now: datetime,
    latest_end: datetime,
) -> rules.Fit:
    """Whether this job alone would fit an award line that has not expired; nothing is set aside."""
    lines = store.lines(db, project_id, site_id=site_id, gpu_class=gpu_class)
    return rules.fit(lines, amount=amount, now=now, latest_end=latest_end)


def reserve(
    db: Session,
    *,
    attempt_id: UUID,
    project_id: str,
    site_id: str,
    gpu_class: str,
    gpus: int,
    amount: GpuMilliseconds,
    now: datetime,
    latest_end: datetime,
) -> None:
    """Set an attempt's compute aside; asked again for the same attempt, nothing more happens.

    Raises:
        Refused: it does not fit; nothing was booked.
        Stale: something else was set aside for this attempt.
    """
    wanted = Reservation(
        attempt_id=attempt_id,
        project_id=project_id,
        site_id=site_id,
        gpu_class=gpu_class,
        gpus=gpus,
        reserved_gpu_ms=amount.value,
        is_over=False,
        is_site_fault=False,
        reserved_at=now,
    )
    _check_wish(gpus, amount)
    store.lock_site(db, site_id)
    if not _is_there(db, wanted):
        _set_aside(db, wanted, latest_end)


def _check_wish(gpus: int, amount: GpuMilliseconds) -> None:
    if gpus <= 0 or amount <= ZERO:
        msg = f"Nothing can be set aside for {gpus} GPUs and {amount}: ask for at least one GPU and one minute."
        raise Refused(msg)


def _is_there(db: Session, wanted: Reservation) -> bool:
    there = store.reservation(db, wanted.attempt_id)
    if there is None:
        return False
    same = ("project_id", "site_id", "gpu_class", "gpus", "reserved_gpu_ms")
    if any(getattr(there, name) != getattr(wanted, name) for name in same):
        msg = f"Something else is set aside for attempt {wanted.attempt_id}. Make a new attempt."
        raise Stale(msg)
    return True


def _set_aside(db: Session, wanted: Reservation, latest_end: datetime) -> None:
    now, amount = wanted.reserved_at, GpuMilliseconds(wanted.reserved_gpu_ms)
    lines = store.lines(db, wanted.project_id, site_id=wanted.site_id, gpu_class=wanted.gpu_class)
    holds = rules.choose(lines, amount=amount, gpus=wanted.gpus, now=now, latest_end=latest_end)
    # In a savepoint, so that a caller may hear the refusal and go on with other work.
    with db.begin_nested():
        db.add(wanted)
        db.flush()
        store.post(db, [_reserve(wanted, hold.line.key, hold.amount) for hold in holds], at=now, actor=HUB)


def _reserve(
    reservation: Reservation, line: rules.AccountKey, amount: GpuMilliseconds, *, after: Sequence[store.Pending] = ()
) -> rules.Entry:
    period = _period(line)
    return rules.Entry(
        id=rules.entry_id("reserve", reservation.attempt_id, period, sum(each.period == period for each in after)),
        kind=rules.EntryKind.RESERVE,
        debit=line,
        credit=rules.AccountKey(rules.AccountKind.CONSUMED, line.site_id, line.gpu_class, period),
        amount=amount,
        period=period,
        attempt_id=reservation.attempt_id,
    )


def _resolve(pending: store.Pending, kind: rules.EntryKind, attempt_id: UUID) -> rules.Entry:
    line = pending.line
    return rules.Entry(
        id=rules.entry_id("resolution", pending.id),
        kind=kind,
        debit=line,
        credit=rules.AccountKey(rules.AccountKind.CONSUMED, line.site_id, line.gpu_class, pending.period),
        amount=pending.amount,
        period=pending.period,
        attempt_id=attempt_id,
        pending_id=pending.id,
    )


def _period(key: rules.AccountKey) -> Period:
    if key.period is None:
        msg = f"{key.name} has no period"
        raise ValueError(msg)
    return key.period


def started(db: Session, *, attempt_id: UUID, started_at: datetime, now: datetime) -> None:
    """Spread what is set aside anew over the periods in which the attempt is now known to run."""
    reservation = _locked(db, attempt_id)
    pendings = store.pendings(db, attempt_id)
    lines = {each.period: each.line for each in pendings}
    if reservation.is_over or len(lines) == 1:
        return
    current = dict.fromkeys(lines, ZERO) | {each.period: each.amount for each in pendings if each.is_open}
    room = {period: store.left(db, line) for period, line in lines.items()}
    wished = rules.resplit(current, started_at=started_at, gpus=reservation.gpus, room=room)
    changed = {period for period in lines if wished[period] != current[period]}
    back = [each for each in pendings if each.is_open and each.period in changed]
    entries = [_resolve(each, rules.EntryKind.RELEASE, attempt_id) for each in back]
    entries += [
        _reserve(reservation, lines[period], wished[period], after=pendings)
        for period in sorted(changed)
        if wished[period]
    ]
    store.post(db, entries, at=now, actor=HUB)


def _locked(db: Session, attempt_id: UUID) -> Reservation:
    site_id = store.site_of(db, attempt_id)
    if site_id is None:
        msg = f"Nothing was set aside for attempt {attempt_id}."
        raise NotFound(msg)
    store.lock_site(db, site_id)
    reservation = store.reservation(db, attempt_id)
    if reservation is None:
        msg = f"Nothing was set aside for attempt {attempt_id}."
        raise NotFound(msg)
    return reservation


def book(
    db: Session,
    *,
    attempt_id: UUID,
    usage: Sequence[rules.Usage],
    is_over: bool,
    is_site_fault: bool,
    now: datetime,
) -> rules.Booked:
    """Note what the site reports of an attempt's launches, and, once it is over, charge it; what stands for it then.

    The same latest revisions give the same balances, in whatever order and however often they come; an attempt that is
    over stays over, and a fault of the site stays one. Every correction is a new entry.

    Raises:
        NotFound: nothing was set aside for this attempt.
        Refused: a record cannot be true, or belongs to another attempt.
    """
    for each in usage:
        rules.plausible(each)
    reservation = _locked(db, attempt_id)
    owner = store.Owner(reservation.site_id, reservation.project_id, reservation.gpu_class, attempt_id)
    is_news = store.record(db, owner, usage, at=now)
    is_end = is_over and not reservation.is_over
    is_fault = is_site_fault and not reservation.is_site_fault
    if is_end:
        reservation.is_over, reservation.over_at = True, now
    reservation.is_site_fault |= is_fault
    if is_news or is_end or is_fault:
        _charge(db, reservation, now)
    return store.booked(db, [attempt_id])[attempt_id]


def release(db: Session, *, attempt_id: UUID, now: datetime) -> None:
    """Give back what is set aside for an attempt under which nothing ran; asked again, nothing more happens.

    Raises:
        NotFound: nothing was set aside for this attempt.
    """
    book(db, attempt_id=attempt_id, usage=(), is_over=True, is_site_fault=False, now=now)


def _charge(db: Session, reservation: Reservation, now: datetime) -> None:
    db.flush()
    attempt_id, site_id = reservation.attempt_id, reservation.site_id
    launches = store.launches(db, site_id, attempt_id)
    pendings = store.pendings(db, attempt_id)
    posted = store.posted(db, site_id, attempt_id=attempt_id, keys=[each.key for each in launches])
    closed = store.closed_periods(db)
    lines = {each.period: each.line for each in pendings}
    wished: tuple[rules.Part, ...] = ()
    entries: list[rules.Entry] = []
    if reservation.is_over:
        wished = rules.targets(
            launches,
            reserved=GpuMilliseconds(reservation.reserved_gpu_ms),
            room=_room(db, pendings, posted, closed=closed),
            is_site_fault=reservation.is_site_fault,
        )
        kind = rules.EntryKind.RELEASE if wished else rules.EntryKind.VOID
        entries = [_resolve(each, kind, attempt_id) for each in pendings if each.is_open]
    payer = rules.Payer(reservation.project_id, site_id, reservation.gpu_class, attempt_id=attempt_id, lines=lines)
    entries += rules.lead_to(wished, posted, payer=payer, closed=closed)
    store.post(db, entries, at=now, actor=HUB)


def _room(
    db: Session,
    pendings: Sequence[store.Pending],
    posted: Sequence[rules.Posted],
    *,
    closed: Collection[Period],
) -> dict[Period, GpuMilliseconds]:
    """What the lines can bear for this attempt: what is free, set aside for it, or charged for it before.

    A period that is closed bears what it bore, and no more.
    """
    room: dict[Period, GpuMilliseconds] = {}
    for line in {each.line for each in pendings}:
        period = _period(line)
        room[period] = ZERO if period in closed else store.left(db, line)
    for pending in pendings:
        if pending.is_open:
            room[pending.period] += pending.amount
    for row in posted:
        if not row.is_reversed and row.part.kind is rules.EntryKind.SETTLE:
            room[row.part.period] += row.part.amount
    return room


def book_unattributed(
    db: Session, *, site_id: str, project_id: str, gpu_class: str, usage: Sequence[rules.Usage], now: datetime
) -> None:
    """Book what ran under a hub account without being ordered by the hub; the latest revision counts.

    Raises:
        Refused: a record cannot be true, or belongs to an attempt.
    """
    for each in usage:
        rules.plausible(each)
    store.lock_site(db, site_id)
    keys = {each.key for each in usage}
    if not store.record(db, store.Owner(site_id, project_id, gpu_class), usage, at=now):
        return
    posted = store.posted(db, site_id, attempt_id=None, keys=keys)
    closed = store.closed_periods(db)
    for row in store.latest_versions(db, site_id, keys).values():
        if row.attempt_id is None:
            wished = rules.targets([store.usage(row)], reserved=ZERO, room={}, is_site_fault=False)
            payer = rules.Payer(row.project_id, site_id, row.gpu_class)
            before = [each for each in posted if each.part.key == row.key]
            store.post(db, rules.lead_to(wished, before, payer=payer, closed=closed), at=now, actor=HUB)


def reserved(db: Session, attempt_ids: Collection[UUID]) -> Mapping[UUID, GpuMilliseconds]:
    """What was set aside for each attempt that has a reservation."""
    return store.reserved(db, attempt_ids)


def settled(db: Session, attempt_ids: Collection[UUID]) -> Mapping[UUID, GpuMilliseconds]:
    """What is booked for each attempt's own launches, whoever bears it: line, overrun or site."""
    return {attempt_id: found.own for attempt_id, found in store.booked(db, attempt_ids).items()}


def bookings(db: Session, attempt_ids: Collection[UUID]) -> Mapping[UUID, rules.Booked]:
    """What is booked for each attempt, by who bears it."""
    return store.booked(db, attempt_ids)
