"""How does a Python program speak to the hub?

    from cesai.client.api import Hub
    with Hub.signed_in() as hub:
        job = hub.jobs.submit(read_job({...}))

Every method raises the kernel's errors (NotFound, Refused, Stale) or those of `cesai.client.exits`, each with a
sentence that says what to do. A method that makes something takes `key`: the same key again makes nothing new.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from cesai.client.addresses import hub_address, open_client
from cesai.client.answers import (
    Answer,
    Award,
    Balance,
    BalanceLine,
    Decision,
    Enrolment,
    Entry,
    Event,
    GpuClass,
    Health,
    Inventory,
    Job,
    LogPart,
    Me,
    Member,
    Membership,
    Pledge,
    Project,
    Site,
    Verification,
    Why,
)
from cesai.client.exits import NotReached, SignInNeeded
from cesai.client.login import Keyring, LoginServer
from cesai.client.profiles import Profiles, config_folder
from cesai.client.texts import Texts
from cesai.client.wire import FixedToken, Keys, Wire
from cesai.contract.jobs import JobFile

A = TypeVar("A", bound=Answer)


class Room:
    """One noun of the hub's API."""

    def __init__(self, wire: Wire, texts: Texts) -> None:
        self._wire = wire
        self._texts = texts

    def _one(self, kind: type[A], found: object) -> A:
        try:
            return kind.model_validate(found)
        except ValidationError:
            raise NotReached(self._texts("strange_answer", hub=self._wire.hub)) from None

    def _all(self, kind: type[A], path: str, params: Mapping[str, object] | None = None) -> Iterator[A]:
        for found in self._wire.pages(path, params):
            yield self._one(kind, found)


class Sites(Room):
    """Sites, what they have, and which projects they take."""

    def list(self) -> Iterator[Site]:
        """Every site."""
        return self._all(Site, "/sites")

    def show(self, site: str) -> Site:
        """One site."""
        return self._one(Site, self._wire.get(f"/sites/{_part(site)}"))

    def register(self, site: Mapping[str, object], *, key: str | None = None) -> Site:
        """Make a site known: id, name, kind, country and what else the API takes."""
        return self._one(Site, self._wire.post("/sites", site, key=key))

    def inventory(self, site: str) -> Inventory:
        """What the site's agent found."""
        return self._one(Inventory, self._wire.get(f"/sites/{_part(site)}/inventory"))

    def map(self, site: str, entries: Sequence[Mapping[str, object]]) -> Inventory | None:
        """Confirm which GPU class each pool is of: cluster, partition, gres_type, gpu_class."""
        found = self._wire.put(f"/sites/{_part(site)}/mapping", {"entries": list(entries)})
        return self._one(Inventory, found) if found and "pools" in found else None

    def enrol(self, site: str, *, key: str | None = None) -> Enrolment:
        """A one-time token for the site's agent."""
        return self._one(Enrolment, self._wire.post(f"/sites/{_part(site)}/enrolments", {}, key=key))

    def drain(self, site: str, *, is_draining: bool) -> None:
        """Give the site no new work, or give it work again."""
        self._wire.put(f"/sites/{_part(site)}/draining", {"is_draining": is_draining})

    def reset_agent(self, site: str, *, key: str | None = None) -> None:
        """Let a new instance of the site's agent take the old one's place."""
        self._wire.post(f"/sites/{_part(site)}/agent/reset", {}, key=key)

    def accept(self, site: str, project: str, *, account: str) -> None:
        """Take a project's jobs, under this local account."""
        self._wire.put(f"/sites/{_part(site)}/projects/{_part(project)}", {"account": account})

    def refuse(self, site: str, project: str, *, reason: str) -> None:
        """Take none of a project's jobs."""
        self._wire.put(f"/sites/{_part(site)}/projects/{_part(project)}", {"refused": reason})

    def projects(self, site: str) -> Iterator[Decision]:
        """What a site said about projects."""
        return self._all(Decision, f"/sites/{_part(site)}/projects")

    def classes(self) -> Iterator[GpuClass]:
        """Every GPU class."""
        return self._all(GpuClass, "/gpu-classes")

    def add_class(self, gpu_class: Mapping[str, object], *, key: str | None = None) -> GpuClass:
        """Make a GPU class known: id, name, memory_gb."""
        return self._one(GpuClass, self._wire.post("/gpu-classes", gpu_class, key=key))


class Projects(Room):
    """Projects and the people in them."""

    def list(self) -> Iterator[Project]:
        """Every project that the caller may see."""
        return self._all(Project, "/projects")

    def show(self, project: str) -> Project:
        """One project."""
        return self._one(Project, self._wire.get(f"/projects/{_part(project)}"))

    def create(self, project: Mapping[str, object], *, key: str | None = None) -> Project:
        """Make a project: id, title, organisation."""
        return self._one(Project, self._wire.post("/projects", project, key=key))

    def members(self, project: str) -> Iterator[Member]:
        """Who is in it."""
        return self._all(Member, f"/projects/{_part(project)}/members")

    def add_member(self, project: str, username: str, *, role: str, key: str | None = None) -> None:
        """Take somebody in, as researcher or pi."""
        body = {"username": username, "role": role}
        self._wire.post(f"/projects/{_part(project)}/members", body, key=key)

    def remove_member(self, project: str, username: str) -> None:
        """Take somebody out."""
        self._wire.delete(f"/projects/{_part(project)}/members/{_part(username)}")


class Compute(Room):
    """Pledges, awards and what is left of them."""

    def pledge(self, site: str, gpu_class: str, *, period: str, gpu_hours: Decimal, key: str | None = None) -> Pledge:
        """Give so much of a site's compute in one period."""
        body = {"gpu_class": gpu_class, "period": period, "gpu_hours": str(gpu_hours)}
        return self._one(Pledge, self._wire.post(f"/sites/{_part(site)}/pledges", body, key=key))

    def pledges(self, site: str) -> Iterator[Pledge]:
        """What a site gives."""
        return self._all(Pledge, f"/sites/{_part(site)}/pledges")

    def award(
        self,
        project: str,
        lines: Sequence[Mapping[str, object]],
        *,
        reason: str | None = None,
        key: str | None = None,
    ) -> Award:
        """Give a project compute: lines of site_id, gpu_class, period, gpu_hours."""
        body: dict[str, object] = {"lines": list(lines)}
        if reason is not None:
            body["reason"] = reason
        return self._one(Award, self._wire.post(f"/projects/{_part(project)}/awards", body, key=key))

    def awards(self, project: str) -> Iterator[Award]:
        """What a project was given."""
        return self._all(Award, f"/projects/{_part(project)}/awards")

    def balance(self, project: str) -> tuple[BalanceLine, ...]:
        """What a project has left, line by line."""
        found = self._wire.get(f"/projects/{_part(project)}/balance")
        lines = found.get("lines", found.get("items")) if isinstance(found, dict) else found
        return tuple(self._one(BalanceLine, line) for line in lines or ())


class Ledger(Room):
    """The books."""

    def verify(self) -> Verification:
        """Whether every check holds."""
        return self._one(Verification, self._wire.get("/ledger/verify"))

    def balances(self, *, account: str | None = None) -> Iterator[Balance]:
        """Accounts and what stands on them."""
        return self._all(Balance, "/ledger/balances", {"account": account})

    def entries(self, *, account: str | None = None, attempt: str | None = None) -> Iterator[Entry]:
        """Every transfer, oldest or newest first as the hub orders them."""
        return self._all(Entry, "/ledger/entries", {"account": account, "attempt_id": attempt})


class Jobs(Room):
    """Jobs, their logs and their ends."""

    def submit(self, job: JobFile, *, key: str | None = None) -> Job:
        """Ask for a job."""
        # Only what was said is sent: what was left open is the hub's to fill in, also when it is newer than this.
        body = job.model_dump(mode="json", exclude_unset=True)
        return self._one(Job, self._wire.post("/jobs", body, key=key))

    def list(self, *, project: str | None = None, state: str | None = None, site: str | None = None) -> Iterator[Job]:
        """Jobs that the caller may see, newest first."""
        return self._all(Job, "/jobs", {"project": project, "state": state, "site": site})

    def show(self, job: str) -> Job:
        """One job with its attempts."""
        return self._one(Job, self._wire.get(f"/jobs/{_part(job)}"))

    def events(self, job: str) -> Iterator[Event]:
        """What happened to it, in order."""
        return self._all(Event, f"/jobs/{_part(job)}/events")

    def why(self, job: str) -> Why:
        """Why it is where it is, and what stands against each place."""
        return self._one(Why, self._wire.get(f"/jobs/{_part(job)}/why"))

    def log(self, job: str, *, attempt: int | None = None, offset: int = 0) -> LogPart:
        """A range of a log."""
        params = {"attempt": attempt, "offset": offset}
        return self._one(LogPart, self._wire.get(f"/jobs/{_part(job)}/logs", params))

    def cancel(self, job: str, *, reason: str | None = None, key: str | None = None) -> Job:
        """Wish it to end; it ends when its site has confirmed."""
        body = {"reason": reason} if reason else {}
        return self._one(Job, self._wire.post(f"/jobs/{_part(job)}/cancel", body, key=key))

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a job file, as this hub takes it."""
        found = self._wire.get("/schemas/job")
        return found if isinstance(found, dict) else {}


class People(Room):
    """Who somebody is, and who is what."""

    def me(self) -> Me:
        """Who is signed in."""
        return self._one(Me, self._wire.get("/me"))

    def health(self) -> Health:
        """How the hub is."""
        return self._one(Health, self._wire.get("/health", is_unwell_an_answer=True))

    def memberships(self, *, username: str | None = None, scope: str | None = None) -> Iterator[Membership]:
        """Who is what."""
        return self._all(Membership, "/memberships", {"username": username, "scope": scope})

    def grant(self, username: str, role: str, *, scope: str | None = None, key: str | None = None) -> Membership:
        """Make somebody something."""
        body = {"username": username, "role": role, "scope": scope}
        return self._one(Membership, self._wire.post("/memberships", body, key=key))

    def revoke(self, membership_id: str) -> None:
        """Take it from him."""
        self._wire.delete(f"/memberships/{_part(membership_id)}")


class Hub:
    """One hub, as one person."""

    def __init__(
        self, address: str, *, client: httpx.Client, keys: Keys | None, texts: Texts | None = None, profile: str = ""
    ) -> None:
        texts = texts or Texts()
        self.address = address
        self._clients = [client]
        wire = Wire(address, client=client, keys=keys, texts=texts, profile=profile)
        self.sites = Sites(wire, texts)
        self.projects = Projects(wire, texts)
        self.compute = Compute(wire, texts)
        self.ledger = Ledger(wire, texts)
        self.jobs = Jobs(wire, texts)
        self.people = People(wire, texts)

    @classmethod
    def signed_in(cls, profile: str | None = None, *, hub: str | None = None, texts: Texts | None = None) -> Self:
        """The hub at which this profile is signed in (by `cesai login`), or CESAI_TOKEN's at CESAI_HUB.

        Raises:
            SignInNeeded: nobody is.
        """
        texts = texts or Texts()
        profiles = Profiles(config_folder(os.environ), texts)
        name = profile or os.environ.get("CESAI_PROFILE") or profiles.current()
        known = profiles.find(name)
        wished = hub or os.environ.get("CESAI_HUB") or (known.hub if known else None)
        if wished is None:
            raise SignInNeeded(texts("no_hub", profile=name))
        address = hub_address(wished, texts)
        if token := os.environ.get("CESAI_TOKEN"):
            return cls(address, client=open_client(address), keys=FixedToken(token), texts=texts, profile=name)
        if known is None or known.tokens is None:
            raise SignInNeeded(texts("not_signed_in", profile=name))
        if known.hub != address:
            raise SignInNeeded(texts("other_hub", profile=name, known=known.hub, hub=address))
        login = open_client(known.issuer)
        keys = Keyring(profiles, known, server=LoginServer(known.issuer, client=login, texts=texts), texts=texts)
        found = cls(address, client=open_client(address), keys=keys, texts=texts, profile=name)
        found._clients.append(login)
        return found

    @classmethod
    def anonymous(cls, address: str, *, texts: Texts | None = None) -> Self:
        """The hub for what everybody may see."""
        texts = texts or Texts()
        address = hub_address(address, texts)
        return cls(address, client=open_client(address), keys=None, texts=texts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        for client in self._clients:
            client.close()


def _part(name: str) -> str:
    """A name as one part of a path: a slash in it must not lead elsewhere."""
    return quote(name, safe="")
