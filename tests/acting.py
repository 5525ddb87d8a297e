"""How does a test act as a researcher, an operator, an agent?

Tokens are real ones, signed with a key of the test session's own which the hub's verifier is given as the issuer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import Role
from cesai.access.tokens import Fetch
from cesai.contract.messages import EnrolRequest
from cesai.hub.app import create_app, make_verifier
from cesai.hub.settings import Settings
from cesai.hub.worker import Waker

ISSUER = "http://issuer.test/realms/cesai"
AUDIENCE = "cesai-hub"


@cache
def signing_key() -> RSAKey:
    """The issuer's key."""
    return RSAKey.generate_key(2048, {"kid": "test-key", "use": "sig", "alg": "RS256"})


def issuer_keys() -> dict[str, Any]:
    """What the issuer would answer under /certs."""
    return {"keys": [signing_key().as_dict(private=False)]}


@cache
def hub_app() -> FastAPI:
    """The hub that believes the test issuer. It is built once: that takes longer than most tests."""
    return create_app(Settings(issuer_url=ISSUER, _env_file=None), engine=create_engine("postgresql+psycopg://"))


def rebound(app: FastAPI, db: Session, clock: HandClock, *, fetch_keys: Fetch | None = None) -> FastAPI:
    """This app over another session and clock, without anything that it remembered."""
    app.state.engine = db.connection()
    app.state.clock = clock
    app.state.verifier = make_verifier(app, app.state.settings, fetch_keys)
    app.state.wake = Waker(app.state.celery, is_embedded=True)
    return app


def claims(username: str, now: datetime, **changes: object) -> dict[str, Any]:
    """An access token's claims as Keycloak makes them; a change to None leaves a claim out."""
    at = int(now.timestamp())
    plain: dict[str, Any] = {
        "exp": at + 300,
        "iat": at,
        "jti": f"onrtac:{uuid4()}",
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": f"subject-of-{username}",
        "typ": "Bearer",
        "azp": "cesai-cli",
        "realm_access": {"roles": []},
        "scope": "openid email profile",
        "name": username.title(),
        "preferred_username": username,
    }
    return {name: value for name, value in (plain | changes).items() if value is not None}


def sign(payload: dict[str, Any], **header: object) -> str:
    """These claims as a token of the issuer."""
    full = {"alg": "RS256", "typ": "JWT", "kid": "test-key"} | header
    return jwt.encode(full, payload, signing_key())


class HandClock:
    """A clock that a test moves by hand."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """UTC, with zone."""
        return self._now

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by


class Acting:
    """A client that acts as one principal: `post`, `get`, `put`, `delete` below the hub's root."""

    def __init__(self, api: Api, headers: dict[str, str]) -> None:
        self._api = api
        self._headers = headers

    def request(self, method: str, path: str, *, key: str | None = None, **options: Any):
        """Send one request; a POST gets a fresh Idempotency-Key unless it is given."""
        headers = dict(self._headers) | dict(options.pop("headers", {}))
        if method == "POST" and key != "":
            headers.setdefault("Idempotency-Key", key or uuid4().hex)
        with self._api.settled():
            return self._api.client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any):
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any):
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any):
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any):
        return self.request("DELETE", path, **options)


class Api:
    """The hub over the test's own, rolled back session."""

    def __init__(self, app: FastAPI, client: TestClient, db: Session) -> None:
        self.app = app
        self.client = client
        self.db = db
        self.anonymous = Acting(self, {})

    @property
    def now(self) -> datetime:
        """The hub's time."""
        return self.app.state.clock.now()

    def as_(self, role: Role | str, scope: str | None = None, *, username: str | None = None) -> Acting:
        """Somebody who has this role, and whose name is made of it unless one is given."""
        name = username or "-".join(filter(None, (role, scope)))
        access.grant(self.db, username=name, role=Role(role), scope=scope, by="test", now=self.now)
        return self.as_person(name)

    def as_person(self, username: str, **changes: object) -> Acting:
        """Somebody with no role but what he was given before."""
        return self.with_token(sign(claims(username, self.now, **changes)))

    def with_token(self, token: str) -> Acting:
        """Whoever sends this token."""
        return Acting(self, {"Authorization": f"Bearer {token}"})

    def as_agent(self, site_id: str, *, instance_id: str = "instance-1") -> Acting:
        """A newly enrolled agent of this site."""
        key = ECKey.generate_key("P-256")
        token = access.make_enrolment(self.db, site_id, by="test", now=self.now)
        request = EnrolRequest(
            token=token, instance_id=instance_id, agent_version="0.1.0", public_key=key.as_dict(private=False)
        )
        reply = access.enrol(self.db, request, now=self.now)
        return self.with_token(agent_token(reply.agent_id, key, self.now))

    @contextmanager
    def settled(self) -> Iterator[None]:
        """The test's session and the request see what the other wrote."""
        self.db.flush()
        self.db.connection()  # opens the savepoint in which the request's own transaction is one more
        yield
        self.db.expire_all()


def agent_token(agent_id: str, key: ECKey, now: datetime, **changes: object) -> str:
    """A token as an agent signs it."""
    payload: dict[str, Any] = {
        "iss": agent_id,
        "aud": AUDIENCE,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=4)).timestamp()),
        "jti": uuid4().hex,
    }
    full = {name: value for name, value in (payload | changes).items() if value is not None}
    return jwt.encode({"alg": "ES256", "kid": agent_id}, full, key)
