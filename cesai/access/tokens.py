"""Whom does a token speak of, and is it true?

Checked here, without asking the issuer: signature, algorithm, issuer, audience, expiry and kind. The issuer's keys are
kept for ten minutes, fetched anew for a key that is not known (at most twice a minute, so that forged tokens cannot
make the hub hammer the issuer), and kept beyond that while the issuer does not answer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from cesai.access.rules import AGENT_TOKEN_LASTS, IssuerSilent, NotSignedIn

KEYS_LAST_S = 600.0
REFETCH_AFTER_S = 30.0
# Without any key nobody gets in: then it asks more often.
FIRST_FETCH_AFTER_S = 2.0
TOKEN_LIMIT = 16 * 1024
AGENT_AUDIENCE = "cesai-hub"
# 2048 bits in base64url: BSI TR-02102 and NIST SP 800-57 ask for no less.
RSA_LETTERS = 342
# A site's clock may be a little ahead of ours.
CLOCK_SLACK_S = 60

# A key signs in one way only; the second name of Ed25519 is what older libraries call it (RFC 9864).
ALGORITHMS = {"RSA": ["RS256"], "EC": ["ES256"], "OKP": ["Ed25519", "EdDSA"]}

Fetch = Callable[[], Mapping[str, Any]]
AgentKey = RSAKey | ECKey | OKPKey


class Doubt(StrEnum):
    """Why a token is not believed."""

    OTHER_KIND = "it is no access token"
    NOT_RS256 = "its signature is not RS256 with a key id"
    UNKNOWN_KEY = "the issuer has no such key"
    NAMES_NOBODY = "it names nobody"
    NAMES_NO_AGENT = "its key id names no agent"
    LASTS_TOO_LONG = "an agent's token lasts five minutes at most"
    OTHER_CLOCK = "it was made by a clock that is minutes off the hub's: set the site's clock"
    NO_ID = "it has no id of its own"
    TOO_LONG = "it is too long"
    NOT_SIGNED = "it is no signed token"
    WRONG_SIGNATURE = "its signature is not right"


class KeysUnavailable(Exception):
    """The issuer gave no keys."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a token says about who is asking."""

    subject: str
    username: str
    name: str
    roles: frozenset[str]
    groups: frozenset[str]


class IssuerKeys:
    """The issuer's public keys. Shared by threads; one fetches while the others use what there is."""

    def __init__(self, fetch: Fetch, *, monotonic: Callable[[], float]) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, RSAKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def key(self, kid: str) -> RSAKey | None:
        """The signing key of this id, or None when the issuer has none such.

        Raises:
            KeysUnavailable: there is no answer from the issuer and never was.
        """
        if self._is_old():
            self._renew(self._is_old)
        found = self._keys.get(kid)
        if found is None and self._may_try():
            self._renew(lambda: kid not in self._keys)
            found = self._keys.get(kid)
        if found is None and not self._keys:
            raise KeysUnavailable
        return found

    def _is_old(self) -> bool:
        return self._monotonic() - self._fetched_at > KEYS_LAST_S and self._may_try()

    def _may_try(self) -> bool:
        return self._monotonic() - self._tried_at > (REFETCH_AFTER_S if self._keys else FIRST_FETCH_AFTER_S)

    def _renew(self, is_needed: Callable[[], bool]) -> None:
        # With keys in hand nobody waits for another's fetch; without any, all wait for the first.
        if not self._lock.acquire(blocking=not self._keys):
            return
        try:
            if not (is_needed() and self._may_try()):
                return
            self._tried_at = self._monotonic()
            keys = read_keys(self._fetch())
            if keys:
                self._keys = keys
                self._fetched_at = self._tried_at
        except (OSError, ValueError, KeysUnavailable):
            return  # stale keys are better than none; without any, key() says so
        finally:
            self._lock.release()


def read_keys(document: Mapping[str, Any]) -> dict[str, RSAKey]:
    """The keys for RS256 signatures in a JWKS document, by their id."""
    found: dict[str, RSAKey] = {}
    for each in document.get("keys", ()):
        if each.get("kty") != "RSA" or each.get("use", "sig") != "sig" or each.get("alg", "RS256") != "RS256":
            continue
        if isinstance(kid := each.get("kid"), str):
            found[kid] = RSAKey.import_key({name: each[name] for name in ("kty", "n", "e", "kid")})
    return found


class Verifier:
    """Believes the tokens of one issuer for one audience."""

    def __init__(self, *, issuer: str, audience: str, keys: IssuerKeys) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def identity(self, token: str, now: datetime) -> Identity:
        """Who is asking.

        Raises:
            NotSignedIn: the token is none of the issuer's access tokens for this hub, or no longer.
        IssuerSilent: the issuer never gave its keys.
        """
        key = self._key(_header(token))
        claims = _claims(token, key, algorithms=["RS256"])
        _check(claims, now, iss=self._issuer, aud=self._audience)
        if claims.get("typ") != "Bearer":
            raise _unbelieved(Doubt.OTHER_KIND)
        return _identity(claims)

    def _key(self, header: Mapping[str, Any]) -> RSAKey:
        kid = header.get("kid")
        if header.get("alg") != "RS256" or not isinstance(kid, str):
            raise _unbelieved(Doubt.NOT_RS256)
        try:
            key = self._keys.key(kid)
        except KeysUnavailable as error:
            msg = "The login server does not answer, so nobody can sign in right now. Try again in a minute."
            raise IssuerSilent(msg) from error
        if key is None:
            raise _unbelieved(Doubt.UNKNOWN_KEY)
        return key


def _identity(claims: Mapping[str, Any]) -> Identity:
    subject = claims.get("sub")
    username = claims.get("preferred_username") or claims.get("azp")
    if not (isinstance(subject, str) and isinstance(username, str) and subject and username):
        raise _unbelieved(Doubt.NAMES_NOBODY)
    access = claims.get("realm_access")
    return Identity(
        subject=subject,
        username=username,
        name=str(claims.get("name") or username),
        roles=_words(access.get("roles") if isinstance(access, dict) else ()),
        groups=_words(claims.get("groups")),
    )


def _words(value: object) -> frozenset[str]:
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()


def agent_of(token: str) -> UUID:
    """The agent that a token claims to come from, not yet believed.

    Raises:
        NotSignedIn: it names none.
    """
    try:
        return UUID(str(_header(token).get("kid")))
    except ValueError as error:
        raise _unbelieved(Doubt.NAMES_NO_AGENT) from error


def check_agent_token(token: str, public_key: Mapping[str, Any], *, agent_id: UUID, now: datetime) -> None:
    """Believe an agent's own token, or not.

    Raises:
        NotSignedIn: not signed by this agent's key, not for this hub, expired, or valid for too long.
    """
    key = read_agent_key(public_key)
    claims = _claims(token, key, algorithms=ALGORITHMS[key.key_type])
    made, ends = claims.get("iat"), claims.get("exp")
    if isinstance(made, int) and abs(made - now.timestamp()) > AGENT_TOKEN_LASTS.total_seconds() + CLOCK_SLACK_S:
        raise _unbelieved(Doubt.OTHER_CLOCK)
    _check(claims, now, iss=str(agent_id), aud=AGENT_AUDIENCE)
    if not (isinstance(made, int) and isinstance(ends, int)) or ends - made > AGENT_TOKEN_LASTS.total_seconds():
        raise _unbelieved(Doubt.LASTS_TOO_LONG)
    if not claims.get("jti"):
        raise _unbelieved(Doubt.NO_ID)


def read_agent_key(public_key: Mapping[str, Any]) -> AgentKey:
    """An agent's public key.

    Raises:
        ValueError: no RSA (2048 bits and more), P-256 or Ed25519 public key.
    """
    plain = {name: value for name, value in public_key.items() if name in {"kty", "n", "e", "crv", "x", "y"}}
    if "d" not in public_key and all(isinstance(value, str) for value in plain.values()):
        try:
            if key := _read_public(plain):
                return key
        except (JoseError, ValueError, KeyError) as error:
            raise ValueError(_WANTED_KEY) from error
    raise ValueError(_WANTED_KEY)


_WANTED_KEY = "send a public JWK of type RSA (2048 bits or more), EC P-256 or OKP Ed25519"


def _read_public(plain: dict[str, Any]) -> AgentKey | None:
    match plain:
        case {"kty": "RSA", "n": n} if len(n) >= RSA_LETTERS:
            return RSAKey.import_key(plain)
        case {"kty": "EC", "crv": "P-256"}:
            return ECKey.import_key(plain)
        case {"kty": "OKP", "crv": "Ed25519"}:
            return OKPKey.import_key(plain)
        case _:
            return None


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > TOKEN_LIMIT:
        raise _unbelieved(Doubt.TOO_LONG)
    try:
        return jws.extract_compact(token.encode()).protected
    except (JoseError, ValueError) as error:
        raise _unbelieved(Doubt.NOT_SIGNED) from error


def _claims(token: str, key: AgentKey | KeySet, *, algorithms: list[str]) -> dict[str, Any]:
    try:
        return jwt.decode(token, key, algorithms=algorithms).claims
    except (JoseError, ValueError, json.JSONDecodeError) as error:
        raise _unbelieved(Doubt.WRONG_SIGNATURE) from error


def _check(claims: dict[str, Any], now: datetime, *, iss: str, aud: str) -> None:
    at = int(now.timestamp())
    registry = jwt.JWTClaimsRegistry(
        now=at,
        leeway=CLOCK_SLACK_S,
        iss={"essential": True, "value": iss},
        aud={"essential": True, "value": aud},
        exp={"essential": True},
    )
    try:
        registry.validate(claims)
    except JoseError as error:
        raise _unbelieved(str(error)) from error


def _unbelieved(why: str) -> NotSignedIn:
    return NotSignedIn(f"This token is not accepted: {why}. Sign in again (cesai login).")
