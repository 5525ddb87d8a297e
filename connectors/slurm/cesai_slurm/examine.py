"""What is missing at the site, and how is it mended?"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from cesai.contract.connector import Finding, SiteUnavailable
from cesai_slurm import cli_words, words
from cesai_slurm.backend import Backend
from cesai_slurm.cli import Commands
from cesai_slurm.rows import Question
from cesai_slurm.settings import Settings

_SKEW = timedelta(seconds=5)
_ZONE_STEP_S = 15 * 60
_ABILITIES = "RunsJobs, KeepsFolders, TellsCapacity, TellsUsage, ExaminesItself, HasEpoch"
Configuration = Mapping[str, str]


def findings(
    settings: Settings, backend: Backend, commands: Commands, *, now: Callable[[], datetime]
) -> tuple[Finding, ...]:
    """Everything that `cesai-agent doctor` shows of Slurm."""
    found = [_reached(settings, backend), _accounting(backend, now()), _capacity(backend), _folder(settings)]
    found.append(Finding("abilities", is_ok=True, text=_ABILITIES))
    table, why_not = _configuration(backend, commands)
    if table is None:
        found.append(Finding("configuration", is_ok=None, text=f"slurm.conf was not checked: {why_not}"))
        return tuple(found)
    found += [
        _job_comments(table),
        _typed_tres(table),
        _half_life(table),
        _part_limits(table),
        *_clock(table, now()),
        _operator(commands),
    ]
    return tuple(found)


def _reached(settings: Settings, backend: Backend) -> Finding:
    try:
        about = backend.about()
    except SiteUnavailable as error:
        mend = (
            "Start slurmctld (and slurmrestd), check backend, slurm_conf and [connector.rest], then run doctor again."
        )
        return Finding("scheduler", is_ok=False, text=str(error), mend=mend)
    if about.cluster and about.cluster != settings.cluster:
        mend = f'Set cluster = "{about.cluster}", or point slurm_conf or url to {settings.cluster}.'
        return Finding("scheduler", is_ok=False, text=f"this is cluster {about.cluster}", mend=mend)
    spoken = f"{backend.name} {about.dialect or ''}".strip()
    return Finding(
        "scheduler", is_ok=True, text=f"Slurm {about.version}, cluster {settings.cluster}, back end {spoken}"
    )


def _accounting(backend: Backend, now: datetime) -> Finding:
    question = Question(since=now - timedelta(minutes=10), until=now, names=["cesai-nobody-00000000000000"])
    try:
        backend.history(question)
    except SiteUnavailable as error:
        mend = "Start slurmdbd and set AccountingStorageType=accounting_storage/slurmdbd: usage comes from there alone."
        return Finding("accounting", is_ok=False, text=str(error), mend=mend)
    return Finding("accounting", is_ok=True, text="slurmdbd answers")


def _capacity(backend: Backend) -> Finding:
    try:
        gpus = sum(gpus.count for row in {row.node: row for row in backend.nodes()}.values() for gpus in row.gpus)
    except SiteUnavailable as error:
        return Finding("GPUs", is_ok=False, text=str(error), mend="Let the agent's account see all partitions.")
    if not gpus:
        mend = "Set GresTypes=gpu and Gres= of the nodes, and give the agent's account a partition that has them."
        return Finding("GPUs", is_ok=False, text="no partition that the agent sees has GPUs", mend=mend)
    return Finding("GPUs", is_ok=True, text=f"{gpus} GPUs in the partitions that the agent sees")


def _folder(settings: Settings) -> Finding:
    if not os.access(settings.base, os.W_OK | os.X_OK | os.R_OK):
        mend = f"Make {settings.base} on the shared file system and let the agent's account write to it."
        return Finding("folders", is_ok=False, text=f"{settings.base} is not there or not writable", mend=mend)
    return Finding("folders", is_ok=True, text=f"{settings.base} is writable")


def _configuration(backend: Backend, commands: Commands) -> tuple[Configuration | None, str]:
    try:
        table = backend.configuration()
        if table is not None:
            return table, ""
        # slurmrestd tells none of it; where the commands are installed beside the agent, they do.
        return cli_words.read_configuration(commands.ask(["scontrol", "show", "config"])), ""
    except SiteUnavailable as error:
        return None, str(error)


def _job_comments(table: Configuration) -> Finding:
    if "job_comment" in table.get("AccountingStoreFlags", ""):
        return Finding("job comments", is_ok=True, text="accounting keeps them")
    mend = "Set AccountingStoreFlags=job_comment in slurm.conf, so that the marker is in sacct's comment as well."
    return Finding("job comments", is_ok=False, text="accounting does not keep them", mend=mend)


def _typed_tres(table: Configuration) -> Finding:
    tracked = table.get("AccountingStorageTRES", "").split(",")
    typed = [name for name in tracked if name.startswith("gres/gpu:")]
    if typed and "gres/gpu" in tracked:
        return Finding("GPU accounting", is_ok=True, text=", ".join(typed))
    mend = "Set AccountingStorageTRES=gres/gpu,gres/gpu:<type> for every type in gres.conf, then restart slurmctld."
    return Finding("GPU accounting", is_ok="gres/gpu" in tracked, text="GPU types are not tracked", mend=mend)


def _half_life(table: Configuration) -> Finding:
    half_life = table.get("PriorityDecayHalfLife", "unknown")
    if _is_zero(half_life):
        return Finding("usage decay", is_ok=True, text="off: GrpTRESMins is a fixed sum")
    mend = "Nothing to do for the hub's budget (its ledger is that); set PriorityDecayHalfLife=0 for a fixed limit."
    text = f"half-life {half_life}: a GrpTRESMins limit forgets old usage, so it is a safety net only"
    return Finding("usage decay", is_ok=True, text=text, mend=mend)


def _is_zero(duration: str) -> bool:
    """Whether a duration as Slurm writes it is none: 00:00:00, 0."""
    return not duration.strip("0:-")


def _part_limits(table: Configuration) -> Finding:
    enforced = table.get("EnforcePartLimits", "NO")
    if enforced in {"ALL", "ANY"}:
        return Finding("partition limits", is_ok=True, text=f"enforced at submit ({enforced})")
    mend = "Set EnforcePartLimits=ALL in slurm.conf, so that an impossible job is refused and does not wait for ever."
    return Finding("partition limits", is_ok=True, text="checked after submit only; the agent sees to it", mend=mend)


def _clock(table: Configuration, now: datetime) -> tuple[Finding, Finding]:
    try:
        site = words.read_time(table.get("as of", ""))
    except SiteUnavailable:
        site = None
    if site is None:
        text = "scontrol does not tell the controller's time"
        return Finding("time zone", is_ok=None, text=text), Finding("clock", is_ok=None, text=text)
    return _zone((site - now).total_seconds()), _skew((site - now).total_seconds())


def _zone(ahead_s: float) -> Finding:
    steps = round(ahead_s / _ZONE_STEP_S)
    if steps and abs(ahead_s - steps * _ZONE_STEP_S) <= _SKEW.total_seconds():
        mend = "Let the wrapper scripts around Slurm's commands keep the TZ that they are called with."
        text = f"times come {ahead_s / 3600:+.2f} hours off UTC although UTC is asked for"
        return Finding("time zone", is_ok=False, text=text, mend=mend)
    return Finding("time zone", is_ok=True, text="times come in UTC")


def _skew(ahead_s: float) -> Finding:
    if abs(ahead_s) > _SKEW.total_seconds():
        mend = "Let chrony or systemd-timesyncd keep the clocks of the controller and of this machine."
        text = f"the controller's clock is {ahead_s:+.0f} s from this machine's"
        return Finding("clock", is_ok=False, text=text, mend=mend)
    return Finding("clock", is_ok=True, text="the controller's clock agrees with this machine's")


def _operator(commands: Commands) -> Finding:
    name = pwd.getpwuid(os.geteuid()).pw_name
    try:
        level = commands.ask(["sacctmgr", "-nP", "show", "user", "where", f"name={name}", "format=AdminLevel"]).strip()
    except SiteUnavailable as error:
        return Finding("operator level", is_ok=None, text=str(error))
    if level in {"Operator", "Administrator"}:
        return Finding("operator level", is_ok=True, text=f"{name} is {level}: it sees all jobs of all accounts")
    mend = f"For limits and for the usage of other accounts: sacctmgr modify user {name} set adminlevel=Operator."
    return Finding("operator level", is_ok=True, text=f"{name} has none: it sees what users may see", mend=mend)
