"""What must a site's admin say about its Slurm?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

# A path goes into a batch script and a file name pattern: nothing that a shell or Slurm (%j) could take for its own.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
_CLUSTER = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class BackendName(StrEnum):
    """How Slurm is spoken to."""

    CLI = "cli"
    REST = "rest"


class AccountsMode(StrEnum):
    """How the agent gets to a project's local account."""

    SELF = "self"
    SUDO = "sudo"
    TOKEN = "token"  # noqa: S105  a word, no secret


class RestSettings(BaseModel):
    """Where slurmrestd is, and as whom it is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """http://host:port, https://… or unix:/path/of/the/socket."""
    user: str
    """The account that the token speaks for."""
    token_command: tuple[str, ...] = ()
    """A command that prints a JWT, like ["scontrol", "token", "lifespan=1800"]."""
    token_file: Path | None = None
    """A file that holds a JWT; read again before it expires and after a refusal."""

    @field_validator("url")
    @classmethod
    def _url_is_one(cls, value: str) -> str:
        if not value.startswith(("http://", "https://", "unix:/")):
            msg = "begins with http://, https:// or unix:/"
            raise ValueError(msg)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.token_command) == (self.token_file is not None) and not self.url.startswith("unix:"):
            msg = "give either token_command or token_file"
            raise ValueError(msg)
        return self


class Settings(BaseModel):
    """The `[connector]` table of agent.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: BackendName
    """"cli" asks with Slurm's commands, "rest" asks slurmrestd."""
    cluster: str
    """ClusterName of slurm.conf."""
    base: Path
    """Folder on the shared file system with one folder per project's account."""
    slurm_conf: Path | None = None
    """slurm.conf of this cluster; left out: what Slurm finds by itself."""
    rest: RestSettings | None = None
    """Needed by the back end "rest"."""
    accounts: AccountsMode = AccountsMode.SELF
    """"self": all jobs run as the account that the agent itself runs as."""
    tools: Path | None = None
    """Folder with sbatch, squeue and so on; left out: /usr/local/bin, /usr/bin, /bin."""
    timeout_s: float = Field(default=30, gt=0, le=600)
    """How long one question to Slurm may take."""
    exclusive_partitions: tuple[str, ...] = ()
    """Partitions that give whole nodes, where slurmrestd does not tell (before Slurm 23)."""

    @field_validator("cluster")
    @classmethod
    def _cluster_is_a_name(cls, value: str) -> str:
        if not _CLUSTER.fullmatch(value):
            msg = "is the ClusterName of slurm.conf: letters, digits and _ . - only"
            raise ValueError(msg)
        return value

    @field_validator("base", "slurm_conf", "tools")
    @classmethod
    def _path_is_plain(cls, value: Path | None) -> Path | None:
        if value is not None and (not _PLAIN_PATH.fullmatch(str(value)) or ".." in value.parts):
            msg = "is an absolute path of letters, digits and . _ / @ + - only"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.backend is BackendName.REST and self.rest is None:
            msg = 'the back end "rest" needs a table [connector.rest] with url, user and token_command or token_file'
            raise ValueError(msg)
        if self.accounts is not AccountsMode.SELF:
            msg = f'accounts = "{self.accounts}" is not taken yet: run one agent per project account with "self"'
            raise ValueError(msg)
        return self

    @property
    def search_path(self) -> str:
        """PATH for Slurm's commands, for the agent and inside jobs."""
        usual = "/usr/local/bin:/usr/bin:/bin"
        return f"{self.tools}:{usual}" if self.tools else usual


def read_settings(table: Mapping[str, object]) -> Settings:
    """Settings from the table.

    Raises:
        ValueError: a setting is missing, unknown or malformed; the sentence names each.
    """
    try:
        return Settings.model_validate(dict(table))
    except ValidationError as error:
        faults = "; ".join(_sentence([str(part) for part in fault["loc"]], fault["msg"]) for fault in error.errors())
        raise ValueError(faults) from None


def _sentence(place: list[str], text: str) -> str:
    known = "Value error, "
    return f"[connector] {'.'.join(place)}: {text.removeprefix(known)}" if place else text.removeprefix(known)
