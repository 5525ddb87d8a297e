"""Which processes make up the whole, and how does each come up?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cesai.demo import postgres
from cesai.demo.cast import EVERYBODY, LEADS, PASSWORD, Part, Person
from cesai.demo.ports import Ports
from cesai.demo.processes import Command, Keeper, NotReady
from cesai.demo.runtime import Runtime
from cesai.demo.slurm import SiteSpec, SiteTrouble, SlurmSite, missing, version
from cesai.demo.steps import StepFailed, StepSkipped

PROJECTS = tuple(LEADS)
MIN_JOB_AGE_SECONDS = 900  # so that the scheduler's own records are still there when they are read back at the end
SPECS = (
    SiteSpec("juelich", "h100", has_rest=True, projects=PROJECTS, min_job_age_s=MIN_JOB_AGE_SECONDS),
    SiteSpec("rwth", "a100", projects=(*PROJECTS, "guests"), min_job_age_s=MIN_JOB_AGE_SECONDS),
)


@dataclass(slots=True)
class Stage:
    """Everything that runs, each part with a folder of its own below the state folder."""

    runtime: Runtime
    ports: Ports
    keeper: Keeper
    sites: dict[str, SlurmSite] = field(default_factory=dict)
    database_url: str = ""

    @classmethod
    def make(cls, runtime: Runtime) -> Stage:
        """The stage of this checkout, as it was left."""
        state = runtime.state
        state.mkdir(parents=True, exist_ok=True)
        ports = Ports(state / "ports.json")
        sites = {spec.name: SlurmSite(spec, state / spec.name, runtime.account, ports) for spec in SPECS}
        return cls(runtime, ports, Keeper(state / "logs"), sites)

    @property
    def hub_url(self) -> str:
        """Where the hub answers."""
        return f"http://127.0.0.1:{self.ports.of('hub')}"

    def folder(self, name: str) -> Path:
        """The folder of one part, made for the account that it runs as."""
        return self.runtime.account.folder(self.runtime.state / name)

    def person(self, part: Part) -> Person:
        """Somebody at a shell."""
        config = self.runtime.state / "people" / part.username
        return Person(part, Path(sys.prefix) / "bin" / "cesai", config, self.hub_url)

    # -- up and down

    def start_database(self) -> None:
        """PostgreSQL, unless CESAI_DATABASE_URL names one.

        Raises:
            StepFailed: it did not come up.
        """
        if given := os.environ.get("CESAI_DATABASE_URL"):
            self.database_url = given
            return
        self.database_url = postgres.start(self.keeper, self.runtime, self.runtime.state / "postgresql")

    def start_hub(self) -> None:
        """`cesai serve` with its worker, beat and issuer.

        Raises:
            StepFailed: it did not come up.
        """
        environment = {
            "CESAI_DATABASE_URL": self.database_url,
            "CESAI_PUBLIC_URL": self.hub_url,
            "CESAI_ISSUER_USERS_FILE": str(self._write_users()),
        }
        line: list[str | Path] = [
            self.runtime.program("cesai"),
            "serve",
            "--port",
            str(self.ports.of("hub")),
            "--migrate",
        ]
        self._start("hub", line, environment, self._hub_answers)

    def start_sites(self) -> str:
        """All Slurm sites, side by side; what each has, in words.

        Raises:
            StepSkipped: Slurm is not installed.
        """
        if absent := missing():
            msg = f"no Slurm here ({', '.join(absent)} missing): as root, `make demo` adds it by apt"
            raise StepSkipped(msg)
        for site in self.sites.values():
            self.folder(site.spec.name)
        try:
            with ThreadPoolExecutor(len(self.sites)) as pool:
                list(pool.map(SlurmSite.start, self.sites.values()))
        except (SiteTrouble, NotReady) as trouble:
            raise StepFailed(str(trouble)) from trouble
        return "\n".join(_describe(site) for site in self.sites.values())

    def start_agent(self, name: str, *, token: str | None) -> None:
        """The agent of one site; with a token it enrols first.

        Raises:
            StepFailed: it was refused, or did not come up.
        """
        folder = self.folder(f"{name}/agent")
        config = folder / "agent.toml"
        self.runtime.account.file(config, self._agent_toml(self.sites[name]), mode=0o600)
        if token:
            self._enrol(config, token)
        line: list[str | Path] = [self.runtime.program("cesai-agent"), "run", "--config", config]
        log = self.keeper.log(f"agent-{name}")
        known = log.stat().st_size if log.exists() else 0
        self._start(f"agent-{name}", line, {}, lambda: b"agent runs" in log.read_bytes()[known:])

    def is_enrolled(self, name: str) -> bool:
        """Whether the site's agent has an identity from an earlier run."""
        return (self.runtime.state / name / "agent" / "state" / "identity.json").exists()

    def stop(self) -> None:
        """End everything that was started, the last first."""
        for name in [name for name in self.keeper.names() if name.startswith("agent-")]:
            self.keeper.stop(name)
        with ThreadPoolExecutor(len(self.sites)) as pool:
            list(pool.map(SlurmSite.stop, self.sites.values()))
        self.keeper.stop_all()

    def rss_mb(self) -> dict[str, float]:
        """Resident memory of every process."""
        found = dict(self.keeper.rss_mb())
        for site in self.sites.values():
            found |= {f"{site.spec.name}.{name}": size for name, size in site.keeper.rss_mb().items()}
        return found

    # -- below

    def _start(
        self, name: str, line: list[str | Path], environment: dict[str, str], is_ready: Callable[[], bool]
    ) -> None:
        command = Command(
            line,
            {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.runtime.state), **environment},
            self.runtime.account,
            self.runtime.state,
            is_ready,
        )
        try:
            self.keeper.start(name, command)
        except NotReady as trouble:
            raise StepFailed(str(trouble)) from trouble

    def _hub_answers(self) -> bool:
        try:
            return httpx.get(f"{self.hub_url}/api/v1/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def _write_users(self) -> Path:
        people = [
            {
                "username": part.username,
                "name": part.name,
                "email": part.email,
                "password": PASSWORD,
                "roles": list(part.roles),
            }
            for part in EVERYBODY
        ]
        content = json.dumps({"users": people}, ensure_ascii=False, indent=1)
        return self.runtime.account.file(self.folder("hub") / "users.json", content, mode=0o600)

    def _enrol(self, config: Path, token: str) -> None:
        state = config.parent / "state"
        line = [self.runtime.program("cesai-agent"), "enroll", "--hub", self.hub_url, "--token", token]
        done = subprocess.run(  # noqa: S603  our own arguments
            [str(word) for word in (*line, "--state", state, "--config", config)],
            cwd=config.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self.runtime.account.switch(),
        )
        if done.returncode != 0:
            msg = f"the agent could not enrol: {done.stderr.strip() or done.stdout.strip()}"
            raise StepFailed(msg)

    def _agent_toml(self, site: SlurmSite) -> str:
        lines = [
            f'hub = "{self.hub_url}"',
            'state = "state"',
            "",
            "[connector]",
            'name = "slurm"',
            f'backend = "{"rest" if site.rest_url else "cli"}"',
            f'cluster = "{site.spec.name}"',
            f'base = "{site.work}"',
            f'slurm_conf = "{site.layout.slurm_conf}"',
            "",
            "[pace]",
            "poll_seconds = 5",
            "quick_seconds = 0.5",
            "capacity_seconds = 5",
            "usage_seconds = 3",
            "absent_seconds = 2",
        ]
        if site.rest_url:
            lines += ["", "[connector.rest]", f'url = "{site.rest_url}"', f'user = "{site.account.name}"']
            lines += ['token_command = ["scontrol", "token", "lifespan=3600"]']
        return "\n".join(lines) + "\n"


def _describe(site: SlurmSite) -> str:
    release = ".".join(str(part) for part in version())
    door = "slurmrestd" if site.rest_url else "command line tools only"
    spec = site.spec
    return f"{spec.name}: Slurm {release}, {spec.nodes} nodes with {spec.gpus_per_node} {spec.gpu} each, {door}"


def await_(what: str, claim: Callable[[], bool], *, seconds: float = 60, pause: float = 0.5) -> None:
    """Wait until something is so.

    Raises:
        StepFailed: it is not, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            msg = f"after {seconds:.0f} s still not: {what}"
            raise StepFailed(msg)
        time.sleep(pause)
