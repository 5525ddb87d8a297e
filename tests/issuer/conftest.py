"""How does a test stand before the issuer's login page?"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import RSAKey
from sqlalchemy import create_engine

from cesai.hub.app import create_app, prepare
from cesai.hub.settings import Settings
from cesai.issuer import store
from cesai.issuer.service import users
from tests.acting import Api, rebound

HUB = "http://127.0.0.1:8000"
REALM = f"{HUB}/realms/cesai"
PROTOCOL = "/realms/cesai/protocol/openid-connect"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
CALLBACK = f"{HUB}/login/callback"
SERVICE_KEY = RSAKey.generate_key(2048, {"kid": "service-key"})
PEOPLE: dict[str, Any] = {
    "users": [
        {
            "username": "rita",
            "password": "rita's secret",
            "name": "Rita Maria Test",
            "email": "rita@example.org",
            "roles": ["researcher"],
            "groups": ["/projects/legal-llm/members"],
        },
        {"username": "olga", "password": "olga's secret", "name": "Olga", "email": "o@example.org"},
    ],
    "clients": [
        {"client_id": "cesai-hub", "secret": "hub secret", "has_service": True, "roles": ["operator"]},
        {
            "client_id": "service",
            "jwks": {"keys": [SERVICE_KEY.as_dict(private=False)]},
            "has_service": True,
            "groups": ["/sites/rwth"],
        },
    ],
}


@dataclass
class Issuer:
    """The issuer, and one browser before it."""

    api: Api
    clock: Any

    def form(self, path: str, **words: str):
        """Send a form to one of the protocol's paths."""
        return self.api.anonymous.post(f"{PROTOCOL}/{path}", data=words, key="")

    def auth(self, **changes: str | None):
        """Come to the login page for the portal."""
        words = {
            "client_id": "cesai-portal",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid",
            "state": "s1",
            "nonce": "n1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        } | changes
        plain = {name: value for name, value in words.items() if value is not None}
        return self.api.anonymous.get(f"{PROTOCOL}/auth", params=plain)

    def submit(self, page, **fields: str):
        """Fill in the one form of a page and send it."""
        form = re.search(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', page.text, re.DOTALL)
        assert form, page.text
        hidden = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form[2]))
        return self.api.anonymous.post(form[1], data=hidden | fields, key="")

    def log_in(self, page, username: str = "rita", password: str = "rita's secret"):
        """Fill in the login page."""
        return self.submit(page, username=username, password=password)

    def code(self, **changes: str | None) -> str:
        """Log in and bring the code back."""
        answer = self.auth(**changes)
        if answer.status_code == 200:
            answer = self.log_in(answer)
        return query(answer)["code"]

    def redeem(self, code: str, **changes: str):
        """Ask for the tokens of a code."""
        words = {
            "grant_type": "authorization_code",
            "client_id": "cesai-portal",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        return self.form("token", **(words | changes))

    def tokens(self) -> dict[str, Any]:
        """Tokens of a fresh login."""
        return self.redeem(self.code()).json()

    def refresh(self, token: str):
        """Ask for the next tokens."""
        return self.form("token", grant_type="refresh_token", client_id="cesai-portal", refresh_token=token)

    def userinfo(self, token: str):
        """Ask who a token is."""
        return self.api.with_token(token).get(f"{PROTOCOL}/userinfo")

    def introspect(self, token: str) -> dict[str, Any]:
        """Ask, as the hub, whether a token is good."""
        return self.form("token/introspect", client_id="cesai-hub", client_secret="hub secret", token=token).json()


def query(answer) -> dict[str, str]:
    """What a redirect tells the client."""
    assert answer.status_code == 302, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, not checked."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def write_people(folder, people: dict[str, Any]):
    """The operator's file."""
    file = folder / "people.json"
    file.write_text(json.dumps(people))
    file.chmod(0o600)
    return file


SIGNING_KEY = RSAKey.generate_key(2048, {"kid": "issuer-key", "use": "sig", "alg": "RS256"})


@pytest.fixture(scope="session")
def issuer_app(tmp_path_factory):
    """The hub with the embedded issuer, built once."""
    file = write_people(tmp_path_factory.mktemp("people"), PEOPLE)
    settings = Settings(public_url=HUB, issuer_users_file=file, _env_file=None)
    return create_app(settings, engine=create_engine("postgresql+psycopg://"))


@pytest.fixture
def issuer(db, clock, issuer_app, monkeypatch) -> Issuer:
    """The embedded issuer over the test's own session; its passwords are hashed cheaply, its key is made once."""
    monkeypatch.setattr(users, "COST", 2**4)
    store.add_key(db, "issuer-key", dict(SIGNING_KEY.as_dict(private=True)), now=clock.now())
    app = rebound(issuer_app, db, clock)
    prepare(app)
    client = TestClient(app, base_url=HUB, follow_redirects=False)
    return Issuer(Api(app, client, db), clock)
