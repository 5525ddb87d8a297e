"""How are keys, users, sessions and codes found? Secrets are found by their hash; they are never kept."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cesai.issuer.tables import (
    AssertionRow,
    ClientSessionRow,
    CodeRow,
    DeviceRow,
    FailureRow,
    KeyRow,
    LoginRow,
    RefreshRow,
    SessionRow,
    UserRow,
)

SECRET_BYTES = 32


def new_secret() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(SECRET_BYTES)


def hash_of(secret: str) -> str:
    """Under what a secret is found."""
    return hashlib.sha256(secret.encode()).hexdigest()


def signing_key(db: Session) -> KeyRow | None:
    """The key that signs."""
    return db.scalar(select(KeyRow).where(KeyRow.retired_at.is_(None)))


def add_key(db: Session, kid: str, private_jwk: dict[str, object], *, now: datetime) -> None:
    """Make a key the one that signs, unless there is one."""
    added = insert(KeyRow).values(kid=kid, private_jwk=private_jwk, made_at=now, retired_at=None)
    db.execute(added.on_conflict_do_nothing())


def retire_keys(db: Session, *, now: datetime) -> None:
    """Let no key sign any more; they stay published."""
    db.execute(update(KeyRow).where(KeyRow.retired_at.is_(None)).values(retired_at=now))


def keys(db: Session) -> list[KeyRow]:
    """Every published key, newest first."""
    return list(db.scalars(select(KeyRow).order_by(KeyRow.made_at.desc(), KeyRow.kid)))


def user(db: Session, username: str) -> UserRow | None:
    """Who has this name."""
    return db.scalar(select(UserRow).where(UserRow.username == username))


def users(db: Session) -> list[UserRow]:
    """Everybody."""
    return list(db.scalars(select(UserRow)))


def user_by_id(db: Session, user_id: UUID) -> UserRow:
    """Somebody who is there."""
    return db.get_one(UserRow, user_id)


def failure(db: Session, username: str) -> FailureRow | None:
    """Wrong passwords in a row, for this transaction alone."""
    return db.scalar(select(FailureRow).where(FailureRow.username == username).with_for_update())


def count_failure(db: Session, username: str, *, now: datetime) -> None:
    """One more wrong password."""
    added = insert(FailureRow).values(username=username, failures=1, last_at=now)
    more = {"failures": FailureRow.failures + 1, "last_at": now}
    db.execute(added.on_conflict_do_update(index_elements=[FailureRow.username], set_=more))


def forget_failures(db: Session, username: str) -> None:
    """The password was right."""
    db.execute(delete(FailureRow).where(FailureRow.username == username))


def session_of_cookie(db: Session, cookie: str) -> SessionRow | None:
    """The login of a browser that has not ended."""
    return db.scalar(select(SessionRow).where(SessionRow.cookie_hash == hash_of(cookie), SessionRow.ended_at.is_(None)))


def session(db: Session, sid: str) -> SessionRow | None:
    """A login by its name in tokens."""
    return db.get(SessionRow, sid)


def end_session(db: Session, sid: str, *, now: datetime) -> None:
    """Log somebody out, everywhere this login was used."""
    db.execute(update(SessionRow).where(SessionRow.sid == sid, SessionRow.ended_at.is_(None)).values(ended_at=now))
    db.execute(
        update(ClientSessionRow)
        .where(ClientSessionRow.sid == sid, ClientSessionRow.ended_at.is_(None))
        .values(ended_at=now)
    )


def end_sessions_of(db: Session, user_id: UUID, *, now: datetime) -> None:
    """Log somebody out everywhere."""
    for sid in list(db.scalars(select(SessionRow.sid).where(SessionRow.user_id == user_id))):
        end_session(db, sid, now=now)


def end_client_session(db: Session, client_session_id: UUID, *, now: datetime) -> None:
    """Take back what one client got from one login."""
    db.execute(update(ClientSessionRow).where(ClientSessionRow.id == client_session_id).values(ended_at=now))


def end_client_sessions(db: Session, sid: str, client_id: str, *, now: datetime) -> None:
    """Take back everything that one client got from one login."""
    mine = (ClientSessionRow.sid == sid, ClientSessionRow.client_id == client_id, ClientSessionRow.ended_at.is_(None))
    db.execute(update(ClientSessionRow).where(*mine).values(ended_at=now))


def client_session(db: Session, client_session_id: UUID) -> ClientSessionRow:
    """What one client got, for this transaction alone."""
    return db.get_one(ClientSessionRow, client_session_id, with_for_update=True)


def has_client_session(db: Session, sid: str, client_id: str) -> bool:
    """Whether a client still has something of this login."""
    wanted = select(ClientSessionRow.id).where(
        ClientSessionRow.sid == sid, ClientSessionRow.client_id == client_id, ClientSessionRow.ended_at.is_(None)
    )
    return db.scalar(wanted.limit(1)) is not None


def login(db: Session, login_id: str) -> LoginRow | None:
    """An open login page, for this transaction alone."""
    return db.scalar(select(LoginRow).where(LoginRow.id_hash == hash_of(login_id)).with_for_update())


def code(db: Session, code: str) -> CodeRow | None:
    """An authorization code, for this transaction alone."""
    return db.scalar(select(CodeRow).where(CodeRow.code_hash == hash_of(code)).with_for_update())


def device(db: Session, device_code: str) -> DeviceRow | None:
    """A waiting device, for this transaction alone."""
    return db.scalar(select(DeviceRow).where(DeviceRow.device_hash == hash_of(device_code)).with_for_update())


def device_of_user_code(db: Session, user_code: str) -> DeviceRow | None:
    """A waiting device by what its person types, for this transaction alone."""
    return db.scalar(select(DeviceRow).where(DeviceRow.user_code == user_code).with_for_update())


def refresh(db: Session, token: str) -> RefreshRow | None:
    """A refresh token, for this transaction alone."""
    return db.scalar(select(RefreshRow).where(RefreshRow.token_hash == hash_of(token)).with_for_update())


def hear_assertion(db: Session, client_id: str, jti: str, *, expires_at: datetime) -> bool:
    """Whether this word of a client is heard for the first time."""
    added = (
        insert(AssertionRow)
        .values(client_id=client_id, jti=jti, expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(AssertionRow.jti)
    )
    return db.execute(added).first() is not None


def purge(db: Session, *, now: datetime, kept: timedelta) -> None:
    """Forget what ended long ago."""
    for table in (LoginRow, CodeRow, DeviceRow, RefreshRow, AssertionRow):
        db.execute(delete(table).where(table.expires_at < now - kept))
    db.execute(delete(FailureRow).where(FailureRow.last_at < now - kept))
