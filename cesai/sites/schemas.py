"""What do people and agents send and get about sites?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cesai.kernel.ids import SLUG
from cesai.sites import service
from cesai.sites.service import GpuClass, Inventory, Mapped, NewSite, Pool, Site

SiteId = Annotated[str, StringConstraints(pattern=f"^{SLUG.pattern}$")]
GpuClassId = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9-]{1,15}$")]
# One line that a terminal and a table can show: no control characters, no line separators.
Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]+$")
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class In(BaseModel):
    """Input: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """Output: every field is told."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class GpuClassIn(In):
    """A kind of GPU to take into the catalogue."""

    id: GpuClassId
    name: Title
    memory_gb: Annotated[int, Field(ge=1, le=10_000)]

    def to_rule(self) -> GpuClass:
        """As the rules know it."""
        return GpuClass(id=self.id, name=self.name, memory_gb=self.memory_gb)


class GpuClassOut(Out):
    """A kind of GPU."""

    id: str
    name: str
    memory_gb: int

    @classmethod
    def of(cls, gpu_class: GpuClass) -> Self:
        """As the rules know it."""
        return cls.model_validate(gpu_class)


class SiteIn(In):
    """A site to take in."""

    id: SiteId
    name: Title
    kind: Literal["slurm", "ray"]
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = Field(description="Two letters, like DE.")
    patience_minutes: Annotated[int, Field(ge=1, le=44_640)] = Field(
        default=1440, description="How long a job may wait in the site's queue before it is placed anew."
    )
    margin_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        default=2,
        description="What the scheduler may add to a wall time; it is reserved, and only used time is booked.",
    )
    availability_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        default=95, description="The share of a period for which GPUs that are up now can be promised."
    )

    def to_rule(self) -> NewSite:
        """As the rules know it."""
        return NewSite(**self.model_dump())


class ContactOut(Out):
    """How well a site is heard, and what it said of itself."""

    state: Literal["never", "ok", "suspect", "lost"]
    last_heard_at: datetime | None
    agent_version: str | None
    is_reachable: bool
    trouble: str | None
    clock_skew_s: float | None
    backend: str | None
    dialect: str | None
    scheduler_version: str | None
    inventory_taken_at: datetime | None
    inventory_age_s: float | None


class SiteOut(Out):
    """A site."""

    id: str
    name: str
    kind: str
    country: str
    patience_minutes: int
    margin_minutes: int
    availability_percent: int
    is_draining: bool
    closed: str | None
    contact: ContactOut
    gpus: dict[str, int]

    @classmethod
    def of(cls, site: Site, pools: Sequence[Pool], *, now: datetime) -> Self:
        """As the rules know it, with the GPUs of its own pools."""
        own = [pool for pool in pools if pool.site_id == site.id]
        return cls(
            id=site.id,
            name=site.name,
            kind=site.kind,
            country=site.country,
            patience_minutes=site.patience_minutes,
            margin_minutes=site.margin_minutes,
            availability_percent=site.availability_percent,
            is_draining=site.is_draining,
            closed=service.closed_because(site, now),
            contact=_contact(site, now),
            gpus=dict(service.gpus_by_class(own)),
        )


def _contact(site: Site, now: datetime) -> ContactOut:
    contact = site.contact
    taken_at = contact.inventory_taken_at
    return ContactOut(
        state=contact.state(now).value,
        last_heard_at=contact.last_heard_at,
        agent_version=contact.agent_version,
        is_reachable=contact.is_reachable,
        trouble=contact.trouble,
        clock_skew_s=contact.clock_skew_s,
        backend=contact.backend,
        dialect=contact.dialect,
        scheduler_version=contact.scheduler_version,
        inventory_taken_at=taken_at,
        inventory_age_s=(now - taken_at).total_seconds() if taken_at else None,
    )


class EnrolmentOut(Out):
    """A one-time token for a site's agent; it is shown once."""

    token: str
    expires_at: datetime


class PoolOut(Out):
    """GPUs of one kind in one partition, with the class that they seem to be and the one that they are."""

    cluster: str
    partition: str
    gres_type: str | None
    features: list[str]
    nodes: int
    nodes_up: int
    gpus_per_node: int
    gpus: int
    gpus_up: int
    gpus_free: int
    max_walltime_minutes: int | None
    is_exclusive: bool
    proposed_class: str | None
    confirmed_class: str | None

    @classmethod
    def of(cls, pool: Pool) -> Self:
        """As the rules know it."""
        return cls(
            cluster=pool.cluster,
            partition=pool.partition,
            gres_type=pool.gres_type,
            features=list(pool.features),
            nodes=pool.nodes,
            nodes_up=pool.nodes_up,
            gpus_per_node=pool.gpus_per_node,
            gpus=pool.gpus,
            gpus_up=pool.gpus_up,
            gpus_free=pool.gpus_free,
            max_walltime_minutes=pool.max_walltime_minutes,
            is_exclusive=pool.is_exclusive,
            proposed_class=pool.proposed_class,
            confirmed_class=pool.gpu_class,
        )


class InventoryOut(Out):
    """What a site has, as last told and believed."""

    taken_at: datetime | None
    trouble: str | None
    pools: list[PoolOut]

    @classmethod
    def of(cls, inventory: Inventory) -> Self:
        """As the rules know it."""
        pools = [PoolOut.of(pool) for pool in inventory.pools]
        return cls(taken_at=inventory.taken_at, trouble=inventory.trouble, pools=pools)


class MappedIn(In):
    """The class of one pool."""

    cluster: Name
    partition: Name
    gres_type: Name | None = None
    gpu_class: GpuClassId

    def to_rule(self) -> Mapped:
        """As the rules know it."""
        return Mapped(
            cluster=self.cluster, partition=self.partition, gres_type=self.gres_type, gpu_class=self.gpu_class
        )


class MappingIn(In):
    """The classes of all pools; one that is not named has none from now on."""

    entries: Annotated[list[MappedIn], Field(max_length=1000)]


class DrainingIn(In):
    """Whether the site takes no new jobs."""

    is_draining: bool


class ResetOut(Out):
    """Whose agent may be a new instance now."""

    site_id: str
