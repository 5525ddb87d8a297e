"""What may a job file say?

The same model reads a researcher's file, the API's body and makes the published JSON Schema. What comes later
(arrays, dependencies, other launchers) is refused here with a sentence, never ignored.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from cesai.contract.messages import Launcher
from cesai.kernel.ids import SLUG
from cesai.kernel.states import Outcome

SCRIPT_LIMIT = 256 * 1024
ENVIRONMENT_LIMIT = 128
VALUE_LIMIT = 8 * 1024
WALLTIME_LIMIT_MINUTES = 31 * 24 * 60

_AFTER = "Dependencies between jobs are not taken yet: wait with `cesai job show --wait`, then submit the next."
LATER = {
    "array": "Job arrays are not taken yet: submit one job per task.",
    "dependencies": _AFTER,
    "depends_on": _AFTER,
    "container": "Containers are not taken yet: start one from your script.",
}
LATER_LAUNCHERS = ("torchrun", "ray")

_CLOCK = re.compile(r"(?:(\d{1,3})-)?(\d{1,3}):([0-5]?\d)(?::([0-5]?\d))?")
_SHORT = re.compile(r"(\d{1,6})\s*(m|min|h|d)")
_UNIT_MINUTES = {"m": 1, "min": 1, "h": 60, "d": 1440}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_FOLDER = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
# What a name may hold: letters of any language and what people write between them; nothing a shell, a terminal or a
# table could take for its own.
_NAME = re.compile(r"[^\W_][\w .:+-]{0,62}")


def read_walltime(value: object) -> int:
    """Minutes, rounded up, from 90, "90m", "2h", "1d", "HH:MM[:SS]" or "D-HH:MM[:SS]".

    Raises:
        ValueError: none of these.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        msg = 'write the wall time as minutes (90), "90m", "2h", "1d" or "HH:MM:SS"'
        raise ValueError(msg)  # noqa: TRY004  pydantic turns only a ValueError into an error of the field
    text = str(value).strip()
    if text.isdecimal():
        return int(text)
    if short := _SHORT.fullmatch(text):
        return int(short[1]) * _UNIT_MINUTES[short[2]]
    if clock := _CLOCK.fullmatch(text):
        days, first, second, third = (int(part) if part else 0 for part in clock.groups())
        if days and first > 23:  # noqa: PLR2004  hours of a day
            msg = f"{text!r} has more than 23 hours beside its days"
            raise ValueError(msg)
        return days * 1440 + first * 60 + second + (1 if third else 0)
    msg = f'{text!r} is no wall time; write minutes (90), "90m", "2h", "1d" or "HH:MM:SS"'
    raise ValueError(msg)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class OnSiteLoss(StrEnum):
    """What becomes of a running job whose site is lost."""

    WAIT = "wait"
    RERUN = "rerun"


class RetryCause(StrEnum):
    """Ends after which another attempt may be made."""

    NODE_FAIL = Outcome.NODE_FAIL.value
    PREEMPTED = Outcome.PREEMPTED.value
    LOST = Outcome.LOST.value
    FAILED = Outcome.FAILED.value


class Retry(BaseModel):
    """After which ends, and how often, the job is tried again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    causes: tuple[RetryCause, ...] = (RetryCause.NODE_FAIL, RetryCause.PREEMPTED)
    limit: int = Field(default=1, ge=0, le=10, description="How many further attempts at the most.")


class JobFile(BaseModel):
    """What a research group asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="CESAI job file")

    name: str = Field(description="What you call it; letters, digits, blanks and . : + - _ (63 at most).")
    project: str = Field(description="The project whose award pays for it.")
    script: str | None = Field(default=None, max_length=SCRIPT_LIMIT, description="The whole text of the script.")
    entrypoint: str | None = Field(
        default=None, max_length=VALUE_LIMIT, description="One command line, run by /bin/sh; instead of a script."
    )
    nodes: int = Field(default=1, ge=1, le=10_000)
    gpus_per_node: int = Field(ge=1, le=64)
    gpu_class: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = Field(
        min_length=1, max_length=16, description="A GPU class, or several of which any will do."
    )
    walltime: Annotated[int, BeforeValidator(read_walltime)] = Field(
        description='Minutes, or "90m", "2h", "1d", "HH:MM:SS", "D-HH:MM:SS".'
    )
    sites: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = Field(
        default=(), max_length=64, description="Only these sites will do; empty: any."
    )
    environment: dict[str, str] = Field(default_factory=dict, max_length=ENVIRONMENT_LIMIT)
    checkpoint: str = Field(
        default="checkpoints", max_length=200, description="Folder for checkpoints, below the job's own folder."
    )
    resume: UUID | None = Field(default=None, description="An earlier job whose checkpoints this one goes on from.")
    retry: Retry = Retry()
    launcher: Launcher = Launcher.PLAIN
    on_site_loss: OnSiteLoss = OnSiteLoss.WAIT

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            msg = "begin with a letter or digit and use letters, digits, blanks and . : + - _ only (63 at most)"
            raise ValueError(msg)
        return value

    @field_validator("project")
    @classmethod
    def _project_is_slug(cls, value: str) -> str:
        if not SLUG.fullmatch(value):
            msg = "a project's name has lower-case letters, digits and hyphens only"
            raise ValueError(msg)
        return value

    @field_validator("script", "entrypoint")
    @classmethod
    def _text_is_text(cls, value: str | None) -> str | None:
        if value is not None and ("\0" in value or not value.strip()):
            msg = "must not be empty or hold a NUL character"
            raise ValueError(msg)
        return value

    @field_validator("entrypoint")
    @classmethod
    def _entrypoint_is_one_line(cls, value: str | None) -> str | None:
        if value is not None and "\n" in value:
            msg = "is one command line; put several lines into a script"
            raise ValueError(msg)
        return value

    @field_validator("walltime")
    @classmethod
    def _walltime_is_possible(cls, value: int) -> int:
        if not 1 <= value <= WALLTIME_LIMIT_MINUTES:
            msg = f"must be between 1 minute and {WALLTIME_LIMIT_MINUTES // 1440} days, is {value} minutes"
            raise ValueError(msg)
        return value

    @field_validator("environment")
    @classmethod
    def _environment_is_safe(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name):
                msg = f"{name!r} is no name of an environment variable"
                raise ValueError(msg)
            if name.startswith(("SLURM_", "CESAI_", "LD_")) or name in {"PATH", "BASH_ENV", "ENV", "IFS"}:
                msg = f"{name} is set by the site; set it inside your script instead"
                raise ValueError(msg)
            if "\0" in text or len(text) > VALUE_LIMIT:
                msg = f"the value of {name} holds a NUL character or more than {VALUE_LIMIT} characters"
                raise ValueError(msg)
        return value

    @field_validator("checkpoint")
    @classmethod
    def _checkpoint_stays_inside(cls, value: str) -> str:
        if not _FOLDER.fullmatch(value) or ".." in value.split("/"):
            msg = "is a relative folder like checkpoints or run1/checkpoints"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if (self.script is None) == (self.entrypoint is None):
            msg = "give either a script or an entrypoint"
            raise ValueError(msg)
        return self

    @property
    def gpus(self) -> int:
        """GPUs on all nodes together."""
        return self.nodes * self.gpus_per_node


class JobFileError(ValueError):
    """A job file that cannot be taken: one sentence per fault, each with the place it is at."""

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{place}: {sentence}" if place else sentence for place, sentence in faults))
        self.faults = faults


def read_job(content: object) -> JobFile:
    """The job that this content (of YAML or JSON) asks for.

    Raises:
        JobFileError: every fault at once.
    """
    if not isinstance(content, dict):
        raise JobFileError((("", "a job file is a table of keys and values, like `name: my-job`"),))
    faults = [*_unknown_keys(content), *_later_launcher(content)]
    known = {key: value for key, value in content.items() if key in JobFile.model_fields}
    try:
        job = JobFile.model_validate(known)
    except ValidationError as error:
        spoken = {place for place, _ in faults}
        for found in error.errors():
            place, sentence = _place(found["loc"]), _sentence(found)
            if place not in spoken:
                faults.append((place, sentence))
        raise JobFileError(tuple(faults)) from None
    if faults:
        raise JobFileError(tuple(faults))
    return job


def json_schema() -> dict[str, Any]:
    """JSON Schema of a job file."""
    return JobFile.model_json_schema()


def _unknown_keys(content: dict[Any, Any]) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    for key in content:
        if key in JobFile.model_fields:
            continue
        name = str(key)
        if name in LATER:
            faults.append((name, LATER[name]))
            continue
        near = get_close_matches(name, JobFile.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(JobFile.model_fields)}"
        faults.append((name, f"is no key of a job file; {hint}"))
    return faults


def _later_launcher(content: dict[Any, Any]) -> list[tuple[str, str]]:
    launcher = content.get("launcher")
    if launcher in LATER_LAUNCHERS:
        return [("launcher", f"{launcher} is not taken yet: use srun, or start it from your script")]
    return []


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc)


def _sentence(found: Any) -> str:  # noqa: ANN401  pydantic's ErrorDetails
    if found["type"] == "missing":
        return "is missing"
    if found["type"] == "extra_forbidden":
        return "is no key here"
    text = str(found["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
