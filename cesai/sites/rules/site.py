"""What does the hub know of a site?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cesai.sites.rules.contact import ContactState, contact_state


@dataclass(frozen=True, slots=True)
class GpuClass:
    """A kind of GPU in the hub's own words, the same at all sites."""

    id: str
    name: str
    memory_gb: int


@dataclass(frozen=True, slots=True)
class Contact:
    """What was last heard from a site's agent, and when by the hub's clock."""

    last_heard_at: datetime | None = None
    agent_version: str | None = None
    site_epoch: str | None = None
    is_reachable: bool = False  # whether the scheduler answered the agent
    trouble: str | None = None
    clock_skew_s: float | None = None  # the site's clock minus the hub's
    backend: str | None = None
    dialect: str | None = None
    scheduler_version: str | None = None
    inventory_taken_at: datetime | None = None
    clocks_since: datetime | None = None  # before this the hub does not trust its own hearing

    def state(self, now: datetime) -> ContactState:
        """How well the site is heard."""
        return contact_state(self.last_heard_at, self.clocks_since, now)


@dataclass(frozen=True, slots=True)
class Site:
    """A site as registered, and what was heard of it."""

    id: str
    name: str
    kind: str  # slurm, ray
    country: str
    patience_minutes: int
    margin_minutes: int
    availability_percent: int
    is_draining: bool
    contact: Contact


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of one kind in one partition, as last told."""

    site_id: str
    cluster: str
    partition: str
    gres_type: str | None
    features: tuple[str, ...]
    gpu_class: str | None  # as the site's admin confirmed it
    proposed_class: str | None
    nodes: int
    nodes_up: int
    gpus_per_node: int
    gpus: int
    gpus_up: int
    gpus_free: int
    max_walltime_minutes: int | None
    is_exclusive: bool
    taken_at: datetime  # by the hub's clock


@dataclass(frozen=True, slots=True)
class Running:
    """Something that holds GPUs of a partition until then at the latest (by the hub's clock)."""

    partition: str
    gpus: int
    ends_by: datetime
    marker: str | None


@dataclass(frozen=True, slots=True)
class Queued:
    """Something that waits, in the site's own order."""

    partition: str
    gpus: int
    walltime_minutes: int
    marker: str | None


def closed_because(site: Site, now: datetime) -> str | None:
    """Why the site gets no new work now, as the end of a sentence about it; None: it may get some."""
    if site.is_draining:
        return "is draining: it takes no new jobs"
    state = site.contact.state(now)
    if state is ContactState.NEVER:
        return "has not enrolled an agent that was heard yet"
    if state is not ContactState.OK and site.contact.last_heard_at is not None:
        silence = (now - site.contact.last_heard_at).total_seconds() / 60
        return f"has been silent for {silence:.0f} minutes"
    if site.contact.inventory_taken_at is None:
        return "has not told its inventory yet"
    if not site.contact.is_reachable:
        return "cannot reach its own scheduler"
    return None
