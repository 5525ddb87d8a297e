"""How does a test act on the whole line: hub, two Slurm sites and their agents, each a process of its own?"""

from __future__ import annotations

import signal
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from cesai.client.answers import Job
from cesai.client.api import Hub
from cesai.client.cli import app
from cesai.client.exits import NotReached
from cesai.contract.jobs import read_job
from cesai.demo.acts.books import Books
from cesai.demo.acts.work import Work
from cesai.demo.cast import EVERYBODY, LEADS, OPERATOR, SITE_ADMINS, Part, Person, Said
from cesai.demo.slurm import SlurmSite
from cesai.demo.stage import Stage
from cesai.kernel.crash import CrashPoint
from cesai.kernel.ids import marker
from cesai.kernel.states import JOB_FINAL

T = TypeVar("T")
PATIENCE_S = 120
LOOK_S = 0.2
CLASS_OF = {"juelich": "H100", "rwth": "A100"}
PARTS = {part.username: part for part in EVERYBODY}


ONE_AT_A_TIME = Lock()  # a command takes standard output and environment of the whole process


class QuickPerson(Person):
    """Somebody whose commands run inside this process: a new interpreter for each would take most of the time."""

    def tries(self, *words: str, given: str | None = None) -> Said:
        with ONE_AT_A_TIME:
            done = CliRunner().invoke(app, words, input=given, env=self.environment())
        return Said(done.exit_code, done.stdout, done.stderr)


class QuickStage(Stage):
    """The demonstration's stage, with agents that come back to a hub at once."""

    def person(self, part: Part) -> QuickPerson:
        person = super().person(part)
        return QuickPerson(person.part, person.cesai, person.config, person.hub)

    def _agent_toml(self, site: SlurmSite) -> str:
        quick = "[pace]\nmax_backoff_seconds = 1"
        return super()._agent_toml(site).replace("[pace]", quick).replace("usage_seconds = 3", "usage_seconds = 1")


@dataclass(frozen=True)
class Task:
    """A job that was submitted, and what it was told to leave at its site."""

    id: str
    site: SlurmSite
    mark: str

    @property
    def gate(self) -> Path:
        """A script that waits goes on once this file is there."""
        return self.site.work / f"{self.mark}.open"

    @property
    def left(self) -> Path:
        """Where a script may leave something."""
        return self.site.work / f"{self.mark}.left"

    def open(self) -> None:
        """Let its script go on."""
        if not self.gate.exists():
            self.site.account.file(self.gate, "")

    def runs(self) -> int:
        """How often its script ran."""
        return runs_of(self.site, self.mark)


def runs_file(site: SlurmSite) -> Path:
    """Every script appends its mark here."""
    return site.work / "runs"


def runs_of(site: SlurmSite, mark: str) -> int:
    """How often a script with this mark ran."""
    file = runs_file(site)
    return file.read_text().split().count(mark) if file.exists() else 0


WAIT = 'while [ ! -e "$GATE" ]; do sleep 0.1; done\n'


@dataclass
class Line:
    """Everything that runs, and who may act on it."""

    stage: QuickStage
    sites: Mapping[str, SlurmSite]
    _hubs: dict[str, Hub] = field(default_factory=dict)

    # -- people

    def person(self, username: str) -> Person:
        """Somebody at a shell."""
        return self.stage.person(PARTS[username])

    def as_(self, username: str) -> Hub:
        """The hub as somebody's program sees it; a hub that does not answer is told at once, not waited for."""
        with ONE_AT_A_TIME:
            if username not in self._hubs:
                self._hubs[username] = self._sign_in(username)
            return self._hubs[username]

    def _sign_in(self, username: str) -> Hub:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CESAI_CONFIG_DIR", str(self.person(username).config))
            hub = Hub.signed_in()
        hub.jobs._wire._waits = ()
        return hub

    @property
    def operator(self) -> Hub:
        """Who may read everything."""
        return self.as_(OPERATOR.username)

    def lead(self, project: str) -> Hub:
        """The head of a group."""
        return self.as_(LEADS[project].username)

    def admin(self, site: str) -> Hub:
        """Who administers a site."""
        return self.as_(SITE_ADMINS[site].username)

    # -- jobs

    def submit(self, site: str, script: str, *, project: str = "speech", **wishes: Any) -> Task:
        """A job of one GPU at this site whose script first appends its mark; asked for until the hub has answered."""
        mark, key, where = uuid4().hex, uuid4().hex, self.sites[site]
        task = Task("", where, mark)
        told = {"MARK": mark, "RUNS": str(runs_file(where)), "GATE": str(task.gate), "LEFT": str(task.left)}
        content = {
            "name": "end to end",
            "project": project,
            "script": f'#!/bin/sh\n{wishes.pop("directives", "")}echo "$MARK" >>"$RUNS"\n{script}',
            "gpus_per_node": 1,
            "gpu_class": CLASS_OF[site],
            "sites": [site],
            "walltime": 5,
            "environment": told | wishes.pop("environment", {}),
        }
        file = read_job(content | wishes)
        job = until("the hub takes the job", lambda: self.lead(project).jobs.submit(file, key=key))
        return replace(task, id=job.id)

    def submit_all(self, sites: Iterable[str], script: str, **wishes: Any) -> list[Task]:
        """One such job at each of these sites, all at once."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda site: self.submit(site, script, **wishes), sites))

    def show(self, task: Task) -> Job:
        """The job as the operator sees it."""
        return self.operator.jobs.show(task.id)

    def await_state(self, task: Task, *states: str) -> Job:
        """The job, once it is in one of these states."""
        job = until(
            f"the job is one of {states}",
            lambda: (job := self.show(task)).state in {*states, *JOB_FINAL} and job,
            else_=lambda: self.show(task),
        )
        assert job.state in states, (job, self.log(task))
        return job

    def await_settled(self, *tasks: Task) -> list[Job]:
        """The jobs, once each attempt of each is over and its use is booked."""
        return until("everything is settled", lambda: _settled([self.show(task) for task in tasks]))

    def log(self, task: Task) -> str:
        """Its log, as far as the hub has it by now."""
        return b64decode(self.operator.jobs.log(task.id).base64).decode(errors="replace")

    # -- what must always hold

    def nothing_is_reserved(self, project: str) -> None:
        """The ledger is whole, and of this group's awards nothing is set aside for jobs that are over."""
        checks = self.operator.ledger.verify()
        assert checks.invariants_hold, checks
        assert all(line.pending_gpu_ms == 0 for line in self.operator.compute.balance(project))

    def witnesses_agree(self, task: Task, job: Job) -> None:
        """Ledger, accounting, scheduler and wrapper tell the same use; the site is asked again by its own commands."""
        books = Books(self.stage, Work(self.stage, task.site.work))
        for attempt in job.attempts:
            facts = attempt.model_dump()
            books._agree(books._attempt(facts, marker(UUID(job.id), attempt.number)))

    # -- kill and start again

    def start(self, part: str, *, crash_at: CrashPoint | None = None) -> None:
        """Start `hub` or `agent-SITE` again, where it runs after a kill -9; with a crash point it dies there.

        It is not waited for: whoever needs it asks until it answers.
        """
        keeper = self.stage.keeper
        command = keeper._commands[part]
        if keeper.is_running(part):
            keeper.kill(part)
        env = {**command.env, **({"CESAI_CRASH_AT": crash_at} if crash_at else {})}
        words = [word for word in command.line if word != "--migrate"]
        keeper.start(part, replace(command, line=words, env=env, is_ready=lambda: True))
        keeper._commands[part] = command

    def has_ended(self, part: str) -> bool:
        """Whether this process is gone."""
        return not self.stage.keeper.is_running(part)

    def died_by_kill(self, part: str) -> bool:
        """Whether it ended as by kill -9."""
        return self.stage.keeper._running[part].returncode == -signal.SIGKILL

    def said(self, part: str) -> str:
        """All that this process wrote."""
        return self.stage.keeper.log(part).read_text(errors="replace")

    def close(self) -> None:
        """Let go of connections, then end hub and agents."""
        for hub in self._hubs.values():
            hub.close()
        self.stage.keeper.stop_all()


def _settled(jobs: list[Job]) -> list[Job] | None:
    is_over = all(
        job.state in JOB_FINAL and all(attempt.gpu_ms_settled is not None for attempt in job.attempts) for job in jobs
    )
    return jobs if is_over else None


def until(
    what: str,
    claim: Callable[[], T | Literal[False] | None],
    *,
    pause: float = LOOK_S,
    else_: Callable[[], object] | None = None,
) -> T:
    """What the claim says, once it says something; a hub that is away has said nothing.

    Raises:
        AssertionError: it does not, in this time.
    """
    deadline = time.monotonic() + PATIENCE_S
    trouble: object = None
    while True:
        try:
            if found := claim():
                return found
        except NotReached as error:
            trouble = error
        assert time.monotonic() < deadline, (f"still not: {what}", trouble, else_() if else_ else None)
        time.sleep(pause)
