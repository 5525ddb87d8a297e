"""Who may do what?

The hub decides by its own memberships; a token only says who somebody is. What a caller may not see looks to him as if
it did not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cesai.kernel.errors import CesaiError, NotFound, OnRecord, Refused, Stale
from cesai.kernel.ids import SLUG

ENROLMENT_LASTS = timedelta(hours=1)
AGENT_TOKEN_LASTS = timedelta(minutes=5)


class NotSignedIn(Refused):
    """Nobody, or nobody that the hub believes, is asking."""


class Forbidden(Refused):
    """He may see it, but not do this with it."""


class IssuerSilent(CesaiError):
    """Nobody can be believed, because the issuer of the tokens does not answer."""


class Role(StrEnum):
    """What somebody can be."""

    RESEARCHER = "researcher"
    PI = "pi"
    REVIEWER = "reviewer"
    SITE_ADMIN = "site-admin"
    FUNDER = "funder"
    OPERATOR = "operator"
    SITE_AGENT = "site-agent"


class ScopeKind(StrEnum):
    """What a role is limited to."""

    PROJECT = "project"
    SITE = "site"


SCOPES: dict[Role, ScopeKind | None] = {
    Role.RESEARCHER: ScopeKind.PROJECT,
    Role.PI: ScopeKind.PROJECT,
    Role.REVIEWER: None,
    Role.SITE_ADMIN: ScopeKind.SITE,
    Role.FUNDER: None,
    Role.OPERATOR: None,
    Role.SITE_AGENT: ScopeKind.SITE,
}
MEMBERS = (Role.RESEARCHER, Role.PI)
# They may read every project: to run the place, to judge applications, to see what their money does.
READERS = (Role.OPERATOR, Role.REVIEWER, Role.FUNDER)


@dataclass(frozen=True, slots=True)
class Membership:
    """A role, and the project or site that it is limited to."""

    role: Role
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or a program that is signed in."""

    principal_id: UUID
    username: str
    name: str
    memberships: frozenset[Membership]

    def has(self, role: Role, scope: str | None = None) -> bool:
        """Whether he has exactly this role, for exactly this scope."""
        return Membership(role, scope) in self.memberships

    @property
    def is_operator(self) -> bool:
        """Whether he runs the hub."""
        return self.has(Role.OPERATOR)

    @property
    def is_reader(self) -> bool:
        """Whether he may read every project."""
        return any(self.has(role) for role in READERS)

    def projects(self) -> frozenset[str]:
        """Projects of which he is a member."""
        return self._scopes(MEMBERS)

    def sites(self) -> frozenset[str]:
        """Sites that he administers."""
        return self._scopes((Role.SITE_ADMIN,))

    def _scopes(self, roles: Iterable[Role]) -> frozenset[str]:
        wanted = frozenset(roles)
        return frozenset(each.scope for each in self.memberships if each.role in wanted and each.scope)


@dataclass(frozen=True, slots=True)
class AgentCaller:
    """The agent of a site."""

    agent_id: UUID
    site_id: str


def membership(role: Role, scope: str | None) -> Membership:
    """A role with a scope that suits it.

    Raises:
        Refused: the scope is missing, too much, or no name.
    """
    kind = SCOPES[role]
    if kind is None and scope is not None:
        msg = f"The role {role} is for the whole hub: leave the scope out."
        raise Refused(msg)
    if kind is not None and (scope is None or not SLUG.fullmatch(scope)):
        msg = f"The role {role} needs the {kind} that it is for, as the {kind}'s id."
        raise Refused(msg)
    return Membership(role, scope)


def seeds(roles: Iterable[str], groups: Iterable[str]) -> frozenset[Membership]:
    """The memberships that a token gives somebody who signs in for the first time; strange words are passed over."""
    unscoped = {str(role): role for role, kind in SCOPES.items() if kind is None}
    plain = {Membership(unscoped[role]) for role in roles if role in unscoped}
    return frozenset(plain | {found for group in groups if (found := _of_group(group))})


_GROUPS = {
    ("projects", "members"): Role.RESEARCHER,
    ("projects", "leads"): Role.PI,
    ("sites", "admins"): Role.SITE_ADMIN,
}


def _of_group(path: str) -> Membership | None:
    match path.split("/"):
        case ["", kind, scope, part] if (kind, part) in _GROUPS and SLUG.fullmatch(scope):
            return Membership(_GROUPS[kind, part], scope)
        case _:
            return None


def check_role(caller: Caller, role: Role) -> None:
    """Let through who has this role for the whole hub, and operators.

    Raises:
        Forbidden: he has not.
    """
    if not (caller.has(role) or caller.is_operator):
        msg = f"This needs the role {role}. Ask an operator of the hub for it."
        raise Forbidden(msg)


def check_site_admin(caller: Caller, site_id: str) -> None:
    """Let through the site's admins and operators; that there are sites is no secret.

    Raises:
        Forbidden: he is neither.
    """
    if not (caller.has(Role.SITE_ADMIN, site_id) or caller.is_operator):
        msg = f"Only an admin of {site_id} may do this. Ask an operator of the hub for the role."
        raise Forbidden(msg)


def may_see_project(caller: Caller, project_id: str) -> bool:
    """Whether he may know of this project."""
    return project_id in caller.projects() or caller.is_reader


def check_project_member(caller: Caller, project_id: str, *, is_reading: bool) -> None:
    """Let through the project's members; to read, also those who may read every project.

    Raises:
        NotFound: he may not know of it.
        Forbidden: he may only read.
    """
    if not may_see_project(caller, project_id):
        raise NotFound
    if not (is_reading or project_id in caller.projects()):
        msg = f"Only members of {project_id} may do this. Its lead can add you."
        raise Forbidden(msg)


def check_project_lead(caller: Caller, project_id: str) -> None:
    """Let through the project's leads and operators.

    Raises:
        NotFound: he may not know of it.
        Forbidden: he may only see it.
    """
    if not may_see_project(caller, project_id):
        raise NotFound
    if not (caller.has(Role.PI, project_id) or caller.is_operator):
        msg = f"Only the lead of {project_id} may do this."
        raise Forbidden(msg)


@dataclass(frozen=True, slots=True)
class AgentState:
    """How far the hub has heard one agent."""

    instance_id: str | None
    last_sequence: int


def judge_sequence(state: AgentState, *, instance_id: str, sequence: int) -> CesaiError | None:
    """Why this message of an agent is not taken, or None when it is.

    A journal that was copied to a second machine brings a second instance, and neither can be trusted then until an
    operator says which one lives.
    """
    if state.instance_id is not None and state.instance_id != instance_id:
        return OnRecord(
            "Another instance of this site's agent is known to the hub. Stop one of the two, "
            "then ask an operator to reset the agent (cesai site reset-agent)."
        )
    if sequence <= state.last_sequence:
        return Stale(f"Sequence {sequence} is not newer than {state.last_sequence}: look at the journal's sequence.")
    return None


@dataclass(frozen=True, slots=True)
class EnrolmentState:
    """What is known of a one-time token."""

    site_id: str
    expires_at: datetime
    used_at: datetime | None


def check_enrolment(enrolment: EnrolmentState | None, now: datetime) -> EnrolmentState:
    """The enrolment that a token stands for. Wrong, used and expired tokens are told apart for nobody.

    Raises:
        NotSignedIn: it stands for none any more.
    """
    if enrolment is None or enrolment.used_at is not None or enrolment.expires_at <= now:
        msg = "This enrolment token is not valid (any more). Ask the site's admin for a new one; it lasts one hour."
        raise NotSignedIn(msg)
    return enrolment
