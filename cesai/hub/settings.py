"""What can an operator set?"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Environment(StrEnum):
    """What this hub is for."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """All settings of the hub; each is an environment variable with the prefix CESAI_."""

    model_config = SettingsConfigDict(env_prefix="CESAI_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    database_url: str = Field(default="postgresql+psycopg:///cesai")
    """Address of the PostgreSQL (15 or newer) that holds everything."""
    environment: Environment = Environment.DEVELOPMENT
    """`production` refuses what is for trying things out only, such as the embedded issuer."""
    public_url: str = "http://127.0.0.1:8000"
    """Address under which people and agents reach the hub, without a slash at its end."""
    issuer_url: str | None = None
    """Issuer of the tokens, as in their claim iss (Keycloak: https://host/realms/cesai). Unset: the embedded issuer."""
    audience: str = "cesai-hub"
    """What tokens for this hub carry as aud."""

    @property
    def issuer(self) -> str:
        """The issuer that is believed."""
        return self.issuer_url or f"{self.public_url}/realms/cesai"
