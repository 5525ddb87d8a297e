"""What does the operator's file of people and clients say?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cesai.issuer.rules import Client
from cesai.issuer.service.users import Seed

Word = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class UserEntry(BaseModel):
    """Somebody who can log in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    password: Word
    name: Word
    email: Word
    roles: tuple[Word, ...] = ()
    groups: tuple[Word, ...] = ()

    def to_seed(self) -> Seed:
        """As the service takes it."""
        return Seed(**self.model_dump())


class ClientEntry(BaseModel):
    """A program that may ask for tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: Word
    name: Word | None = None
    secret: Word | None = None
    jwks: dict[str, Any] | None = None
    redirect_uris: tuple[Word, ...] = ()
    post_logout_uris: tuple[Word, ...] = ()
    web_origins: tuple[Word, ...] = ()
    has_code: bool = False
    has_device: bool = False
    has_service: bool = False
    roles: tuple[Word, ...] = ()
    groups: tuple[Word, ...] = ()

    def to_rule(self) -> Client:
        """As the rules take it."""
        return Client(**self.model_dump(exclude={"name"}), name=self.name or self.client_id)


class SeedFile(BaseModel):
    """Everybody and everything that can log in at the embedded issuer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: tuple[UserEntry, ...] = Field(default=())
    clients: tuple[ClientEntry, ...] = Field(default=())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The file's content.

        Raises:
            ValueError: it is no such file, or others than its owner may read the passwords in it.
        """
        if path.stat().st_mode & 0o077:
            msg = f"{path} holds passwords: chmod 600 {path}"
            raise ValueError(msg)
        return cls.model_validate_json(path.read_bytes())


def default_clients(public_url: str) -> tuple[Client, ...]:
    """The clients that the hub itself needs; a file's clients of the same id take their place."""
    command_line = Client(
        client_id="cesai-cli",
        name="cesai (command line)",
        redirect_uris=("http://127.0.0.1/callback", "http://localhost/callback"),
        has_code=True,
        has_device=True,
    )
    portal = Client(
        client_id="cesai-portal",
        name="CESAI hub",
        redirect_uris=(f"{public_url}/login/callback",),
        post_logout_uris=(f"{public_url}/",),
        web_origins=(public_url,),
        has_code=True,
    )
    return (command_line, portal)
