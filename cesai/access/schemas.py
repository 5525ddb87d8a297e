"""What do people send and get about access?"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

from cesai.access import service
from cesai.access.rules import Caller, Membership, Role
from cesai.access.service import Granted

Username = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]


class MembershipIn(BaseModel):
    """Make somebody something."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: Username
    role: Role
    scope: Annotated[str, StringConstraints(max_length=64)] | None = None


class MembershipWord(BaseModel):
    """A role and what it is limited to."""

    model_config = ConfigDict(frozen=True)

    role: Role
    scope: str | None

    @classmethod
    def of(cls, membership: Membership) -> Self:
        """As the rules know it."""
        return cls(role=membership.role, scope=membership.scope)


class MeOut(BaseModel):
    """Who the caller is for the hub."""

    model_config = ConfigDict(frozen=True)

    username: str
    name: str
    memberships: list[MembershipWord]

    @classmethod
    def of(cls, caller: Caller) -> Self:
        """As the hub knows him."""
        words = [MembershipWord.of(each) for each in service.membership_words(caller.memberships)]
        return cls(username=caller.username, name=caller.name, memberships=words)


class MembershipOut(BaseModel):
    """A membership and whose it is."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    username: str
    role: Role
    scope: str | None
    made_at: datetime

    @classmethod
    def of(cls, granted: Granted) -> Self:
        """As it is kept."""
        row, who = granted
        return cls(id=row.id, username=who.username, role=Role(row.role), scope=row.scope, made_at=row.made_at)
