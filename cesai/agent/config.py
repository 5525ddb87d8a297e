"""What may an agent.toml say, and what is wrong with this one?"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

KIB = 1024


class ConfigWrong(Exception):
    """The file cannot be used; the sentence names the key and the mend."""


class Section(BaseModel):
    """Frozen; an unknown key is refused with the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Section):
    """What this site lets the hub order, whatever the hub says; an order beyond is refused with a sentence."""

    accounts: tuple[str, ...] = ()
    """Local accounts that jobs may run under; empty: any that the hub names."""
    clusters: tuple[str, ...] = ()
    """Clusters that may be ordered; empty: any that the connector knows."""
    partitions: tuple[str, ...] = ()
    """Partitions that may be ordered; empty: any."""
    gpus_per_job: int | None = Field(default=None, ge=1)
    """Most GPUs of one job."""
    walltime_minutes: int | None = Field(default=None, ge=1)
    """Longest wall time of one job."""
    open_attempts: int = Field(default=10_000, ge=1)
    """Most attempts that are held at one time; more wait at the hub."""


class Pace(Section):
    """How often the site is asked, and how long an answer is doubted."""

    poll_seconds: float = Field(default=15, ge=0.05, le=600)
    """Between two bulk questions to queue and accounting; asked at once after the agent's own changes."""
    quick_seconds: float = Field(default=1, ge=0.05, le=60)
    """The same while something is expected within seconds."""
    max_backoff_seconds: float = Field(default=120, ge=0.1, le=3600)
    """Longest wait for a scheduler, or a hub, that does not answer."""
    capacity_seconds: float = Field(default=60, ge=0.05, le=3600)
    """Between two snapshots of what the cluster has."""
    usage_seconds: float = Field(default=60, ge=0.05, le=3600)
    """Between two readings of what accounting has."""
    usage_patience_seconds: float = Field(default=120, ge=1)
    """How long an accounting that answers may owe an ended attempt's usage before the wrapper's stamps stand in."""
    correction_days: int = Field(default=40, ge=1, le=400)
    """How far back accounting is read again, a few times a day, for late corrections."""
    absent_answers: int = Field(default=3, ge=2, le=100)
    """Healthy answers without the job that prove its absence."""
    absent_seconds: float = Field(default=3, ge=0.05, le=600)
    """Seconds that these answers span at least."""
    ghost_seconds: float = Field(default=15, ge=0.05, le=3600)
    """The same for a job that accounting shows alive and the scheduler does not know."""
    stamps_seconds: float = Field(default=10, ge=0.05, le=600)
    """How long a final state waits for what the wrapper wrote (a shared file system may lag)."""
    submits_per_turn: int = Field(default=25, ge=1, le=1000)
    """Most submissions between two bulk questions."""


class Logs(Section):
    """How jobs' logs are handed out."""

    bytes_per_attempt: int = Field(default=64 * KIB * KIB, ge=0)
    """A log is handed out up to here."""
    follow_seconds: float = Field(default=1, ge=0.1, le=60)
    """Between two looks at a log that somebody follows."""


class AgentConfig(Section):
    """The whole of agent.toml."""

    hub: HttpUrl
    """The hub's address; the only one that the agent ever calls."""
    state: Path
    """The agent's own folder (key, identity, journal); on a local disk if there is one, mode 0700."""
    ca_file: Path | None = None
    """Certificates to trust for the hub instead of the system's."""
    connector: dict[str, Any]
    """`name` says which connector; all the rest is the connector's own."""
    limits: Limits = Limits()
    pace: Pace = Pace()
    logs: Logs = Logs()

    @property
    def hub_url(self) -> str:
        """Without the slash at its end."""
        return str(self.hub).rstrip("/")

    @property
    def connector_name(self) -> str:
        """Which connector."""
        return str(self.connector["name"])

    @property
    def connector_settings(self) -> dict[str, Any]:
        """What the connector is made from."""
        return {key: value for key, value in self.connector.items() if key != "name"}


def load_config(path: Path) -> AgentConfig:
    """The configuration in this file; relative paths in it are relative to the file.

    Raises:
        ConfigWrong: it cannot be read, or says something it may not.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path} does not exist; `cesai-agent enroll` writes one"
        raise ConfigWrong(msg) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read as TOML: {error}"
        raise ConfigWrong(msg) from error
    config = read_config(content, source=str(path))
    folder = path.resolve().parent
    paths = {"state": folder / config.state, "ca_file": folder / config.ca_file if config.ca_file else None}
    return config.model_copy(update=paths)


def read_config(content: Mapping[str, Any], *, source: str = "agent.toml") -> AgentConfig:
    """The configuration that this content says.

    Raises:
        ConfigWrong: it says something it may not.
    """
    try:
        config = AgentConfig.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(_sentence(fault) for fault in error.errors())
        msg = f"{source}: {faults}"
        raise ConfigWrong(msg) from None
    if not isinstance(config.connector.get("name"), str):
        msg = f'{source}: connector.name is missing; say which connector to use, such as name = "slurm"'
        raise ConfigWrong(msg)
    return config


def _sentence(fault: Any) -> str:  # noqa: ANN401  pydantic's ErrorDetails
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{place} is missing"
    if fault["type"] == "extra_forbidden":
        known = _keys(fault["loc"][:-1])
        near = get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"{place} is no key; {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(known)}"
    return f"{place}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _keys(section: tuple[int | str, ...]) -> list[str]:
    sections: dict[tuple[int | str, ...], type[Section]] = {("limits",): Limits, ("pace",): Pace, ("logs",): Logs}
    return list(sections.get(section, AgentConfig).model_fields)


def template(*, hub: str, state: Path) -> str:
    """A first agent.toml, with everything that can be said in it as comments."""
    return TEMPLATE.format(hub=hub, state=state)


TEMPLATE = """\
# What the CESAI agent of this site may do. `cesai-agent doctor --config FILE` says what is still missing.

# The hub: the only address that the agent calls. Nothing ever calls the agent.
hub = "{hub}"

# Key, identity and journal of this agent. A local disk is better than a shared one.
state = "{state}"

# Certificates to trust for the hub, where the system's will not do.
# ca_file = "/etc/ssl/certs/site-ca.pem"

# The scheduler of this site. What may stand here is told by the connector's own guide.
[connector]
name = "slurm"

# What this site lets the hub order, whatever the hub says.
[limits]
# accounts = ["proj1", "proj2"]
# partitions = ["gpu"]
# gpus_per_job = 64
# walltime_minutes = 1440

# How often the scheduler is asked.
[pace]
# poll_seconds = 15
# usage_seconds = 60
"""
