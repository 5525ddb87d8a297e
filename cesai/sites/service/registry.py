"""Which GPU classes and sites are there, and what did their operators say about them?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches

from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import ENROLMENT_LASTS, Caller
from cesai.db.paging import PageRequest, Slice
from cesai.kernel.errors import NotFound, Refused
from cesai.sites import rules, store, tables
from cesai.sites.rules import Contact, ContactState, GpuClass, Site


@dataclass(frozen=True, slots=True)
class NewSite:
    """What an operator says about a site when registering it."""

    id: str
    name: str
    kind: str
    country: str
    patience_minutes: int = 1440
    margin_minutes: int = 2
    availability_percent: int = 95


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A one-time token, as it is shown once."""

    token: str
    expires_at: datetime


def add_gpu_class(db: Session, new: GpuClass, *, by: Caller, now: datetime) -> GpuClass:
    """Take a kind of GPU into the catalogue.

    Raises:
        Refused: it is there already.
    """
    if store.gpu_class(db, new.id):
        msg = f"There is a GPU class {new.id} already."
        raise Refused(msg)
    db.add(tables.GpuClass(id=new.id, name=new.name, memory_gb=new.memory_gb, created_at=now))
    db.flush()
    details = {"name": new.name, "memory_gb": new.memory_gb}
    access.audit(db, actor=by, action="gpu-class.add", subject=new.id, details=details, now=now)
    return new


def gpu_classes(db: Session) -> tuple[GpuClass, ...]:
    """The catalogue."""
    return tuple(_gpu_class(row) for row in store.gpu_classes(db))


def gpu_classes_page(db: Session, page: PageRequest) -> Slice[GpuClass]:
    """One page of the catalogue."""
    rows = store.gpu_classes_page(db, page)
    return Slice(items=tuple(_gpu_class(row) for row in rows.items), next_cursor=rows.next_cursor)


def check_gpu_class(db: Session, class_id: str) -> None:
    """Nothing, when the catalogue has this class.

    Raises:
        Refused: it has not; the sentence names the nearest that there are.
    """
    known = [row.id for row in store.gpu_classes(db)]
    if class_id in known:
        return
    near = get_close_matches(class_id.upper(), known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(known) or 'none yet'}."
    msg = f"There is no GPU class {class_id!r}. {hint}"
    raise Refused(msg)


def register(db: Session, new: NewSite, *, by: Caller, now: datetime) -> Site:
    """Take a site in; its agent is enrolled next.

    Raises:
        Refused: its id is taken.
    """
    if store.site(db, new.id):
        msg = f"There is a site {new.id} already."
        raise Refused(msg)
    row = tables.Site(
        id=new.id,
        name=new.name,
        kind=new.kind,
        country=new.country,
        patience_minutes=new.patience_minutes,
        margin_minutes=new.margin_minutes,
        availability_percent=new.availability_percent,
        is_draining=False,
        created_at=now,
    )
    db.add(row)
    db.flush()
    db.add(tables.SiteOrders(site_id=new.id, revision=0))
    access.audit(db, actor=by, action="site.register", subject=new.id, details={"name": new.name}, now=now)
    return _site(row, None, None)


def site(db: Session, site_id: str) -> Site:
    """One site.

    Raises:
        NotFound: there is none of this id.
    """
    found = store.site(db, site_id)
    if found is None:
        raise NotFound
    return _site(*found, store.hub_watch(db))


def sites(db: Session) -> tuple[Site, ...]:
    """All sites, by id."""
    watch = store.hub_watch(db)
    return tuple(_site(row, contact, watch) for row, contact in store.sites(db))


def sites_page(db: Session, page: PageRequest) -> Slice[Site]:
    """One page of all sites, by id."""
    watch = store.hub_watch(db)
    rows = store.sites_page(db, page)
    return Slice(items=tuple(_site(row, contact, watch) for row, contact in rows.items), next_cursor=rows.next_cursor)


def lock(db: Session, site_id: str) -> None:
    """Let others who would pledge, map, accept or drain at this site wait for this transaction.

    Raises:
        NotFound: there is no site of this id.
    """
    if not store.lock_site(db, site_id):
        raise NotFound


def set_draining(db: Session, site_id: str, *, is_draining: bool, by: Caller, now: datetime) -> Site:
    """Let a site take no new jobs, or let it take them again; what runs there goes on."""
    lock(db, site_id)
    store.set_draining(db, site_id, is_draining=is_draining)
    details = {"is_draining": is_draining}
    access.audit(db, actor=by, action="site.draining", subject=site_id, details=details, now=now)
    return site(db, site_id)


def make_enrolment(db: Session, site_id: str, *, by: Caller, now: datetime) -> Enrolment:
    """A one-time token with which the site's agent enrols.

    Raises:
        NotFound: there is no site of this id.
    """
    site(db, site_id)
    token = access.make_enrolment(db, site_id, by=by, now=now)
    return Enrolment(token=token, expires_at=now + ENROLMENT_LASTS)


def reset_agent(db: Session, site_id: str, *, by: Caller, now: datetime) -> None:
    """Let the next instance of the site's agent that speaks be the only one.

    Raises:
        NotFound: there is no such site.
        Refused: no agent is enrolled there.
    """
    site(db, site_id)
    try:
        access.reset_agent(db, site_id, by=by, now=now)
    except NotFound as error:
        msg = f"{site_id} has no agent to reset: let the site's admin make an enrolment token."
        raise Refused(msg) from error


def contact_state(site: Site, now: datetime) -> ContactState:
    """How well the site is heard now."""
    return site.contact.state(now)


def closed_because(site: Site, now: datetime) -> str | None:
    """Why the site gets no new work now, to follow its name in a sentence; None: it may get some."""
    return rules.closed_because(site, now)


def order_revision(db: Session, site_id: str) -> int:
    """A number that has changed whenever what the site should hold may have."""
    return store.revision(db, site_id)


def bump_order_revision(db: Session, site_id: str) -> int:
    """Wake the site's agent once this transaction is committed.

    The counter's row stays locked till then: bump several sites in the order of their ids, late in the transaction.
    """
    return store.bump_revision(db, site_id)


def _gpu_class(row: tables.GpuClass) -> GpuClass:
    return GpuClass(id=row.id, name=row.name, memory_gb=row.memory_gb)


def _site(row: tables.Site, contact: tables.SiteContact | None, watch: tables.HubWatch | None) -> Site:
    return Site(
        id=row.id,
        name=row.name,
        kind=row.kind,
        country=row.country,
        patience_minutes=row.patience_minutes,
        margin_minutes=row.margin_minutes,
        availability_percent=row.availability_percent,
        is_draining=row.is_draining,
        contact=_contact(contact, watch) if contact else Contact(),
    )


def _contact(row: tables.SiteContact, watch: tables.HubWatch | None) -> Contact:
    clock = rules.clock_trouble(timedelta(milliseconds=row.clock_skew_ms))
    troubles = [text for text in (clock, row.inventory_trouble, row.agent_trouble) if text]
    return Contact(
        last_heard_at=row.last_heard_at,
        agent_version=row.agent_version,
        site_epoch=row.site_epoch,
        is_reachable=row.is_reachable,
        trouble=" ".join(troubles) or None,
        clock_skew_s=row.clock_skew_ms / 1000,
        backend=row.backend,
        dialect=row.dialect,
        scheduler_version=row.scheduler_version,
        inventory_taken_at=row.snapshot_taken_at,
        clocks_since=watch.clocks_since if watch else None,
    )
