"""Which program is asking for tokens?"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy.orm import Session

from cesai.issuer import rules, store
from cesai.issuer.rules import Client, Config, Denial, Denied

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["RS256", "ES256", "Ed25519"]


@dataclass(frozen=True, slots=True)
class ClientWords:
    """How a client says who it is."""

    client_id: str | None = None
    secret: str | None = None
    assertion_type: str | None = None
    assertion: str | None = None


def authenticate(db: Session, config: Config, words: ClientWords, *, now: datetime) -> Client:
    """The client that says these words.

    Raises:
        Denied: it is unknown, or cannot show that it is who it says.
    """
    if words.assertion is not None:
        return _by_assertion(db, config, words, now)
    client = config.clients.get(words.client_id or "")
    if client is None:
        raise Denied(Denial.UNKNOWN_CLIENT)
    if client.is_public:
        return client
    if client.secret is None or not hmac.compare_digest(client.secret.encode(), (words.secret or "").encode()):
        raise Denied(Denial.WRONG_SECRET)
    return client


def _by_assertion(db: Session, config: Config, words: ClientWords, now: datetime) -> Client:
    """Source: RFC 7523, section 3; Keycloak takes the issuer or the token endpoint as audience, and no list."""
    claimed = _claimed(words.assertion or "")
    client = config.clients.get(words.client_id or claimed)
    if client is None or client.jwks is None or words.assertion_type != ASSERTION_TYPE:
        raise Denied(Denial.WRONG_ASSERTION)
    claims = _signed_claims(words.assertion or "", client)
    ends = claims.get("exp")
    is_for_us = claims.get("aud") in (config.issuer, config.token_endpoint)
    is_own_word = claims.get("iss") == claims.get("sub") == client.client_id
    jti = claims.get("jti")
    if not (is_for_us and is_own_word and isinstance(ends, int) and isinstance(jti, str) and jti):
        raise Denied(Denial.WRONG_ASSERTION)
    seconds = ends - now.timestamp()
    if not 0 < seconds <= rules.ASSERTION_LASTS.total_seconds():
        raise Denied(Denial.WRONG_ASSERTION)
    if not store.hear_assertion(db, client.client_id, jti, expires_at=datetime.fromtimestamp(ends, UTC)):
        raise Denied(Denial.ASSERTION_REUSED)
    return client


def _claimed(assertion: str) -> str:
    """Who an assertion says it is from, not yet believed: it only tells whose key to try."""
    try:
        return str(json.loads(jws.extract_compact(assertion.encode()).payload)["sub"])
    except (JoseError, ValueError, KeyError, TypeError):
        return ""


def _signed_claims(assertion: str, client: Client) -> dict[str, Any]:
    keys: Any = client.jwks
    try:
        return jwt.decode(assertion, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims
    except (JoseError, ValueError) as error:
        raise Denied(Denial.WRONG_ASSERTION) from error
