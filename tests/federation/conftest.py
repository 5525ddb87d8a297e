"""In which small world do the federation's tests happen? Two sites, one group, an award, and agents driven by hand."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from joserfc.jwk import ECKey
from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import AgentCaller, Caller, Membership, Role
from cesai.allocations import service as allocations
from cesai.allocations.service import AwardLine
from cesai.contract.jobs import read_job
from cesai.contract.messages import EnrolRequest, SyncReply, SyncRequest
from cesai.federation import service, store
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.ids import new_id
from cesai.kernel.periods import Period
from cesai.kernel.states import AttemptState, Outcome
from cesai.projects import service as projects
from cesai.projects.service import NewProject, Verdict
from cesai.sites import service as sites
from cesai.sites.service import GpuClass, Mapped, NewPledge, NewSite

CLASSES = {"juelich": "H100", "rwth": "A100"}


def caller(username: str, *memberships: Membership) -> Caller:
    return Caller(new_id(), username, username.title(), frozenset(memberships))


OPERATOR = caller("olga", Membership(Role.OPERATOR))


def pool(site_id: str, **changes: Any) -> dict[str, Any]:
    """A partition of two nodes with four GPUs each, all free."""
    plain = {
        "cluster": site_id,
        "partition": "gpu",
        "gres_type": CLASSES[site_id].lower(),
        "nodes": 2,
        "nodes_up": 2,
        "gpus_per_node": 4,
        "gpus": 8,
        "gpus_up": 8,
        "gpus_free": 8,
        "max_walltime_minutes": 1440,
    }
    return plain | changes


class Agent:
    """Speaks as a site's agent does, one message at a time, without the site."""

    def __init__(self, site_id: str, send: Any, clock: Any, instance_id: str = "instance-1") -> None:
        self.site_id = site_id
        self.instance_id = instance_id
        self.sequence = 0
        self.said: dict[str, int] = {}
        self._send = send
        self._clock = clock

    def sync(self, **parts: Any) -> SyncReply:
        """One sync: reports, usage, logs, capacity as keyword arguments."""
        self.sequence += 1
        told = {
            "agent_version": "0.1.0",
            "instance_id": self.instance_id,
            "sequence": self.sequence,
            "site_epoch": "epoch-1",
            "clock": self._clock.now().isoformat(),
            "is_reachable": True,
        }
        return self._send(told | parts)

    def tell_capacity(self, *pools: dict[str, Any], running: Sequence[dict[str, Any]] = ()) -> SyncReply:
        """A snapshot of everything the site has."""
        return self.sync(
            capacity={
                "taken_at": self._clock.now().isoformat(),
                "kind": "slurm",
                "backend": "cli",
                "scheduler_version": "22.05.8",
                "pools": pools or (pool(self.site_id),),
                "running": running,
            }
        )

    def report(self, attempt_id: Any, state: AttemptState | str, **facts: Any) -> dict[str, Any]:
        """A report with the next sequence of this attempt."""
        key = str(attempt_id)
        self.said[key] = self.said.get(key, 0) + 1
        return {"attempt_id": key, "sequence": self.said[key], "state": state} | facts

    def tell(self, attempt_id: Any, state: AttemptState | str, **facts: Any) -> SyncReply:
        """One report in a sync of its own."""
        return self.sync(attempts=[self.report(attempt_id, state, **facts)])

    def usage(self, attempt: Any, *, seconds: int, gpus: int, **changes: Any) -> dict[str, Any]:
        """What accounting tells of one launch."""
        start = self._clock.now() - timedelta(seconds=seconds)
        return {
            "key": f"epoch-1/100/{getattr(attempt, 'marker', 'stranger')}",
            "revision": 1,
            "kind": "own",
            "attempt_id": str(attempt.id) if attempt else None,
            "account": "llm",
            "cluster": self.site_id,
            "partition": "gpu",
            "external_id": "100",
            "gres_type": CLASSES[self.site_id].lower(),
            "state": "COMPLETED",
            "started_at": start.isoformat(),
            "ended_at": self._clock.now().isoformat(),
            "gpus": gpus,
            "gpu_ms": gpus * seconds * 1000,
            "is_final": True,
        } | changes

    @staticmethod
    def log(attempt_id: Any, offset: int, content: bytes, *, is_end: bool = False) -> dict[str, Any]:
        """A range of a log."""
        text = base64.b64encode(content).decode()
        return {"attempt_id": str(attempt_id), "offset": offset, "base64": text, "is_end": is_end}


class World:
    """What the tests act in; everything speaks through the services."""

    def __init__(self, db: Session, clock: Any) -> None:
        self.db = db
        self.clock = clock
        self.member = caller("rita", Membership(Role.RESEARCHER, "legal-llm"))
        self.juelich: Agent
        self.rwth: Agent
        self.stranger = caller("sven", Membership(Role.RESEARCHER, "other"))

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def submit(self, by: Caller | None = None, **changes: Any) -> Any:
        """A job of one GPU for an hour on an H100, unless said otherwise; its row."""
        content = {
            "name": "train",
            "project": "legal-llm",
            "script": "#!/bin/sh\ntrue\n",
            "gpus_per_node": 1,
            "gpu_class": "H100",
            "walltime": 60,
        }
        file = read_job({key: value for key, value in (content | changes).items() if value is not None})
        return service.submit(self.db, file, by=by or self.member, now=self.now).job

    def place(self, **changes: Any) -> Any:
        """A submitted and placed job; its attempt."""
        job = self.submit(**changes)
        self.round()
        return self.attempt(job)

    def round(self) -> int:
        return service.run_round(self.db, self.now)

    def sweep(self) -> int:
        return service.sweep(self.db, self.now)

    def attempt(self, job: Any) -> Any:
        """The newest attempt of a job, as it is now."""
        self.db.expire_all()
        return store.attempts_of(self.db, [job.id])[-1]

    def end(self, attempt: Any, outcome: Outcome = Outcome.SUCCEEDED, *, seconds: int = 600, **facts: Any) -> Any:
        """Run an attempt at juelich to its end, with its usage and log."""
        self.juelich.tell(attempt.id, "RUNNING", external_id="100")
        self.clock.move(timedelta(seconds=seconds))
        self.juelich.sync(
            attempts=[self.juelich.report(attempt.id, "ENDED", outcome=outcome, is_usage_complete=True, **facts)],
            usage=[self.juelich.usage(attempt, seconds=seconds, gpus=attempt.charged_gpus)],
            logs=[self.juelich.log(attempt.id, 0, b"done\n", is_end=True)],
        )
        return self.fresh(attempt)

    def fresh(self, row: Any) -> Any:
        self.db.refresh(row)
        return row

    def kinds(self, job: Any) -> list[str]:
        """What happened to a job, in order."""
        return [event.kind for event in store.events(self.db, job.id)]

    def line(self, site_id: str = "juelich") -> Any:
        return next(one for one in allocations.lines(self.db, "legal-llm") if one.site_id == site_id)

    def holds(self) -> bool:
        """Whether the ledger's invariants hold."""
        return all(check.holds for check in allocations.verify(self.db))

    def agent(self, site_id: str, *, instance_id: str = "instance-1") -> Agent:
        """An agent of this site that speaks straight to the service."""
        token = access.make_enrolment(self.db, site_id, by="test", now=self.now)
        key = ECKey.generate_key("P-256").as_dict(private=False)
        first = EnrolRequest(token=token, instance_id=instance_id, agent_version="0.1.0", public_key=key)
        reply = access.enrol(self.db, first, now=self.now)
        agent = AgentCaller(UUID(reply.agent_id), site_id)
        return Agent(site_id, lambda told: self._send(agent, told), self.clock, instance_id)

    def _send(self, agent: AgentCaller, told: dict[str, Any]) -> SyncReply:
        request = SyncRequest.model_validate(told)
        service.hear(self.db, agent, request, now=self.now)
        self.db.flush()
        return service.answer(self.db, agent.site_id, request, now=self.now)


def furnish(db: Session, now: datetime) -> None:
    """Sites, classes, a project that both sites took in."""
    for gpu_class in ("H100", "A100"):
        sites.add_gpu_class(db, GpuClass(gpu_class, gpu_class, 80), by=OPERATOR, now=now)
    for name in ("legal-llm", "other"):
        projects.create(db, NewProject(name, name, "a university"), by=OPERATOR, now=now)
    for site_id in CLASSES:
        new = NewSite(site_id, site_id.title(), "slurm", "DE", patience_minutes=120)
        sites.register(db, new, by=OPERATOR, now=now)
        projects.decide(db, Verdict(site_id, "legal-llm", account="llm"), by=OPERATOR, now=now)


def fund(db: Session, now: datetime, *, hours: int = 100) -> None:
    """Mapped classes, pledges and an award of so many GPU-hours at each site."""
    period = Period.of(now)
    for site_id, gpu_class in CLASSES.items():
        mapped = [Mapped(site_id, "gpu", gpu_class.lower(), gpu_class)]
        sites.confirm_mapping(db, site_id, mapped, by=OPERATOR, now=now)
        amount = GpuMilliseconds.of_hours(1000)
        allocations.pledge(db, NewPledge(site_id, gpu_class, period, amount), by=OPERATOR, now=now)
    lines = [AwardLine(site, gpu_class, period, GpuMilliseconds.of_hours(hours)) for site, gpu_class in CLASSES.items()]
    allocations.award(db, "legal-llm", lines, reason=None, by=OPERATOR, now=now)


@pytest.fixture
def world(db: Session, clock: Any) -> World:
    """Two sites that were heard, and a group with an award of 100 GPU-hours at each."""
    made = World(db, clock)
    furnish(db, clock.now())
    made.juelich, made.rwth = made.agent("juelich"), made.agent("rwth")
    made.juelich.tell_capacity()
    made.rwth.tell_capacity()
    fund(db, clock.now())
    return made
