"""Which rows does the room `access` keep?"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from cesai.db.base import Table


class PrincipalRow(Table):
    """A person or program; without a subject until the first login."""

    __tablename__ = "principal"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str | None] = mapped_column(unique=True)
    username: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    made_at: Mapped[datetime]
    first_login_at: Mapped[datetime | None]


class MembershipRow(Table):
    """A role of a principal."""

    __tablename__ = "membership"
    __table_args__ = (
        Index(
            "uq_membership_principal_id_role_scope",
            "principal_id",
            "role",
            "scope",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    principal_id: Mapped[UUID] = mapped_column(ForeignKey("principal.id"))
    role: Mapped[str]
    scope: Mapped[str | None] = mapped_column(index=True)
    made_at: Mapped[datetime]


class AuditRow(Table):
    """Something that was done, by whom. Only ever added: a trigger refuses changes."""

    __tablename__ = "audit_entry"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]
    actor_id: Mapped[UUID | None]
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    details: Mapped[dict[str, Any]]


class EnrolmentRow(Table):
    """A one-time token with which a site's agent may say who it is."""

    __tablename__ = "agent_enrolment"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    made_by: Mapped[str]
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class AgentRow(Table):
    """An agent that enrolled. A site has one that counts."""

    __tablename__ = "site_agent"
    __table_args__ = (
        Index("uq_site_agent_site_id", "site_id", unique=True, postgresql_where=text("replaced_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    public_key: Mapped[dict[str, Any]]
    agent_version: Mapped[str]
    instance_id: Mapped[str | None]
    last_sequence: Mapped[int]
    enrolled_at: Mapped[datetime]
    replaced_at: Mapped[datetime | None]
