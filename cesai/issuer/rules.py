"""Which logins, codes and tokens are good?

Words, claims and errors are those of Keycloak 26, so that the hub and its clients cannot tell the two apart.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

from cesai.kernel.errors import OnRecord

ACCESS_LASTS = timedelta(minutes=5)
CODE_LASTS = timedelta(minutes=1)
LOGIN_LASTS = timedelta(minutes=30)
DEVICE_LASTS = timedelta(minutes=10)
ASSERTION_LASTS = timedelta(hours=1)
DEVICE_INTERVAL_S = 5
SLOWER_BY_S = 5
FREE_FAILURES = 5
LONGEST_WAIT_S = 60
LANGUAGES = ("de", "en")
WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")
SCOPES = ("openid", "email", "profile")
# Keycloak's default scopes of a client: given also when they are not asked for.
DEFAULT_SCOPES = ("email", "profile")
# No vowels, so that no code is a word; nothing that looks like something else.
USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
USER_CODE_LENGTH = 8


class Denial(Enum):
    """Why the issuer says no: OAuth's word and Keycloak's sentence."""

    UNKNOWN_CLIENT = ("invalid_client", "Invalid client or Invalid client credentials")
    WRONG_SECRET = ("unauthorized_client", "Invalid client or Invalid client credentials")
    WRONG_ASSERTION = ("invalid_client", "Invalid client or Invalid client credentials.")
    ASSERTION_REUSED = ("invalid_client", "Token reuse detected")
    NO_GRANT_TYPE = ("invalid_request", "Missing form parameter: grant_type")
    STRANGE_GRANT_TYPE = ("unsupported_grant_type", "Unsupported grant_type")
    MISSING = ("invalid_request", "A form parameter is missing")
    NO_CODE_FLOW = ("unauthorized_client", "Client is not allowed to initiate browser login")
    NO_DEVICE_FLOW = (
        "unauthorized_client",
        "Client is not allowed to initiate OAuth 2.0 Device Authorization Grant. The flow is disabled for the client.",
    )
    NO_SERVICE = ("unauthorized_client", "Client not enabled to retrieve service account")
    WRONG_CODE = ("invalid_grant", "Code not valid")
    WRONG_REDIRECT = ("invalid_grant", "Incorrect redirect_uri")
    NO_VERIFIER = ("invalid_grant", "PKCE code verifier not specified")
    WRONG_VERIFIER = ("invalid_grant", "PKCE verification failed: Code mismatch")
    WRONG_REFRESH = ("invalid_grant", "Invalid refresh token")
    TOKEN_OVER = ("invalid_grant", "Token is not active")
    SESSION_OVER = ("invalid_grant", "Session not active")
    REUSED = ("invalid_grant", "Maximum allowed refresh token reuse exceeded")
    USER_DISABLED = ("invalid_grant", "User disabled")
    WRONG_DEVICE = ("invalid_grant", "Device code not valid")
    PENDING = ("authorization_pending", "The authorization request is still pending")
    SLOW_DOWN = ("slow_down", "Slow down")
    DENIED = ("access_denied", "The end user denied the authorization request")
    DEVICE_OVER = ("expired_token", "Device code is expired")
    STRANGE_SCOPE = ("invalid_scope", "Invalid scopes")
    NO_PKCE = ("invalid_request", "Missing parameter: code_challenge_method")
    OTHER_PKCE = ("invalid_request", "Invalid parameter: code challenge method is not matching the configured one")
    WRONG_CHALLENGE = ("invalid_request", "Invalid parameter: code_challenge")
    NO_CODE_TYPE = ("unsupported_response_type", "Response type is not supported")
    LOGIN_REQUIRED = ("login_required", "")

    @property
    def error(self) -> str:
        """OAuth's word."""
        return self.value[0]

    @property
    def description(self) -> str:
        """Keycloak's sentence."""
        return self.value[1]


class Denied(OnRecord):
    """The issuer says no. What it wrote down for that stays: a code is burnt, a session is ended."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.description)
        self.denial = denial


@dataclass(frozen=True, slots=True)
class Client:
    """A program that may ask for tokens."""

    client_id: str
    name: str
    secret: str | None = None
    jwks: Mapping[str, Any] | None = None
    redirect_uris: tuple[str, ...] = ()
    post_logout_uris: tuple[str, ...] = ()
    web_origins: tuple[str, ...] = ()
    has_code: bool = False
    has_device: bool = False
    has_service: bool = False
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        """Whether it has nothing to show who it is."""
        return self.secret is None and self.jwks is None

    @property
    def service_subject(self) -> UUID:
        """Who it is when it acts for itself."""
        return uuid5(NAMESPACE_URL, f"cesai-service-account:{self.client_id}")


@dataclass(frozen=True, slots=True)
class Config:
    """How this issuer is set."""

    issuer: str
    clients: Mapping[str, Client]
    idle: timedelta
    longest: timedelta
    audience: str = "cesai-hub"

    @property
    def token_endpoint(self) -> str:
        """Where tokens are had."""
        return f"{self.issuer}/protocol/openid-connect/token"


@dataclass(frozen=True, slots=True)
class Person:
    """What tokens say about somebody."""

    subject: UUID
    username: str
    name: str
    email: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def given_name(self) -> str:
        """All names but the last."""
        return self.name.rpartition(" ")[0] or self.name

    @property
    def family_name(self) -> str:
        """The last name."""
        return self.name.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class Login:
    """A person's session, as tokens name it."""

    sid: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """What a client asks of the login page."""

    client_id: str
    redirect_uri: str
    response_type: str
    scope: str
    state: str | None = None
    nonce: str | None = None
    prompt: str | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None


def check_auth_request(request: AuthRequest, client: Client) -> Denial | None:
    """Why a client's wish for a login is refused; its address to return to is checked before."""
    if not client.has_code:
        return Denial.NO_CODE_FLOW
    if request.response_type != "code":
        return Denial.NO_CODE_TYPE
    if request.code_challenge_method is None or request.code_challenge is None:
        return Denial.NO_PKCE
    if request.code_challenge_method != "S256":
        return Denial.OTHER_PKCE
    if not 43 <= len(request.code_challenge) <= 128:  # noqa: PLR2004  RFC 7636, section 4.2
        return Denial.WRONG_CHALLENGE
    return None if is_scope_known(request.scope) else Denial.STRANGE_SCOPE


def is_redirect_allowed(uri: str, registered: Iterable[str]) -> bool:
    """Whether a login may return to this address: exactly a registered one; on loopback any port.

    Source: RFC 8252, section 7.3; RFC 9700, section 2.1.
    """
    return any(uri == known or _is_same_loopback(uri, known) for known in registered)


def _is_same_loopback(uri: str, known: str) -> bool:
    try:
        asked, have = urlsplit(uri), urlsplit(known)
        has_port_only = have.port is None and asked.port is not None
    except ValueError:
        return False
    return (
        has_port_only
        and asked.hostname in {"127.0.0.1", "::1", "localhost"}
        and asked.hostname == have.hostname
        and "@" not in asked.netloc
        and (asked.scheme, asked.path, asked.query, asked.fragment) == (have.scheme, have.path, have.query, "")
    )


def is_loopback(host: str) -> bool:
    """Whether this name or address is this machine's own and reached from nowhere else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def language(accept: str) -> str:
    """German or English, whichever a browser's Accept-Language header likes better; English when neither.

    Source: RFC 9110, section 12.5.4.
    """
    liked: list[tuple[float, str]] = []
    for part in accept.split(","):
        tag, _, weight = part.strip().partition(";q=")
        primary = tag.split("-")[0].lower()
        if primary in LANGUAGES and (not weight or WEIGHT.fullmatch(weight)):
            liked.append((float(weight or 1), primary))
    return max(liked, key=lambda each: each[0])[1] if liked else "en"


def is_scope_known(scope: str) -> bool:
    """Whether the issuer knows every word of a scope."""
    return all(word in SCOPES for word in scope.split())


def granted_scope(scope: str) -> str:
    """The scope that tokens carry: what was asked for and the defaults."""
    asked = set(scope.split()) | set(DEFAULT_SCOPES)
    return " ".join(word for word in SCOPES if word in asked)


def check_verifier(challenge: str, verifier: str | None) -> Denial | None:
    """Whether who comes with the code is who asked for it.

    Source: RFC 7636, section 4.6.
    """
    if not verifier:
        return Denial.NO_VERIFIER
    digest = hashlib.sha256(verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return None if hmac.compare_digest(made, challenge) else Denial.WRONG_VERIFIER


def wait_after(failures: int) -> timedelta:
    """How long a name cannot log in after so many wrong passwords in a row."""
    if failures < FREE_FAILURES:
        return timedelta()
    return timedelta(seconds=min(2 ** (failures - FREE_FAILURES), LONGEST_WAIT_S))


def plain_user_code(text: str) -> str:
    """What a person typed, as it is kept: letters only, upper case."""
    return "".join(letter for letter in text.upper() if letter in USER_CODE_LETTERS)


def shown_user_code(code: str) -> str:
    """As a person reads it: two groups of four."""
    half = USER_CODE_LENGTH // 2
    return f"{code[:half]}-{code[half:]}"


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How far a device's wish for a login has come."""

    expires_at: datetime
    interval_s: int
    last_poll_at: datetime | None
    is_used: bool
    is_approved: bool | None


def judge_device(state: DeviceState, now: datetime) -> Denial | None:
    """Why a device gets no tokens yet, or ever; None when it gets them.

    Source: RFC 8628, section 3.5.
    """
    if state.is_used:
        return Denial.WRONG_DEVICE
    if state.expires_at <= now:
        return Denial.DEVICE_OVER
    if state.last_poll_at is not None and now - state.last_poll_at < timedelta(seconds=state.interval_s):
        return Denial.SLOW_DOWN
    if state.is_approved is None:
        return Denial.PENDING
    return None if state.is_approved else Denial.DENIED


@dataclass(frozen=True, slots=True)
class Subject:
    """For whom, through which client and with which scope a token is made."""

    person: Person
    client: Client
    scope: str
    login: Login | None = None
    nonce: str | None = None
    jti_prefix: str = field(default="onrtac")


def access_claims(config: Config, subject: Subject, *, jti: UUID, now: datetime) -> dict[str, Any]:
    """What an access token says."""
    return _common(config, subject, jti=f"{subject.jti_prefix}:{jti}", now=now) | {
        "aud": config.audience,
        "typ": "Bearer",
        **({"allowed-origins": list(subject.client.web_origins)} if subject.client.web_origins else {}),
        "realm_access": {"roles": list(subject.person.roles)},
        "scope": subject.scope,
    }


def id_claims(config: Config, subject: Subject, *, jti: UUID, now: datetime, access_token: str) -> dict[str, Any]:
    """What an id token says; it is for the client, never for the hub."""
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    return _common(config, subject, jti=str(jti), now=now) | {
        "aud": subject.client.client_id,
        "typ": "ID",
        **({"nonce": subject.nonce} if subject.nonce else {}),
        "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
    }


def _common(config: Config, subject: Subject, *, jti: str, now: datetime) -> dict[str, Any]:
    at = int(now.timestamp())
    claims: dict[str, Any] = {
        "exp": at + int(ACCESS_LASTS.total_seconds()),
        "iat": at,
        "jti": jti,
        "iss": config.issuer,
        "sub": str(subject.person.subject),
        "azp": subject.client.client_id,
        "acr": "1",
    }
    if subject.login:
        claims |= {"auth_time": int(subject.login.at.timestamp()), "sid": subject.login.sid}
    return claims | person_claims(subject.person, is_service=subject.login is None)


def person_claims(person: Person, *, is_service: bool) -> dict[str, Any]:
    """Who somebody is, in OpenID's words; nobody's groups are left out, as Keycloak does."""
    claims: dict[str, Any] = {"preferred_username": person.username, "email_verified": not is_service}
    if person.groups:
        claims["groups"] = list(person.groups)
    if not is_service:
        claims |= {
            "name": person.name,
            "given_name": person.given_name,
            "family_name": person.family_name,
            "email": person.email,
        }
    return claims


def service_person(client: Client) -> Person:
    """A client as it acts for itself."""
    return Person(
        subject=client.service_subject,
        username=f"service-account-{client.client_id}",
        name=client.name,
        email="",
        roles=client.roles,
        groups=client.groups,
    )
