"""Where do sites' rows come from and go to?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cesai.db.paging import PageRequest, Slice, page_of
from cesai.sites.tables import GpuClass, HubWatch, Pledge, Pool, PoolClass, Site, SiteContact, SiteOrders


def gpu_classes(db: Session) -> Sequence[GpuClass]:
    """All GPU classes by name."""
    return db.scalars(select(GpuClass).order_by(GpuClass.id)).all()


def gpu_classes_page(db: Session, page: PageRequest) -> Slice[GpuClass]:
    """One page of the GPU classes."""
    return page_of(db, select(GpuClass), key=GpuClass.id, page=page)


def gpu_class(db: Session, class_id: str) -> GpuClass | None:
    """One GPU class."""
    return db.get(GpuClass, class_id)


def sites(db: Session) -> Sequence[tuple[Site, SiteContact | None]]:
    """All sites and what was heard of them, by name."""
    query = select(Site, SiteContact).outerjoin(SiteContact).order_by(Site.id)
    rows = db.execute(query.execution_options(populate_existing=True))
    return [(row[0], row[1]) for row in rows]


def sites_page(db: Session, page: PageRequest) -> Slice[tuple[Site, SiteContact | None]]:
    """One page of the sites and what was heard of them."""
    return page_of(db, select(Site, SiteContact).outerjoin(SiteContact), key=Site.id, page=page)


def site(db: Session, site_id: str) -> tuple[Site, SiteContact | None] | None:
    """One site and what was heard of it, read anew."""
    query = select(Site, SiteContact).outerjoin(SiteContact).where(Site.id == site_id)
    row = db.execute(query.execution_options(populate_existing=True)).one_or_none()
    return (row[0], row[1]) if row else None


def lock_site(db: Session, site_id: str) -> bool:
    """Lock the site's row until the transaction ends; False: there is none."""
    # FOR NO KEY UPDATE: rows that refer to the site may still be added by others.
    return db.scalar(select(Site.id).where(Site.id == site_id).with_for_update(key_share=True)) is not None


def set_draining(db: Session, site_id: str, *, is_draining: bool) -> None:
    """Note whether the site takes new work."""
    db.execute(update(Site).where(Site.id == site_id).values(is_draining=is_draining))


def put_contact(db: Session, values: dict[str, Any]) -> None:
    """Note what was heard; columns that are not named keep what they hold."""
    changed = {name: value for name, value in values.items() if name != "site_id"}
    db.execute(insert(SiteContact).values(values).on_conflict_do_update(index_elements=["site_id"], set_=changed))


def contact(db: Session, site_id: str) -> SiteContact | None:
    """What was last heard, read anew."""
    return db.get(SiteContact, site_id, populate_existing=True)


def pools(db: Session, site_id: str | None = None) -> Sequence[tuple[Pool, str | None]]:
    """Pools with their confirmed class; of one site or of all."""
    confirmed = (
        (PoolClass.site_id == Pool.site_id)
        & (PoolClass.cluster == Pool.cluster)
        & (PoolClass.partition == Pool.partition)
        & PoolClass.gres_type.is_not_distinct_from(Pool.gres_type)
    )
    query = (
        select(Pool, PoolClass.gpu_class)
        .outerjoin(PoolClass, confirmed)
        .order_by(Pool.site_id, Pool.cluster, Pool.partition, Pool.gres_type)
    )
    if site_id is not None:
        query = query.where(Pool.site_id == site_id)
    return [(row[0], row[1]) for row in db.execute(query)]


def forget_mapping(db: Session, site_id: str) -> None:
    """Take every confirmed class of this site away."""
    db.execute(delete(PoolClass).where(PoolClass.site_id == site_id))


def revision(db: Session, site_id: str) -> int:
    """The site's order counter."""
    return db.scalar(select(SiteOrders.revision).where(SiteOrders.site_id == site_id)) or 0


def bump_revision(db: Session, site_id: str) -> int:
    """Raise the site's order counter; its row stays locked until the transaction ends."""
    raised = (
        insert(SiteOrders)
        .values(site_id=site_id, revision=1)
        .on_conflict_do_update(index_elements=["site_id"], set_={"revision": SiteOrders.revision + 1})
        .returning(SiteOrders.revision)
    )
    return db.execute(raised).scalar_one()


def hub_watch(db: Session) -> HubWatch | None:
    """The hub's own watch, read anew."""
    return db.get(HubWatch, 1, populate_existing=True)


def pledged_ms(db: Session, site_id: str, *, gpu_class: str, period: str) -> int:
    """What the site has pledged so far."""
    asked = select(func.coalesce(func.sum(Pledge.gpu_ms), 0)).where(
        Pledge.site_id == site_id, Pledge.gpu_class == gpu_class, Pledge.period == period
    )
    return int(db.execute(asked).scalar_one())


def pledges(db: Session, site_id: str) -> Sequence[Pledge]:
    """The site's pledges, oldest first."""
    return db.scalars(select(Pledge).where(Pledge.site_id == site_id).order_by(Pledge.pledged_at, Pledge.id)).all()
