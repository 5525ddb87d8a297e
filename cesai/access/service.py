"""How do people and agents become callers, and who changes what they may do?"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access import rules, store, tokens
from cesai.access.rules import AgentCaller, AgentState, Caller, EnrolmentState, Forbidden, Membership, NotSignedIn, Role
from cesai.access.tables import AgentRow, AuditRow, EnrolmentRow, MembershipRow, PrincipalRow
from cesai.access.tokens import AGENT_AUDIENCE, Identity
from cesai.contract.messages import EnrolReply, EnrolRequest
from cesai.db.paging import PageRequest, Slice
from cesai.kernel.errors import NotFound, OnRecord, Refused
from cesai.kernel.ids import new_id

TOKEN_BYTES = 32
Actor = Caller | AgentCaller | str
Granted = tuple[MembershipRow, PrincipalRow]


def sign_in(db: Session, identity: Identity, *, now: datetime) -> Caller:
    """The caller whom a believed token names; at his first login he gets the memberships that the token gives him.

    Raises:
        Forbidden: the name belongs to another account here.
    """
    row = store.principal_of_subject(db, identity.subject) or _first_login(db, identity, now)
    return Caller(principal_id=row.id, username=row.username, name=row.name, memberships=store.memberships(db, row.id))


def _first_login(db: Session, identity: Identity, now: datetime) -> PrincipalRow:
    store.add_principal(db, identity.username, now=now)
    row = store.lock_principal(db, identity.username)
    if row.subject == identity.subject:
        return row  # another request of his came first
    if row.subject is not None:
        msg = f"The name {identity.username} belongs to another account here. Ask an operator of the hub."
        raise Forbidden(msg)
    row.subject, row.name, row.first_login_at = identity.subject, identity.name, now
    db.flush()
    given = membership_words(rules.seeds(identity.roles, identity.groups))
    for membership in given:
        store.add_membership(db, row.id, membership, now=now)
    details = {"memberships": [f"{each.role}:{each.scope or '*'}" for each in given]}
    audit(db, actor=identity.username, action="access.first-login", subject=identity.username, details=details, now=now)
    return row


def grant(db: Session, *, username: str, role: Role, scope: str | None, by: Actor, now: datetime) -> Granted:
    """Make somebody something, also before his first login. Again changes nothing.

    Raises:
        Refused: the scope does not suit the role.
    """
    membership = rules.membership(role, scope)
    store.add_principal(db, username, now=now)
    principal = store.lock_principal(db, username)
    added = store.add_membership(db, principal.id, membership, now=now)
    if added is None:
        found = store.membership_row(db, principal.id, membership)
        if found is None:
            raise NotFound
        return found, principal
    audit(db, actor=by, action="access.grant", subject=username, details={"role": role, "scope": scope}, now=now)
    return added, principal


def revoke(db: Session, membership_id: UUID, *, by: Actor, now: datetime) -> None:
    """Take a membership away, at once.

    Raises:
        NotFound: there is none of this id.
    """
    found = store.membership_by_id(db, membership_id)
    if found is None:
        raise NotFound
    membership, principal = found
    store.remove_membership(db, membership_id)
    details = {"role": membership.role, "scope": membership.scope}
    audit(db, actor=by, action="access.revoke", subject=principal.username, details=details, now=now)


def revoke_from(db: Session, *, username: str, scope: str, by: Actor, now: datetime) -> None:
    """Take away everything that somebody is in one project or at one site.

    Raises:
        NotFound: he is nothing there.
    """
    mine = [row for row, who in store.members(db, scope, tuple(Role)) if who.username == username]
    if not mine:
        raise NotFound
    for row in mine:
        revoke(db, row.id, by=by, now=now)


def memberships(db: Session, page: PageRequest, *, username: str | None, scope: str | None) -> Slice[Granted]:
    """Who is what, newest first."""
    return store.memberships_page(db, page, username=username, scope=scope)


def members_of(db: Session, project_id: str) -> list[tuple[str, Role]]:
    """Names and roles of a project's members, by name."""
    return [(who.username, Role(row.role)) for row, who in store.members(db, project_id, rules.MEMBERS)]


def projects_of(db: Session, principal_id: UUID) -> frozenset[str]:
    """Projects of which somebody is a member now."""
    held = store.memberships(db, principal_id)
    return frozenset(each.scope for each in held if each.role in rules.MEMBERS and each.scope)


def audit(db: Session, *, actor: Actor, action: str, subject: str, details: dict[str, Any], now: datetime) -> None:
    """Write down who did what to what; the row can never be changed."""
    name, actor_id = _named(actor)
    db.add(
        AuditRow(id=new_id(), at=now, actor=name, actor_id=actor_id, action=action, subject=subject, details=details)
    )
    db.flush()


def _named(actor: Actor) -> tuple[str, UUID | None]:
    match actor:
        case Caller():
            return actor.username, actor.principal_id
        case AgentCaller():
            return f"agent of {actor.site_id}", actor.agent_id
        case str():
            return actor, None


def make_enrolment(db: Session, site_id: str, *, by: Actor, now: datetime) -> str:
    """A one-time token for a site's agent. It is shown once; only its hash is kept."""
    token = f"cesai-enrol-{secrets.token_urlsafe(TOKEN_BYTES)}"
    db.add(
        EnrolmentRow(
            token_hash=_hash(token),
            site_id=site_id,
            made_by=_named(by)[0],
            made_at=now,
            expires_at=now + rules.ENROLMENT_LASTS,
            used_at=None,
        )
    )
    audit(db, actor=by, action="agent.enrolment-made", subject=site_id, details={}, now=now)
    return token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def enrol(db: Session, request: EnrolRequest, *, now: datetime) -> EnrolReply:
    """Take a site's agent in by its one-time token; it takes the place of the site's former agent.

    Raises:
        NotSignedIn: the token is wrong, used or too old.
        Refused: the key is of no use.
    """
    row = store.lock_enrolment(db, _hash(request.token))
    state = EnrolmentState(site_id=row.site_id, expires_at=row.expires_at, used_at=row.used_at) if row else None
    enrolment = rules.check_enrolment(state, now)
    try:
        tokens.read_agent_key(request.public_key)
    except ValueError as error:
        msg = f"This agent's key is of no use: {error}."
        raise Refused(msg) from error
    if row is not None:
        row.used_at = now
    agent = _take_in(db, enrolment.site_id, request=request, now=now)
    return EnrolReply(site_id=agent.site_id, agent_id=str(agent.agent_id), audience=AGENT_AUDIENCE)


def _take_in(db: Session, site_id: str, *, request: EnrolRequest, now: datetime) -> AgentCaller:
    former = store.lock_agent_of_site(db, site_id)
    if former:
        former.replaced_at = now
        db.flush()
    agent = AgentCaller(agent_id=new_id(), site_id=site_id)
    db.add(
        AgentRow(
            id=agent.agent_id,
            site_id=site_id,
            public_key=request.public_key,
            agent_version=request.agent_version,
            instance_id=request.instance_id,
            last_sequence=0,
            enrolled_at=now,
            replaced_at=None,
        )
    )
    details = {"version": request.agent_version, "replaces": str(former.id) if former else None}
    audit(db, actor=agent, action="agent.enrolled", subject=site_id, details=details, now=now)
    return agent


def agent(db: Session, token: str, *, now: datetime) -> AgentCaller:
    """The agent that signed a token.

    Raises:
        NotSignedIn: it is not enrolled (any more), or did not sign this.
    """
    agent_id = tokens.agent_of(token)
    row = store.agent(db, agent_id)
    if row is None:
        msg = "This agent is not enrolled (any more): another may have taken its place. Enrol it anew."
        raise NotSignedIn(msg)
    tokens.check_agent_token(token, row.public_key, agent_id=agent_id, now=now)
    return AgentCaller(agent_id=row.id, site_id=row.site_id)


def accept_sequence(db: Session, agent: AgentCaller, *, instance_id: str, sequence: int, now: datetime) -> None:
    """Take an agent's message in its order, from one instance only.

    Raises:
        OnRecord: a second instance speaks; that it did is kept in the audit trail.
        Stale: not newer than what was heard.
        NotSignedIn: the agent was replaced meanwhile.
    """
    row = store.lock_agent(db, agent.agent_id)
    if row is None:
        msg = "This agent was replaced. Enrol it anew."
        raise NotSignedIn(msg)
    state = AgentState(instance_id=row.instance_id, last_sequence=row.last_sequence)
    refusal = rules.judge_sequence(state, instance_id=instance_id, sequence=sequence)
    if isinstance(refusal, OnRecord):
        details = {"known": row.instance_id, "second": instance_id}
        audit(db, actor=agent, action="agent.second-instance", subject=agent.site_id, details=details, now=now)
    if refusal is not None:
        raise refusal
    row.instance_id = instance_id
    row.last_sequence = sequence


def reset_agent(db: Session, site_id: str, *, by: Actor, now: datetime) -> None:
    """Let the next instance that speaks be the site's one.

    Raises:
        NotFound: the site has no agent.
    """
    row = store.lock_agent_of_site(db, site_id)
    if row is None:
        raise NotFound
    details = {"instance": row.instance_id, "sequence": row.last_sequence}
    row.instance_id = None
    row.last_sequence = 0
    audit(db, actor=by, action="agent.reset", subject=site_id, details=details, now=now)


def membership_words(memberships: frozenset[Membership]) -> list[Membership]:
    """Memberships in an order that does not change."""
    return sorted(memberships, key=lambda each: (each.role, each.scope or ""))
