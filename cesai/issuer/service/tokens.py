"""Who gets which tokens for what, and when do they end?

A code and a refresh token are good once. Used a second time they have been stolen, and nobody can tell by whom: what
was given for them is taken back from both.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy.orm import Session

from cesai.issuer import rules, store
from cesai.issuer.rules import Client, Config, Denial, Denied, DeviceState, Login, Subject
from cesai.issuer.service import keys, logins, users
from cesai.issuer.tables import ClientSessionRow, CodeRow, DeviceRow, RefreshRow, SessionRow

KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a client is given."""

    access_token: str
    scope: str
    id_token: str | None = None
    refresh_token: str | None = None
    refresh_expires_in: int = 0
    sid: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """What a device shows its person and asks with."""

    device_code: str
    user_code: str


def by_code(
    db: Session, config: Config, client: Client, *, code: str, redirect_uri: str, verifier: str | None, now: datetime
) -> Granted:
    """Tokens for an authorization code.

    Raises:
        Denied: wrong, expired, used, another client's, or without its verifier; the code is burnt then.
    """
    row = store.code(db, code)
    if row is None or row.client_id != client.client_id:
        raise Denied(Denial.WRONG_CODE)
    if row.used_at is not None:
        if row.client_session_id is not None:
            store.end_client_session(db, row.client_session_id, now=now)
        raise Denied(Denial.WRONG_CODE)
    row.used_at = now
    session = store.session(db, row.sid)
    if denial := _judge_code(row, redirect_uri=redirect_uri, verifier=verifier, now=now):
        raise Denied(denial)
    if session is None or not logins.is_live(db, config, session, now=now):
        raise Denied(Denial.SESSION_OVER)
    given = _open_client_session(db, session, client)
    row.client_session_id = given.id
    subject = replace(_subject(db, session, client, scope=row.scope), nonce=row.nonce)
    return _give(db, config, given, session=session, subject=subject, now=now)


def _judge_code(row: CodeRow, *, redirect_uri: str, verifier: str | None, now: datetime) -> Denial | None:
    if row.expires_at <= now:
        return Denial.WRONG_CODE
    if row.redirect_uri != redirect_uri:
        return Denial.WRONG_REDIRECT
    return rules.check_verifier(row.challenge, verifier)


def by_refresh(
    db: Session, config: Config, client: Client, *, refresh_token: str, scope: str | None, now: datetime
) -> Granted:
    """The next tokens for a refresh token, which is used up.

    Raises:
        Denied: wrong, expired, used before (then the whole client session ends), or the login is over.
    """
    row = store.refresh(db, refresh_token)
    given = store.client_session(db, row.client_session_id) if row else None
    if row is None or given is None or given.client_id != client.client_id:
        raise Denied(Denial.WRONG_REFRESH)
    if row.used_at is not None:
        store.end_client_session(db, given.id, now=now)
        raise Denied(Denial.REUSED)
    row.used_at = now
    session = store.session(db, given.sid)
    if row.expires_at <= now:
        raise Denied(Denial.TOKEN_OVER)
    if session is not None and not store.user_by_id(db, session.user_id).is_enabled:
        raise Denied(Denial.USER_DISABLED)
    if given.ended_at is not None or session is None or not logins.is_live(db, config, session, now=now):
        raise Denied(Denial.SESSION_OVER)
    if scope is not None and not set(scope.split()) <= set(row.scope.split()):
        raise Denied(Denial.STRANGE_SCOPE)
    subject = _subject(db, session, client, scope=row.scope)
    return _give(db, config, given, session=session, subject=subject, now=now)


def by_itself(db: Session, config: Config, client: Client, *, scope: str, now: datetime) -> Granted:
    """A token with which a client acts for itself.

    Raises:
        Denied: it may not, or asks for a scope that there is not.
    """
    if client.is_public or not client.has_service:
        raise Denied(Denial.NO_SERVICE)
    if not rules.is_scope_known(scope):
        raise Denied(Denial.STRANGE_SCOPE)
    subject = Subject(
        person=rules.service_person(client), client=client, scope=rules.granted_scope(scope), jti_prefix="trrtcc"
    )
    claims = rules.access_claims(config, subject, jti=uuid4(), now=now)
    return Granted(access_token=keys.sign(db, claims), scope=subject.scope)


def start_device(db: Session, client: Client, *, scope: str, now: datetime) -> DeviceCodes:
    """A device asks to be let in.

    Raises:
        Denied: its client may not do so, or asks for a scope that there is not.
    """
    if not client.has_device:
        raise Denied(Denial.NO_DEVICE_FLOW)
    if not rules.is_scope_known(scope):
        raise Denied(Denial.STRANGE_SCOPE)
    codes = DeviceCodes(device_code=store.new_secret(), user_code=_new_user_code())
    db.add(
        DeviceRow(
            device_hash=store.hash_of(codes.device_code),
            user_code=codes.user_code,
            client_id=client.client_id,
            scope=rules.granted_scope(scope),
            interval_s=rules.DEVICE_INTERVAL_S,
            expires_at=now + rules.DEVICE_LASTS,
            last_poll_at=None,
            is_approved=None,
            sid=None,
            used_at=None,
        )
    )
    return codes


def _new_user_code() -> str:
    return "".join(secrets.choice(rules.USER_CODE_LETTERS) for _ in range(rules.USER_CODE_LENGTH))


def by_device(db: Session, config: Config, client: Client, *, device_code: str, now: datetime) -> Granted:
    """Tokens for a device that was let in.

    Raises:
        Denied: not yet, too often asked, denied, expired, or no such code.
    """
    row = store.device(db, device_code)
    if row is None or row.client_id != client.client_id:
        raise Denied(Denial.WRONG_DEVICE)
    state = DeviceState(
        expires_at=row.expires_at,
        interval_s=row.interval_s,
        last_poll_at=row.last_poll_at,
        is_used=row.used_at is not None,
        is_approved=row.is_approved,
    )
    denial = rules.judge_device(state, now)
    row.last_poll_at = now
    if denial is Denial.SLOW_DOWN:
        row.interval_s += rules.SLOWER_BY_S
    if denial is not None:
        raise Denied(denial)
    row.used_at = now
    session = store.session(db, row.sid) if row.sid else None
    if session is None or not logins.is_live(db, config, session, now=now):
        raise Denied(Denial.SESSION_OVER)
    given = _open_client_session(db, session, client)
    subject = replace(_subject(db, session, client, scope=row.scope), jti_prefix="onrtdg")
    return _give(db, config, given, session=session, subject=subject, now=now)


def _open_client_session(db: Session, session: SessionRow, client: Client) -> ClientSessionRow:
    row = ClientSessionRow(id=uuid4(), sid=session.sid, client_id=client.client_id, ended_at=None)
    db.add(row)
    db.flush()
    return row


def _give(
    db: Session,
    config: Config,
    given: ClientSessionRow,
    *,
    session: SessionRow,
    subject: Subject,
    now: datetime,
) -> Granted:
    session.last_used_at = now
    access_token = keys.sign(db, rules.access_claims(config, subject, jti=uuid4(), now=now))
    refresh_token = store.new_secret()
    ends = min(now + config.idle, session.started_at + config.longest)
    db.add(
        RefreshRow(
            token_hash=store.hash_of(refresh_token),
            client_session_id=given.id,
            scope=subject.scope,
            expires_at=ends,
            used_at=None,
        )
    )
    return Granted(
        access_token=access_token,
        scope=subject.scope,
        id_token=_id_token(db, config, subject, access_token=access_token, now=now),
        refresh_token=refresh_token,
        refresh_expires_in=int((ends - now).total_seconds()),
        sid=session.sid,
    )


def _subject(db: Session, session: SessionRow, client: Client, *, scope: str) -> Subject:
    return Subject(
        person=users.person(store.user_by_id(db, session.user_id)),
        client=client,
        scope=scope,
        login=Login(sid=session.sid, at=session.started_at),
    )


def _id_token(db: Session, config: Config, subject: Subject, *, access_token: str, now: datetime) -> str | None:
    if "openid" not in subject.scope.split():
        return None
    return keys.sign(db, rules.id_claims(config, subject, jti=uuid4(), now=now, access_token=access_token))


def active_claims(db: Session, config: Config, token: str, *, now: datetime) -> dict[str, Any] | None:
    """What an access token says, with the person's roles of today; None when it is not good (any more)."""
    claims = keys.read(db, token)
    if claims is None or claims.get("typ") != "Bearer" or claims.get("iss") != config.issuer:
        return None
    if claims["exp"] <= now.timestamp() or claims["azp"] not in config.clients:
        return None
    if "sid" not in claims:
        return claims
    session = store.session(db, claims["sid"])
    if session is None or not logins.is_live(db, config, session, now=now):
        return None
    if not store.has_client_session(db, session.sid, claims["azp"]):
        return None
    person = users.person(store.user_by_id(db, session.user_id))
    current = {"realm_access": {"roles": list(person.roles)}} | rules.person_claims(person, is_service=False)
    return {name: value for name, value in claims.items() if name != "groups"} | current


def log_out(db: Session, config: Config, *, id_token_hint: str, now: datetime) -> Client | None:
    """End the login that an id token speaks of, expired or not; the client that it was made for."""
    claims = keys.read(db, id_token_hint)
    if claims is None or claims.get("typ") != "ID" or claims.get("iss") != config.issuer:
        return None
    store.end_session(db, str(claims.get("sid")), now=now)
    return config.clients.get(str(claims.get("azp")))


def log_out_browser(db: Session, browser: logins.Browser, *, now: datetime) -> None:
    """End the login of a browser."""
    row = store.session_of_cookie(db, browser.session) if browser.session else None
    if row is not None:
        store.end_session(db, row.sid, now=now)


def log_out_refresh(db: Session, client: Client, *, refresh_token: str, now: datetime) -> None:
    """End the login that a refresh token belongs to.

    Raises:
        Denied: it is none of this client's.
    """
    row = store.refresh(db, refresh_token)
    given = store.client_session(db, row.client_session_id) if row else None
    if given is None or given.client_id != client.client_id:
        raise Denied(Denial.WRONG_REFRESH)
    store.end_session(db, given.sid, now=now)


def revoke(db: Session, client: Client, *, token: str, now: datetime) -> None:
    """Take a token back, and with it what this client got from that login. A strange token changes nothing.

    Source: RFC 7009, section 2.2.
    """
    row = store.refresh(db, token)
    if row is not None:
        given = store.client_session(db, row.client_session_id)
        if given.client_id == client.client_id:
            store.end_client_session(db, given.id, now=now)
        return
    claims = keys.read(db, token)
    if claims is not None and claims.get("azp") == client.client_id and "sid" in claims:
        store.end_client_sessions(db, str(claims["sid"]), client.client_id, now=now)


def forget(db: Session, *, now: datetime) -> None:
    """Forget codes and pages that ended long ago."""
    store.purge(db, now=now, kept=KEPT)
