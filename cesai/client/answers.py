"""What does the hub answer, in types? Fields of a newer hub are kept, not dropped, so that --json shows them whole."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Frozen once read."""

    # Built when first used: forty models at every start of the command line would be felt.
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class MembershipShort(Answer):
    """One thing that somebody is."""

    role: str
    scope: str | None = None


class Me(Answer):
    """Who is signed in."""

    username: str
    name: str | None = None
    memberships: tuple[MembershipShort, ...] = ()


class Membership(Answer):
    """One thing that somebody is, with its id."""

    id: str
    username: str
    role: str
    scope: str | None = None


class Health(Answer):
    """How the hub is."""

    status: str
    version: str | None = None


class GpuClass(Answer):
    """A kind of GPU."""

    id: str
    name: str | None = None
    memory_gb: int | None = None


class Contact(Answer):
    """When a site was last heard, and in which state it is."""

    state: str | None = None
    last_heard_at: datetime | None = None
    agent_version: str | None = None
    trouble: str | None = None
    clock_skew_s: float | None = None
    backend: str | None = None
    scheduler_version: str | None = None
    inventory_taken_at: datetime | None = None
    inventory_age_s: float | None = None


class Site(Answer):
    """A computing centre's cluster or clusters."""

    id: str
    name: str | None = None
    kind: str | None = None
    country: str | None = None
    patience_minutes: int | None = None
    margin_minutes: int | None = None
    availability_percent: int | None = None
    is_draining: bool | None = None
    closed: str | None = None
    contact: Contact = Contact()
    gpus: dict[str, int] | None = None


class Pool(Answer):
    """GPUs of one kind in one partition."""

    cluster: str
    partition: str
    gres_type: str | None = None
    nodes: int | None = None
    nodes_up: int | None = None
    gpus: int | None = None
    gpus_up: int | None = None
    gpus_free: int | None = None
    proposed_class: str | None = None
    confirmed_class: str | None = None


class Inventory(Answer):
    """What a site's agent found."""

    taken_at: datetime | None = None
    pools: tuple[Pool, ...] = ()


class Enrolment(Answer):
    """A token that makes one agent known."""

    token: str
    expires_at: datetime


class Decision(Answer):
    """What a site said about a project."""

    site_id: str
    project_id: str
    account: str | None = None
    refused: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


class Project(Answer):
    """A group's project."""

    id: str
    title: str | None = None
    organisation: str | None = None
    sites: tuple[Decision, ...] = ()


class Member(Answer):
    """Somebody in a project."""

    username: str
    role: str
    name: str | None = None


class Pledge(Answer):
    """What a site gives in one period."""

    site_id: str | None = None
    gpu_class: str
    period: str
    gpu_ms: int | None = None


class BalanceLine(Answer):
    """One award line and what became of it."""

    site_id: str
    gpu_class: str
    period: str
    stream: str | None = None
    awarded_gpu_ms: int | None = None
    pending_gpu_ms: int | None = None
    used_gpu_ms: int | None = None
    left_gpu_ms: int | None = None


class AwardLine(Answer):
    """One line of an award."""

    site_id: str
    gpu_class: str
    period: str
    gpu_ms: int | None = None
    stream: str | None = None


class Award(Answer):
    """What a project was given at once."""

    id: str | None = None
    lines: tuple[AwardLine, ...] = ()
    reason: str | None = None
    awarded_at: datetime | None = None


class Attempt(Answer):
    """One try at one cluster."""

    id: str
    number: int
    site: str
    state: str
    cluster: str | None = None
    partition: str | None = None
    gpu_class: str | None = None
    outcome: str | None = None
    exit_code: int | None = None
    external_id: str | None = None
    reason: str | None = None
    placed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    gpu_ms_reserved: int | None = None
    gpu_ms_settled: int | None = None
    gpu_ms_scheduler: int | None = None
    gpu_ms_wrapper: int | None = None


class Job(Answer):
    """What a group asked for."""

    id: str
    name: str
    project: str
    state: str
    cause: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpu_class: tuple[str, ...] = ()
    walltime_minutes: int | None = None
    launcher: str | None = None
    resume: str | None = None
    cancel_wished_at: datetime | None = None
    waiting_reason: str | None = None
    attempts: tuple[Attempt, ...] = ()


class Event(Answer):
    """Something that happened to a job."""

    at: datetime | None = None
    kind: str | None = None
    cause: str | None = None
    actor: str | None = None
    attempt_id: str | None = None


class Place(Answer):
    """Where a job could run, and what stands against it."""

    site_id: str
    partition: str | None = None
    gpu_class: str | None = None
    gpus_free: int | None = None
    gpus_asked: int | None = None
    obstacle: str | None = None


class Why(Answer):
    """Why a job is where it is."""

    state: str
    reason: str | None = None
    places: tuple[Place, ...] = ()


class LogPart(Answer):
    """Bytes of a log from an offset on."""

    attempt: int | str | None = None
    offset: int
    base64: str
    next_offset: int
    is_end: bool


class Balance(Answer):
    """One account of the ledger."""

    account: str
    kind: str | None = None
    gpu_ms: int | None = None
    pending_gpu_ms: int | None = None


class Entry(Answer):
    """One transfer of the ledger."""

    id: str
    number: int | None = None
    at: datetime | None = None
    kind: str | None = None
    phase: str | None = None
    actor: str | None = None
    debit: str | None = None
    credit: str | None = None
    gpu_ms: int | None = None
    attempt_id: str | None = None


class Check(Answer):
    """One thing that must hold in the books."""

    name: str
    holds: bool
    detail: str | None = None


class Verification(Answer):
    """Whether the books are right."""

    invariants_hold: bool
    checks: tuple[Check, ...] = ()
