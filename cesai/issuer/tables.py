"""Which rows does the room `issuer` keep? All of its state: a restart keeps every login."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from cesai.db.base import Table


class KeyRow(Table):
    """A signing key. One signs; former ones are still published, so that their tokens stay good."""

    __tablename__ = "issuer_key"
    __table_args__ = (
        Index(
            "uq_issuer_key_signs",
            text("(retired_at IS NULL)"),
            unique=True,
            postgresql_where=text("retired_at IS NULL"),
        ),
    )

    kid: Mapped[str] = mapped_column(primary_key=True)
    private_jwk: Mapped[dict[str, Any]]
    made_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class UserRow(Table):
    """Somebody who can log in."""

    __tablename__ = "issuer_user"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    name: Mapped[str]
    email: Mapped[str]
    roles: Mapped[list[Any]]
    groups: Mapped[list[Any]]
    is_enabled: Mapped[bool]


class FailureRow(Table):
    """Wrong passwords in a row for one name, whether or not somebody has it."""

    __tablename__ = "issuer_failure"

    username: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime]


class SessionRow(Table):
    """A person's login in one browser."""

    __tablename__ = "issuer_session"

    sid: Mapped[str] = mapped_column(primary_key=True)
    cookie_hash: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("issuer_user.id"))
    started_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class LoginRow(Table):
    """A login page that is open in one browser, and what it is for."""

    __tablename__ = "issuer_login"

    id_hash: Mapped[str] = mapped_column(primary_key=True)
    browser_hash: Mapped[str]
    wish: Mapped[dict[str, Any]]
    sid: Mapped[str | None] = mapped_column(ForeignKey("issuer_session.sid"))
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ClientSessionRow(Table):
    """What one client got from one login. It ends as a whole when a refresh token is used twice."""

    __tablename__ = "issuer_client_session"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    sid: Mapped[str] = mapped_column(ForeignKey("issuer_session.sid"), index=True)
    client_id: Mapped[str]
    ended_at: Mapped[datetime | None]


class CodeRow(Table):
    """An authorization code; it is good for one minute and one use."""

    __tablename__ = "issuer_code"

    code_hash: Mapped[str] = mapped_column(primary_key=True)
    sid: Mapped[str] = mapped_column(ForeignKey("issuer_session.sid"))
    client_id: Mapped[str]
    redirect_uri: Mapped[str]
    scope: Mapped[str]
    nonce: Mapped[str | None]
    challenge: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    client_session_id: Mapped[UUID | None] = mapped_column(ForeignKey("issuer_client_session.id"))


class DeviceRow(Table):
    """A device that waits for a person to let it in."""

    __tablename__ = "issuer_device"

    device_hash: Mapped[str] = mapped_column(primary_key=True)
    user_code: Mapped[str] = mapped_column(unique=True)
    client_id: Mapped[str]
    scope: Mapped[str]
    interval_s: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    last_poll_at: Mapped[datetime | None]
    is_approved: Mapped[bool | None]
    sid: Mapped[str | None] = mapped_column(ForeignKey("issuer_session.sid"))
    used_at: Mapped[datetime | None]


class RefreshRow(Table):
    """A refresh token; each is used once and followed by the next."""

    __tablename__ = "issuer_refresh"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    client_session_id: Mapped[UUID] = mapped_column(ForeignKey("issuer_client_session.id"), index=True)
    scope: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class AssertionRow(Table):
    """A client's own signed word; each is heard once."""

    __tablename__ = "issuer_assertion"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
