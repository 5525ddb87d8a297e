"""What can an operator set?"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from cesai.issuer.rules import is_loopback

PREFIX = "CESAI_"
MEMORY = "memory://"


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        msg = "write an address like https://hub.example.org"
        raise ValueError(msg)
    return value.rstrip("/")


BaseUrl = Annotated[str, StringConstraints(max_length=500), AfterValidator(_base_url)]


class Environment(StrEnum):
    """What a hub is for."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Unfit(Exception):
    """These settings do not go together; the sentence says what to change."""


class Settings(BaseSettings):
    """All settings of the hub; each is an environment variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True)

    database_url: str = "postgresql+psycopg:///cesai"
    """Address of the PostgreSQL (15 or newer) that holds everything."""
    environment: Environment = Environment.DEVELOPMENT
    """`production` refuses what is for trying things out only: the embedded issuer, an address without TLS."""
    public_url: BaseUrl = "http://127.0.0.1:8000"
    """Address under which people and agents reach the hub."""
    broker_url: str = MEMORY
    """Broker that carries wake-ups to workers (`amqp://…` or `redis://…`). `memory://`: worker and beat live inside the
    one web process."""
    issuer_url: BaseUrl | None = None
    """Issuer of people's tokens, exactly as in their claim `iss` (Keycloak: `https://host/realms/cesai`). Unset: the
    embedded issuer, on loopback only."""
    audience: str = "cesai-hub"
    """What people's tokens carry as `aud` when they are meant for this hub."""
    issuer_users_file: Path | None = None
    """People and clients of the embedded issuer, as JSON; readable by its owner alone."""
    issuer_idle_minutes: Annotated[int, Field(ge=1)] = 720
    """After how many minutes without use a login at the embedded issuer ends."""
    issuer_longest_hours: Annotated[int, Field(ge=1)] = 168
    """After how many hours a login at the embedded issuer ends in any case."""
    worker_threads: Annotated[int, Field(ge=1, le=64)] = 4
    """How many tasks a worker does at the same time."""
    pool_size: Annotated[int, Field(ge=1, le=500)] = 20
    """Connections to the database that a process keeps open; twice as many at peaks."""
    body_limit_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Largest request body that is taken."""
    beat_patience_s: Annotated[int, Field(ge=2)] = 30
    """After how many seconds without a sign of life from beat or worker the hub calls itself unhealthy."""

    @property
    def has_own_issuer(self) -> bool:
        """Whether the embedded issuer runs."""
        return self.issuer_url is None

    @property
    def issuer(self) -> str:
        """The issuer that is believed."""
        return self.issuer_url or f"{self.public_url}/realms/cesai"

    @property
    def has_own_broker(self) -> bool:
        """Whether worker and beat live inside the web process."""
        return self.broker_url.startswith(MEMORY)


def check(settings: Settings) -> None:
    """Let through only settings that go together.

    Raises:
        Unfit: they do not.
    """
    parts = urlsplit(settings.public_url)
    is_production = settings.environment is Environment.PRODUCTION
    if settings.has_own_issuer and is_production:
        msg = "The embedded issuer is not for production: name your Keycloak in CESAI_ISSUER_URL."
        raise Unfit(msg)
    if settings.has_own_issuer and not is_loopback(parts.hostname or ""):
        msg = "The embedded issuer is for this machine alone: name your Keycloak in CESAI_ISSUER_URL."
        raise Unfit(msg)
    if is_production and parts.scheme != "https":
        msg = "In production CESAI_PUBLIC_URL must begin with https://."
        raise Unfit(msg)


def check_host(settings: Settings, host: str) -> None:
    """Let through only an address to listen at that suits the settings.

    Raises:
        Unfit: the embedded issuer would be reached from elsewhere.
    """
    if settings.has_own_issuer and not is_loopback(host):
        msg = "With the embedded issuer the hub listens on 127.0.0.1 only: name your Keycloak in CESAI_ISSUER_URL."
        raise Unfit(msg)


def page() -> Iterator[str]:
    """The settings reference, line by line, as Markdown."""
    yield from ("# Settings", "", "Made by `python docs/generate.py`; do not edit.", "")
    yield from ("| variable | default | what it does |", "|---|---|---|")
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        words = " ".join((field.description or "").split())
        yield f"| `{PREFIX}{name.upper()}` | {default} | {words} |"
