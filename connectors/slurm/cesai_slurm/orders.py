"""What does an order become at the site: a submission and the files that its job reads?"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from cesai.contract.connector import SubmitRefused
from cesai.contract.messages import AttemptOrder, Launcher
from cesai.kernel.ids import MARKER
from cesai_slurm.rows import Submission
from cesai_slurm.settings import Settings

OUTPUT = "output"
SCRIPT = "script"
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OURS = re.compile(r"(?:SLURM_|CESAI_|LD_).*|PATH|BASH_ENV|ENV|IFS")


@dataclass(frozen=True, slots=True)
class Places:
    """Where one attempt's things are."""

    project: Path
    attempt: Path

    @property
    def attempts(self) -> Path:
        """The folder of all attempts of the project's account."""
        return self.attempt.parent


def places(settings: Settings, *, account: str, marker: str) -> Places:
    """The folders of an attempt under this account."""
    project = settings.base / account
    return Places(project=project, attempt=project / "attempts" / marker)


def refuse_unfit(order: AttemptOrder, settings: Settings) -> None:
    """The connector trusts no hub with words that reach a command line, a path or a job's environment.

    Raises:
        SubmitRefused: the order holds one that may not be there.
    """
    if order.cluster != settings.cluster:
        msg = f"The order is for cluster {order.cluster!r}; this agent speaks to {settings.cluster!r}."
        raise SubmitRefused(msg)
    if not MARKER.fullmatch(order.marker):
        msg = "The order's marker is malformed."
        raise SubmitRefused(msg)
    for name, word in (
        ("account", order.account),
        ("partition", order.partition),
        ("GPU type", order.gres_type or "x"),
    ):
        if not _WORD.fullmatch(word):
            msg = f"The order's {name} {word!r} is no plain word."
            raise SubmitRefused(msg)
    for folder in (order.checkpoint_folder, order.resume_from):
        _refuse_outside(folder)
    for name, value in order.environment.items():
        _refuse_variable(name, value)
    _refuse_unwritable("The script", order.script)


def _refuse_outside(folder: str | None) -> None:
    if folder and (folder.startswith("/") or ".." in Path(folder).parts or not folder.isprintable()):
        msg = f"The checkpoint folder {folder!r} leaves the project's folder."
        raise SubmitRefused(msg)


def _refuse_variable(name: str, value: str) -> None:
    if not _VARIABLE.fullmatch(name) or _OURS.fullmatch(name):
        msg = f"The environment variable {name!r} may not be set for a job; set it in the script."
        raise SubmitRefused(msg)
    _refuse_unwritable(f"The environment variable {name}", value)


def _refuse_unwritable(what: str, text: str) -> None:
    if "\0" in text:
        msg = f"{what} holds a NUL character."
        raise SubmitRefused(msg)
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = f"{what} holds half a character (a lone surrogate)."
        raise SubmitRefused(msg) from None


def submission(order: AttemptOrder, settings: Settings) -> Submission:
    """What the order's job is submitted with."""
    place = places(settings, account=order.account, marker=order.marker)
    gres = f"gpu:{order.gres_type}" if order.gres_type else "gpu"
    return Submission(
        marker=order.marker,
        account=order.account,
        partition=order.partition,
        nodes=order.nodes,
        tasks_per_node=order.gpus_per_node if order.launcher is Launcher.SRUN else 1,
        gres=f"{gres}:{order.gpus_per_node}",
        walltime_minutes=order.walltime_minutes,
        folder=str(place.attempt),
        output=str(place.attempt / OUTPUT),
        wrapper=f"#!/bin/sh\nexec /bin/sh {place.attempt}/wrapper.sh {place.attempt}\n",
    )


def order_file(order: AttemptOrder, settings: Settings) -> str:
    """What the wrapper reads: quoted words, and a function that runs the script with the job's environment."""
    place = places(settings, account=order.account, marker=order.marker)
    script = str(place.attempt / SCRIPT)
    program = [script] if order.script.startswith("#!") else ["/bin/sh", script]
    variables = [shlex.quote(f"{name}={value}") for name, value in _job_environment(order, place).items()]
    return "\n".join(
        [
            *(f"{name}={shlex.quote(value)}" for name, value in _told(order, place, settings=settings).items()),
            "cesai_run() {",
            f'    exec env -i {" ".join(variables)} "$@" {shlex.join(program)}',
            "}",
            "",
        ]
    )


def _told(order: AttemptOrder, place: Places, *, settings: Settings) -> dict[str, str]:
    return {
        "CESAI_NODES": str(order.nodes),
        "CESAI_GPUS_PER_NODE": str(order.gpus_per_node),
        "CESAI_LAUNCHER": order.launcher.value,
        "CESAI_SEARCH_PATH": settings.search_path,
        "CESAI_SLURM_CONF": str(settings.slurm_conf or ""),
        "CESAI_PROJECT_DIR": str(place.project),
        "CESAI_CHECKPOINT_DIR": str(_checkpoints(order, place)),
    }


def _job_environment(order: AttemptOrder, place: Places) -> dict[str, str]:
    """The job's own variables, then ours; later ones win, and so does what the wrapper adds (PATH, HOME, SLURM_* …)."""
    return {
        **order.environment,
        "CESAI_JOB_MARKER": order.marker,
        "CESAI_PROJECT_DIR": str(place.project),
        "CESAI_CHECKPOINT_DIR": str(_checkpoints(order, place)),
        **({"CESAI_RESUME_FROM": str(place.project / order.resume_from)} if order.resume_from else {}),
    }


def _checkpoints(order: AttemptOrder, place: Places) -> Path:
    return place.project / order.checkpoint_folder if order.checkpoint_folder else place.attempt / "checkpoints"
