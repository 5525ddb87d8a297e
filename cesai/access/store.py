"""How are principals, memberships, agents and the audit trail found?"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cesai.access.rules import Membership, Role
from cesai.access.tables import AgentRow, EnrolmentRow, MembershipRow, PrincipalRow
from cesai.db.paging import PageRequest, Slice, page_of
from cesai.kernel.ids import new_id


def principal_of_subject(db: Session, subject: str) -> PrincipalRow | None:
    """Who has signed in as this subject before."""
    return db.scalar(select(PrincipalRow).where(PrincipalRow.subject == subject))


def lock_principal(db: Session, username: str) -> PrincipalRow:
    """Whom a name stands for, for this transaction alone."""
    wanted = select(PrincipalRow).where(PrincipalRow.username == username).with_for_update()
    return db.execute(wanted, execution_options={"populate_existing": True}).scalar_one()


def add_principal(db: Session, username: str, *, now: datetime) -> None:
    """Make a principal of this name, unless there is one; two first logins at once make one."""
    db.execute(
        insert(PrincipalRow)
        .values(id=new_id(), subject=None, username=username, name=username, made_at=now, first_login_at=None)
        .on_conflict_do_nothing()
    )


def memberships(db: Session, principal_id: UUID) -> frozenset[Membership]:
    """What somebody is."""
    rows = db.execute(select(MembershipRow.role, MembershipRow.scope).where(MembershipRow.principal_id == principal_id))
    return frozenset(Membership(Role(role), scope) for role, scope in rows)


def add_membership(db: Session, principal_id: UUID, membership: Membership, *, now: datetime) -> MembershipRow | None:
    """Make somebody something; None when he is it already."""
    return db.scalar(
        insert(MembershipRow)
        .values(id=new_id(), principal_id=principal_id, role=membership.role, scope=membership.scope, made_at=now)
        .on_conflict_do_nothing()
        .returning(MembershipRow)
    )


def membership_row(db: Session, principal_id: UUID, membership: Membership) -> MembershipRow | None:
    """The row of one membership."""
    return db.scalar(
        select(MembershipRow).where(
            MembershipRow.principal_id == principal_id,
            MembershipRow.role == membership.role,
            MembershipRow.scope.is_not_distinct_from(membership.scope),
        )
    )


def membership_by_id(db: Session, membership_id: UUID) -> tuple[MembershipRow, PrincipalRow] | None:
    """One membership and whose it is."""
    row = db.execute(
        select(MembershipRow, PrincipalRow)
        .join(PrincipalRow, PrincipalRow.id == MembershipRow.principal_id)
        .where(MembershipRow.id == membership_id)
    ).one_or_none()
    return (row[0], row[1]) if row else None


def memberships_page(
    db: Session, page: PageRequest, *, username: str | None, scope: str | None
) -> Slice[tuple[MembershipRow, PrincipalRow]]:
    """Memberships, newest first, of one name or one scope when that is given."""
    statement = select(MembershipRow, PrincipalRow).join(PrincipalRow, PrincipalRow.id == MembershipRow.principal_id)
    if username is not None:
        statement = statement.where(PrincipalRow.username == username)
    if scope is not None:
        statement = statement.where(MembershipRow.scope == scope)
    return page_of(db, statement, key=MembershipRow.id, page=page, is_newest_first=True)


def members(db: Session, scope: str, roles: tuple[Role, ...]) -> list[tuple[MembershipRow, PrincipalRow]]:
    """Everybody with one of these roles in one scope, by name."""
    rows = db.execute(
        select(MembershipRow, PrincipalRow)
        .join(PrincipalRow, PrincipalRow.id == MembershipRow.principal_id)
        .where(MembershipRow.scope == scope, MembershipRow.role.in_(roles))
        .order_by(PrincipalRow.username, MembershipRow.role)
    )
    return [(membership, who) for membership, who in rows]


def remove_membership(db: Session, membership_id: UUID) -> None:
    """Take one membership away."""
    db.execute(delete(MembershipRow).where(MembershipRow.id == membership_id))


def lock_enrolment(db: Session, token_hash: str) -> EnrolmentRow | None:
    """The enrolment of a token, for this transaction alone."""
    return db.scalar(select(EnrolmentRow).where(EnrolmentRow.token_hash == token_hash).with_for_update())


def agent(db: Session, agent_id: UUID) -> AgentRow | None:
    """An agent that counts: enrolled and not replaced."""
    return db.scalar(select(AgentRow).where(AgentRow.id == agent_id, AgentRow.replaced_at.is_(None)))


def lock_agent(db: Session, agent_id: UUID) -> AgentRow | None:
    """An agent that counts, for this transaction alone."""
    return db.scalar(select(AgentRow).where(AgentRow.id == agent_id, AgentRow.replaced_at.is_(None)).with_for_update())


def lock_agent_of_site(db: Session, site_id: str) -> AgentRow | None:
    """The agent of a site that counts, for this transaction alone."""
    return db.scalar(
        select(AgentRow).where(AgentRow.site_id == site_id, AgentRow.replaced_at.is_(None)).with_for_update()
    )
