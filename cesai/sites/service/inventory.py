"""What did a site's agent say, is it believed, and which GPU classes does it mean?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import Caller
from cesai.contract.messages import CapacitySnapshot, PoolReport, SyncRequest
from cesai.kernel.errors import Refused
from cesai.kernel.ids import new_id
from cesai.sites import rules, store, tables
from cesai.sites.rules import Pool, Queued, Running, Watch
from cesai.sites.service.registry import check_gpu_class, lock, site

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Mapped:
    """One pool's class as the site's admin confirms it."""

    cluster: str
    partition: str
    gres_type: str | None
    gpu_class: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything last told and believed, and why the latest was not."""

    taken_at: datetime | None
    pools: tuple[Pool, ...]
    trouble: str | None


def record_contact(db: Session, site_id: str, *, request: SyncRequest, now: datetime) -> None:
    """Note that the site was heard, and take in its inventory when it brings one that can be true.

    Instants of the site's clock are moved onto the hub's by what the two show in this very request.
    """
    skew = request.clock - now
    values: dict[str, Any] = {
        "site_id": site_id,
        "last_heard_at": now,
        "agent_version": _clean(request.agent_version),
        "site_epoch": _clean(request.site_epoch),
        "is_reachable": request.is_reachable,
        "agent_trouble": _clean(request.trouble) if request.trouble else None,
        "clock_skew_ms": skew // MILLISECOND,
    }
    if request.capacity is not None:
        values |= _inventory_values(request.capacity, skew)
        if values.get("snapshot") is not None:
            _put_pools(db, site_id, request.capacity.pools, taken_at=request.capacity.taken_at - skew)
    store.put_contact(db, values)


def look(db: Session, *, now: datetime) -> Watch:
    """Look at when each site was last heard, and whether the hub may trust its own hearing; several times a minute."""
    row = store.hub_watch(db)
    before = Watch(looked_at=row.looked_at, clocks_since=row.clocks_since, doubt=row.doubt) if row else None
    heard = [contact.last_heard_at for _, contact in store.sites(db) if contact is not None]
    after = rules.watch(before, heard, now)
    db.merge(tables.HubWatch(id=1, looked_at=now, clocks_since=after.clocks_since, doubt=after.doubt))
    return after


def pools(db: Session, site_id: str | None = None) -> tuple[Pool, ...]:
    """Pools of one site or of all, with the class that was confirmed and the one that is proposed."""
    classes = [row.id for row in store.gpu_classes(db)]
    return tuple(_pool(row, gpu_class, classes) for row, gpu_class in store.pools(db, site_id))


def running_and_queued(db: Session, site_id: str) -> tuple[tuple[Running, ...], tuple[Queued, ...]]:
    """What ran and waited at the site when it last told, in the site's own order; by the hub's clock."""
    contact = store.contact(db, site_id)
    if contact is None or contact.snapshot is None:
        return (), ()
    told = CapacitySnapshot.model_validate(contact.snapshot)
    skew = timedelta(milliseconds=contact.snapshot_skew_ms or 0)
    running = tuple(Running(work.partition, work.gpus, work.ends_by - skew, work.marker) for work in told.running)
    queued = tuple(Queued(work.partition, work.gpus, work.walltime_minutes, work.marker) for work in told.queued)
    return running, queued


def inventory(db: Session, site_id: str) -> Inventory:
    """What the site has, for its admin."""
    site(db, site_id)
    contact = store.contact(db, site_id)
    return Inventory(
        taken_at=contact.snapshot_taken_at if contact else None,
        pools=pools(db, site_id),
        trouble=contact.inventory_trouble if contact else None,
    )


def gpus_by_class(pools: Sequence[Pool]) -> Mapping[str, int]:
    """All GPUs, up or not, of each confirmed class."""
    counts: dict[str, int] = {}
    for pool in pools:
        if pool.gpu_class is not None:
            counts[pool.gpu_class] = counts.get(pool.gpu_class, 0) + pool.gpus
    return counts


def confirm_mapping(
    db: Session, site_id: str, entries: Sequence[Mapped], *, by: Caller, now: datetime
) -> tuple[Pool, ...]:
    """Say which class each pool is; pools that are not named have none from now on.

    Raises:
        Refused: a pool or a class is not known, or a pool is named twice.
    """
    lock(db, site_id)
    known = {(pool.cluster, pool.partition, pool.gres_type) for pool in pools(db, site_id)}
    keys = [(entry.cluster, entry.partition, entry.gres_type) for entry in entries]
    for entry, key in zip(entries, keys, strict=True):
        if key not in known or keys.count(key) > 1:
            fault = "is named twice" if key in known else "is not in the site's inventory"
            msg = f"The pool {entry.cluster}/{entry.partition}/{entry.gres_type or 'gpu'} {fault}."
            raise Refused(msg)
        check_gpu_class(db, entry.gpu_class)
    store.forget_mapping(db, site_id)
    db.add_all(_mapping_row(site_id, entry, by=by, now=now) for entry in entries)
    db.flush()
    details = {
        "/".join((key[0], key[1], key[2] or "")): entry.gpu_class for key, entry in zip(keys, entries, strict=True)
    }
    access.audit(db, actor=by, action="site.mapping", subject=site_id, details=details, now=now)
    return pools(db, site_id)


def _inventory_values(told: CapacitySnapshot, skew: timedelta) -> dict[str, Any]:
    """What a snapshot changes of the contact: all of it when it is believed, else only why it is not."""
    counts = [_count(pool) for pool in told.pools]
    whole = json.loads(_clean_json(told.model_dump_json()))
    if fault := rules.contradiction(counts):
        return {
            "inventory_trouble": f"The inventory contradicts itself and was set aside. {fault}",
            "quarantined": whole,
        }
    return {
        "inventory_trouble": None,
        "quarantined": None,
        "backend": _clean(told.backend),
        "dialect": _clean(told.dialect) if told.dialect else None,
        "scheduler_version": _clean(told.scheduler_version),
        "snapshot": whole,
        "snapshot_taken_at": told.taken_at - skew,
        "snapshot_skew_ms": skew // MILLISECOND,
    }


def _put_pools(db: Session, site_id: str, told: Sequence[PoolReport], *, taken_at: datetime) -> None:
    had = {(row.cluster, row.partition, row.gres_type): row for row, _ in store.pools(db, site_id)}
    for report in told:
        row = had.pop((report.cluster, report.partition, report.gres_type), None)
        if row is None:
            row = tables.Pool(id=new_id(), site_id=site_id)
            db.add(row)
        for name, value in report.model_dump().items():
            setattr(row, name, value)
        row.features = [_clean(feature) for feature in report.features]
        row.taken_at = taken_at
    for gone in had.values():
        db.delete(gone)
    db.flush()


def _count(report: PoolReport) -> rules.PoolCount:
    return rules.PoolCount(
        cluster=report.cluster,
        partition=report.partition,
        gres_type=report.gres_type,
        features=report.features,
        nodes=report.nodes,
        nodes_up=report.nodes_up,
        gpus_per_node=report.gpus_per_node,
        gpus=report.gpus,
        gpus_up=report.gpus_up,
        gpus_free=report.gpus_free,
    )


def _clean(text: str) -> str:
    # PostgreSQL keeps no NUL, and one in a version string must not make the site unheard for ever.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _clean_json(text: str) -> str:
    return text.replace("\\u0000", "\\ufffd")


def _pool(row: tables.Pool, gpu_class: str | None, classes: Sequence[str]) -> Pool:
    return Pool(
        site_id=row.site_id,
        cluster=row.cluster,
        partition=row.partition,
        gres_type=row.gres_type,
        features=tuple(row.features),
        gpu_class=gpu_class,
        proposed_class=rules.proposal(row.gres_type, row.features, classes),
        nodes=row.nodes,
        nodes_up=row.nodes_up,
        gpus_per_node=row.gpus_per_node,
        gpus=row.gpus,
        gpus_up=row.gpus_up,
        gpus_free=row.gpus_free,
        max_walltime_minutes=row.max_walltime_minutes,
        is_exclusive=row.is_exclusive,
        taken_at=row.taken_at,
    )


def _mapping_row(site_id: str, entry: Mapped, *, by: Caller, now: datetime) -> tables.PoolClass:
    return tables.PoolClass(
        id=new_id(),
        site_id=site_id,
        cluster=entry.cluster,
        partition=entry.partition,
        gres_type=entry.gres_type,
        gpu_class=entry.gpu_class,
        confirmed_by=by.username,
        confirmed_at=now,
    )
