"""How are sites, what was heard of them, and what they promised kept?"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cesai.db.base import Table


class GpuClass(Table):
    """A kind of GPU in the hub's own words."""

    __tablename__ = "gpu_class"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    memory_gb: Mapped[int]
    created_at: Mapped[datetime]


class Site(Table):
    """A site as its operator registered it."""

    __tablename__ = "site"
    __table_args__ = (
        CheckConstraint("kind IN ('slurm', 'ray')", name="kind_is_known"),
        CheckConstraint("patience_minutes > 0 AND margin_minutes > 0", name="minutes_are_positive"),
        CheckConstraint("availability_percent BETWEEN 1 AND 100", name="availability_is_a_share"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    country: Mapped[str]
    patience_minutes: Mapped[int]
    margin_minutes: Mapped[int]
    availability_percent: Mapped[int]
    is_draining: Mapped[bool]
    created_at: Mapped[datetime]


class SiteContact(Table):
    """What was last heard from a site's agent; a row of its own, because every sync writes it."""

    __tablename__ = "site_contact"

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), primary_key=True)
    last_heard_at: Mapped[datetime]
    agent_version: Mapped[str]
    site_epoch: Mapped[str]
    is_reachable: Mapped[bool]
    agent_trouble: Mapped[str | None]
    inventory_trouble: Mapped[str | None]  # why the latest snapshot was not believed
    clock_skew_ms: Mapped[int]
    backend: Mapped[str | None]
    dialect: Mapped[str | None]
    scheduler_version: Mapped[str | None]
    snapshot: Mapped[dict[str, Any] | None]  # the latest one that was believed, whole
    snapshot_taken_at: Mapped[datetime | None]  # by the hub's clock
    snapshot_skew_ms: Mapped[int | None]  # of the sync that brought it
    quarantined: Mapped[dict[str, Any] | None]  # the one that contradicts itself


class SiteOrders(Table):
    """A counter that grows whenever what a site should hold may have changed."""

    __tablename__ = "site_orders"

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), primary_key=True)
    revision: Mapped[int]


class HubWatch(Table):
    """The one clock from which silence is counted, and whether the hub trusts its hearing; a single row."""

    __tablename__ = "hub_watch"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    looked_at: Mapped[datetime]
    clocks_since: Mapped[datetime]
    doubt: Mapped[str | None]


class Pool(Table):
    """GPUs of one kind in one partition, as last told and believed."""

    __tablename__ = "pool"
    __table_args__ = (
        UniqueConstraint("site_id", "cluster", "partition", "gres_type", postgresql_nulls_not_distinct=True),
        CheckConstraint("gpus_free <= gpus_up AND gpus_up <= gpus", name="counts_agree"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    cluster: Mapped[str]
    partition: Mapped[str]
    gres_type: Mapped[str | None]
    features: Mapped[list[Any]]
    nodes: Mapped[int]
    nodes_up: Mapped[int]
    gpus_per_node: Mapped[int]
    gpus: Mapped[int]
    gpus_up: Mapped[int]
    gpus_free: Mapped[int]
    max_walltime_minutes: Mapped[int | None]
    is_exclusive: Mapped[bool]
    taken_at: Mapped[datetime]


class PoolClass(Table):
    """Which GPU class a pool is, as the site's admin confirmed; outlives the pool's absence from a snapshot."""

    __tablename__ = "pool_class"
    __table_args__ = (
        UniqueConstraint("site_id", "cluster", "partition", "gres_type", postgresql_nulls_not_distinct=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    cluster: Mapped[str]
    partition: Mapped[str]
    gres_type: Mapped[str | None]
    gpu_class: Mapped[str] = mapped_column(ForeignKey("gpu_class.id"))
    confirmed_by: Mapped[str]
    confirmed_at: Mapped[datetime]


class Pledge(Table):
    """What a site promised for a period; rows are only added."""

    __tablename__ = "pledge"
    __table_args__ = (
        CheckConstraint("gpu_ms > 0", name="amount_is_positive"),
        Index(None, "site_id", "gpu_class", "period"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    gpu_class: Mapped[str] = mapped_column(ForeignKey("gpu_class.id"))
    period: Mapped[str]
    gpu_ms: Mapped[int]
    pledged_by: Mapped[str]
    pledged_at: Mapped[datetime]
