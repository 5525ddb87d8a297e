"""Who can log in, and is this his password?"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy.orm import Session

from cesai.issuer import rules, store
from cesai.issuer.rules import Person
from cesai.issuer.tables import UserRow

# What OWASP's cheat sheet asks for at least: 16 MiB and some 50 ms each.
COST = 2**14
BLOCK = 8
PARALLEL = 1
SALT_BYTES = 16
HASH_BYTES = 32
MEMORY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seed:
    """Somebody whom the operator's file names."""

    username: str
    password: str
    name: str
    email: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def hash_password(password: str) -> str:
    """How a password is kept."""
    salt = os.urandom(SALT_BYTES)
    return f"scrypt:{COST}:{BLOCK}:{PARALLEL}:{_text(salt)}:{_text(_scrypt(password, salt, COST, BLOCK, PARALLEL))}"


def is_password(password: str, kept: str) -> bool:
    """Whether this is the password that was kept."""
    _, cost, block, parallel, salt, digest = kept.split(":")
    made = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(made, base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, *cost: int) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=MEMORY, dklen=HASH_BYTES)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


# A name that nobody has takes as long to refuse as a wrong password.
_NOBODY = hash_password("nobody")


def seed(db: Session, people: Iterable[Seed], *, now: datetime) -> None:
    """Let exactly these people log in. Who is known keeps his id; who is no more named is logged out and kept out."""
    named = {each.username: each for each in people}
    known = {row.username: row for row in store.users(db)}
    for username, row in known.items():
        if username not in named and row.is_enabled:
            row.is_enabled = False
            store.end_sessions_of(db, row.id, now=now)
    for username, each in named.items():
        _take(db, each, known.get(username))


def _take(db: Session, each: Seed, row: UserRow | None) -> None:
    if row is None:
        row = UserRow(id=uuid4(), username=each.username, password_hash=hash_password(each.password))
        db.add(row)
    elif not is_password(each.password, row.password_hash):
        row.password_hash = hash_password(each.password)
    row.name, row.email = each.name, each.email
    row.roles, row.groups = list(each.roles), list(each.groups)
    row.is_enabled = True


def authenticate(db: Session, username: str, password: str, *, now: datetime) -> UserRow | None:
    """Who this is, or None. After some wrong passwords in a row a name has to wait, longer each time."""
    failure = store.failure(db, username)
    if failure is not None and now - failure.last_at < rules.wait_after(failure.failures):
        return None
    row = store.user(db, username)
    is_right = is_password(password, row.password_hash if row else _NOBODY)
    if row is None or not row.is_enabled or not is_right:
        store.count_failure(db, username, now=now)
        return None
    store.forget_failures(db, username)
    return row


def person(row: UserRow) -> Person:
    """What tokens say about somebody."""
    return Person(
        subject=row.id,
        username=row.username,
        name=row.name,
        email=row.email,
        roles=tuple(row.roles),
        groups=tuple(row.groups),
    )
