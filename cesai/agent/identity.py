"""Who is this agent to the hub, and how does it prove that?"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from pydantic import BaseModel, ConfigDict, ValidationError

ALGORITHM = "ES256"
TOKEN_LIVES = timedelta(minutes=4)  # the hub takes five at most
_FILE_MODE = 0o600


class NotEnrolled(Exception):
    """There is no usable identity in the state folder."""


class Identity(BaseModel):
    """What the hub said at enrolment."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hub: str
    site_id: str
    agent_id: str
    audience: str


@dataclass(frozen=True, slots=True)
class Signer:
    """The identity with its key: makes the token of each request."""

    identity: Identity
    key: ECKey

    def token(self, now: datetime) -> str:
        """A token for a few minutes; `now` is the hub's time as far as it is known."""
        claims = {
            "iss": self.identity.agent_id,
            "sub": self.identity.agent_id,
            "aud": self.identity.audience,
            "iat": int(now.timestamp()),
            "exp": int((now + TOKEN_LIVES).timestamp()),
            "jti": uuid4().hex,
        }
        return jwt.encode({"alg": ALGORITHM, "kid": self.identity.agent_id}, claims, self.key)


def new_key() -> ECKey:
    """A key pair that never leaves the site."""
    return ECKey.generate_key("P-256")


def public_part(key: ECKey) -> dict[str, Any]:
    """What the hub gets to see of it."""
    return {**key.as_dict(private=False), "alg": ALGORITHM, "use": "sig"}


def save(folder: Path, *, key: ECKey, identity: Identity) -> None:
    """Key first, identity last: with an identity there is always its key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder / "key.json", json.dumps(key.as_dict(private=True)))
    _write(folder / "identity.json", identity.model_dump_json(indent=2))


def load(folder: Path) -> Signer:
    """The identity in this state folder.

    Raises:
        NotEnrolled: there is none, or it cannot be read.
    """
    try:
        identity = Identity.model_validate_json((folder / "identity.json").read_text(encoding="utf-8"))
        key = ECKey.import_key(json.loads((folder / "key.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        msg = f"{folder} holds no identity; ask the site's admin for a token and run `cesai-agent enroll`"
        raise NotEnrolled(msg) from None
    except (OSError, ValueError, ValidationError, JoseError) as error:
        msg = f"the identity in {folder} cannot be used ({error}); enrol again"
        raise NotEnrolled(msg) from error
    return Signer(identity, key)


def loose_files(folder: Path) -> tuple[str, ...]:
    """Files of the state folder that others could read."""
    names = ("key.json", "identity.json", "journal.sqlite")
    return tuple(name for name in names if _is_loose(folder / name))


def _is_loose(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o077)


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
    try:
        os.fchmod(descriptor, _FILE_MODE)
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(path)
