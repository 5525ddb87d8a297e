"""With which key does the issuer sign, and which ones does it publish?"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey
from sqlalchemy.orm import Session

from cesai.issuer import store

BITS = 2048


def ensure_key(db: Session, *, now: datetime) -> None:
    """Make the first key; several processes that start at once end up with one."""
    if store.signing_key(db) is None:
        key = RSAKey.generate_key(BITS, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        store.add_key(db, key.kid or "", dict(key.as_dict(private=True)), now=now)


def rotate(db: Session, *, now: datetime) -> None:
    """Sign with a new key from now on; tokens of the former ones stay good until they expire."""
    store.retire_keys(db, now=now)
    ensure_key(db, now=now)


def public_keys(db: Session) -> dict[str, Any]:
    """The JWKS document."""
    return {"keys": [_imported(json.dumps(row.private_jwk)).as_dict(private=False) for row in store.keys(db)]}


def sign(db: Session, claims: dict[str, Any]) -> str:
    """These claims as a signed token.

    Raises:
        LookupError: the issuer has no key; it makes one when it starts.
    """
    row = store.signing_key(db)
    if row is None:
        msg = "the issuer has no key yet: ensure_key() comes first"
        raise LookupError(msg)
    return jwt.encode({"alg": "RS256", "typ": "JWT", "kid": row.kid}, claims, _imported(json.dumps(row.private_jwk)))


def read(db: Session, token: str) -> dict[str, Any] | None:
    """The claims of a token that this issuer signed, expired or not; None when it is none of ours."""
    keys = KeySet([_imported(json.dumps(row.private_jwk)) for row in store.keys(db)])
    try:
        return jwt.decode(token, keys, algorithms=["RS256"]).claims
    except (JoseError, ValueError):
        return None


@lru_cache(maxsize=8)
def _imported(private_jwk: str) -> RSAKey:
    return RSAKey.import_key(json.loads(private_jwk))
