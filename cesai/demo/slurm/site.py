"""How does one real Slurm site come up in a folder, and how does it go again?

Either everything runs as one account, or (with local users) slurmd as root, so that jobs run as the projects' own
accounts, SlurmUser as the account, and slurmrestd as yet another. `python -m cesai.demo.slurm --help` runs a site in
the foreground.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cesai.demo import accounts, processes
from cesai.demo.accounts import Account
from cesai.demo.local_users import LocalUsers
from cesai.demo.ports import Ports, is_listening
from cesai.demo.processes import Command, Keeper
from cesai.demo.slurm import config, steps
from cesai.demo.slurm.config import Layout, SiteSpec

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sacctmgr", "sbatch")
IDLE_SECONDS = 60.0
END_SECONDS = 8.0


class SiteTrouble(Exception):
    """The site cannot be used; the sentence says why."""


def missing(*, with_rest: bool = True) -> tuple[str, ...]:
    """Programs of Slurm that are not installed."""
    wanted = (*PROGRAMS, "slurmrestd") if with_rest else PROGRAMS
    return tuple(name for name in wanted if not shutil.which(name, path=PATH))


def version() -> tuple[int, ...]:
    """Which Slurm is installed."""
    said = subprocess.run(  # noqa: S603  our own arguments
        [found("slurmctld"), "-V"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return config.read_version(said.stdout)


def found(program: str) -> str:
    """Its whole path: daemons lie in sbin, which is not on a user's path.

    Raises:
        SiteTrouble: it is not installed.
    """
    path = shutil.which(program, path=PATH)
    if not path:
        msg = f"{program} is not installed; as root: apt-get install slurm-wlm slurmdbd slurmrestd munge mariadb-server"
        raise SiteTrouble(msg)
    return path


@dataclass(slots=True)
class SlurmSite:
    """One cluster with everything that belongs to it: start, use, break, stop."""

    spec: SiteSpec
    folder: Path
    account: Account
    ports: Ports
    users: LocalUsers | None = None
    keeper: Keeper = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.keeper = Keeper(self.folder / "logs")

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return Layout(
            folder=self.folder,
            sockets=config.socket_folder(self.folder),
            port=lambda part: self.ports.of(f"{self.spec.name}.{part}"),
            slurm_user=self.account.name,
            slurmd_user="root" if self.users else self.account.name,
        )

    @property
    def work(self) -> Path:
        """The shared file system of the site: a folder where jobs may work."""
        return self.folder / "work"

    @property
    def rest_url(self) -> str | None:
        """Where slurmrestd listens, if the site has one."""
        return f"http://127.0.0.1:{self.layout.port('slurmrestd')}" if self.spec.has_rest else None

    def env(self) -> dict[str, str]:
        """The environment in which Slurm's commands speak to this site."""
        zone = {"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}
        return {"PATH": PATH, "LANG": "C.UTF-8", "SLURM_CONF": str(self.layout.slurm_conf), **zone}

    # -- up and down

    def start(self) -> None:
        """Bring everything up; returns when all nodes are idle. A folder of an earlier run goes on where it was.

        Raises:
            SiteTrouble: something did not come up.
        """
        self._lay_out()
        try:
            self._start_munged()
            self._start_mariadb()
            self._start_slurmdbd()
            self._register()
            self.start_slurmctld()
            for name in self.spec.node_names:
                self.start_slurmd(name)
            if self.spec.has_rest:
                self._start_slurmrestd()
            self.await_idle()
        except (processes.NotReady, SiteTrouble, OSError, subprocess.SubprocessError):
            self.stop()
            raise

    def stop(self) -> None:
        """End the site's jobs, then its daemons in reverse order; nothing that it started is left. Repeat-safe."""
        if self.keeper.is_running("slurmctld"):
            self._cancel_everything()
        self.keeper.stop_all()
        for pid in steps.of(self.folder):
            processes.signal_quietly(pid, signal.SIGKILL)
        shutil.rmtree(self.layout.sockets, ignore_errors=True)

    def start_slurmctld(self) -> int:
        """Start the controller (also after it was killed); its pid."""
        is_new = not (self.folder / "state" / "ctld" / "clustername").exists()
        line = [found("slurmctld"), "-D", *(["-i"] if is_new else [])]
        return self._start("slurmctld", line, listens="slurmctld")

    def start_slurmd(self, node: str) -> int:
        """Start the daemon of one node (also after it was killed); its pid."""
        account = accounts.named("root") if self.users else self.account
        return self._start(node, [found("slurmd"), "-D", "-N", node], listens=node, account=account)

    def await_idle(self, *, patience: float = IDLE_SECONDS) -> None:
        """Wait until every node may take a job.

        Raises:
            SiteTrouble: one may not, in this time.
        """
        deadline = time.monotonic() + patience
        while True:
            done = self.run(["sinfo", "-N", "-h", "-o", "%N %T"], check=False)
            states = dict(line.split() for line in done.stdout.splitlines())
            if len(states) == self.spec.nodes and set(states.values()) <= {"idle", "mixed", "allocated"}:
                return
            if time.monotonic() > deadline:
                msg = f"the nodes of {self.spec.name} did not become idle: {states or done.stderr}"
                raise SiteTrouble(msg)
            time.sleep(0.05)

    # -- use

    def run(
        self,
        line: Sequence[str | Path],
        *,
        account: Account | None = None,
        check: bool = True,
        given: str | None = None,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command at the site, as the site's account or another, and hear what it says."""
        return subprocess.run(  # noqa: S603  our own command lines
            [str(word) for word in line],
            env=self.env(),
            cwd=self.work,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=check,
            timeout=seconds,
            **(account or self.account).switch(),
        )

    def token(self, user: str | None = None, *, lifespan_s: int = 3600) -> str:
        """A token for slurmrestd, as `scontrol token` makes it. Source: Slurm's JSON Web Tokens page (claim sun)."""
        issued = int(time.time())
        claims = {"exp": issued + lifespan_s, "iat": issued, "sun": user or self.account.name}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        signature = hmac.digest(self.layout.jwt_key.read_bytes(), signed.encode(), "sha256")
        return f"{signed}.{_base64(signature)}"

    def add_project(self, project: str) -> None:
        """Give a project a Slurm account that the site's own account may charge. Repeat-safe."""
        self._add_members({(project, self.account.name)})

    # -- break

    def pid(self, name: str) -> int:
        """The process id of munged, mariadb, slurmdbd, slurmctld, slurmrestd or a node."""
        return self.keeper.pid(name)

    def freeze(self, name: str) -> None:
        """Stop a daemon in its tracks (SIGSTOP)."""
        self.keeper.freeze(name)

    def thaw(self, name: str) -> None:
        """Let it go on."""
        self.keeper.thaw(name)

    def kill(self, name: str) -> None:
        """End it as a crash does (SIGKILL)."""
        self.keeper.kill(name)

    def restart(self, name: str) -> int:
        """Start it again, after a kill or in good order; its pid."""
        self.keeper.stop(name)
        if name == "slurmctld":
            return self.start_slurmctld()
        return self.keeper.restart(name)

    # -- the parts

    def _lay_out(self) -> None:
        account, layout = self.account, self.layout
        folder = account.folder(self.folder)
        if not account.can_enter(folder):
            msg = f"{account.name} cannot enter {folder}; choose a folder whose parents are open to others (mode o+x)"
            raise SiteTrouble(msg)
        spools = [f"state/{node}" for node in self.spec.node_names]
        for name in ("etc", "logs", "state", "state/ctld", "gpus", "mariadb", "mariadb/scratch", *spools):
            account.folder(folder / name)
        account.folder(folder / "secrets", mode=0o700)
        if not self.work.exists():
            account.folder(self.work)
        if self.users:
            self.users.base_folders(self.work)
        account.folder(layout.sockets)
        for number in range(self.spec.gpus_per_node):
            account.file(folder / "gpus" / f"gpu{number}", "")
        self._write_config()

    def _write_config(self) -> None:
        account, layout, etc = self.account, self.layout, self.folder / "etc"
        self._secret("munge.key", secrets.token_bytes(128), mode=0o400)
        self._secret("jwt.key", secrets.token_bytes(32))
        password = self._secret("database", secrets.token_hex(16).encode()).decode()
        account.file(layout.slurm_conf, config.slurm_conf(self.spec, layout))
        account.file(etc / "gres.conf", config.gres_conf(self.spec, layout))
        account.file(etc / "slurmdbd.conf", config.slurmdbd_conf(layout, password), mode=0o600)
        account.file(etc / "my.cnf", config.mariadb_cnf(layout, account.name))
        account.file(layout.database / "init.sql", config.init_sql(password), mode=0o600)
        if version() >= config.DISABLED_CGROUPS_FROM:
            account.file(etc / "cgroup.conf", "CgroupPlugin=disabled\n")

    def _secret(self, name: str, fresh: bytes, *, mode: int = 0o600) -> bytes:
        path = self.folder / "secrets" / name
        if not path.exists():
            self.account.file(path, fresh, mode=mode)
        return path.read_bytes()

    def _start(
        self,
        name: str,
        line: Sequence[str | Path],
        *,
        listens: str,
        account: Account | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        port = self.layout.port(listens)
        return self.keeper.start(
            name,
            Command(
                line=line,
                env={**self.env(), **(env or {})},
                account=account or self.account,
                folder=self.folder,
                is_ready=lambda: is_listening(port),
            ),
        )

    def _start_munged(self) -> None:
        munge, logs = self.layout.munge, self.folder / "logs"
        line = [found("munged"), "--foreground", f"--socket={munge}", f"--key-file={self.folder}/secrets/munge.key"]
        line += [f"--log-file={logs}/munged.log", f"--pid-file={self.folder}/state/munged.pid"]
        line += [f"--seed-file={self.folder}/state/munge.seed", "--num-threads=10"]
        munge.unlink(missing_ok=True)
        self.keeper.start("munged", Command(line, self.env(), self.account, self.folder, munge.exists))

    def _start_mariadb(self) -> None:
        defaults = f"--defaults-file={self.folder}/etc/my.cnf"
        # A stamp, not the data: an installation that was interrupted leaves a folder that looks whole.
        stamp = self.layout.database / "installed"
        if not stamp.exists():
            shutil.rmtree(self.layout.database / "data", ignore_errors=True)
            line = ["mariadb-install-db", defaults, "--auth-root-authentication-method=normal", "--skip-test-db"]
            done = self.run(line, check=False)
            if done.returncode != 0:
                log = processes.tail(self.keeper.log("mariadb"))
                msg = f"mariadb-install-db ended with {done.returncode}: {done.stderr[-500:]}\n{log}"
                raise SiteTrouble(msg)
            self.account.file(stamp, "")
        self._start("mariadb", [found("mariadbd"), defaults], listens="mariadb")

    def _start_slurmdbd(self) -> None:
        self._start("slurmdbd", [found("slurmdbd"), "-D"], listens="slurmdbd")

    def _start_slurmrestd(self) -> None:
        port = self.layout.port("slurmrestd")
        env = {"SLURM_JWT": "daemon"}
        if self.users is None and version() >= config.USER_CHECK_FROM:
            env["SLURMRESTD_SECURITY"] = "disable_user_check"
        account = self.users.rest if self.users else self.account
        line = [found("slurmrestd"), "-a", "rest_auth/jwt", f"127.0.0.1:{port}"]
        self._start("slurmrestd", line, listens="slurmrestd", account=account, env=env)

    def _register(self) -> None:
        """Make cluster and accounts before slurmctld starts, so that it finds them at once."""
        if self.spec.name not in self.run(["sacctmgr", "-nP", "show", "cluster", "format=cluster"]).stdout.split():
            self._sacctmgr("add", "cluster", self.spec.name)
        if self.users is None:
            self._add_members({(project, self.account.name) for project in self.spec.projects})
        else:
            self._add_members({(project.name, project.name) for project in self.users.projects})
            agent = self.users.agent.name
            self._add_members({(agent, agent)}, "adminlevel=operator")

    def _add_members(self, wanted: set[tuple[str, str]], *words: str) -> None:
        """Add what is not there: what sacctmgr says and does about the rest differs between releases."""
        known = self.run(["sacctmgr", "-nP", "show", "assoc", "format=account,user"]).stdout.splitlines()
        there = {(account, user) for account, _, user in (line.partition("|") for line in known)}
        where = f"cluster={self.spec.name}"
        if absent := sorted({project for project, _ in wanted} - {account for account, _ in there}):
            self._sacctmgr("add", "account", ",".join(absent), where)
        for user in sorted({user for _, user in wanted - there}):
            projects = ",".join(sorted(project for project, one in wanted - there if one == user))
            self._sacctmgr("add", "user", user, f"account={projects}", where, *words)

    def _sacctmgr(self, *words: str) -> None:
        done = self.run(["sacctmgr", "-i", *words], check=False)
        if done.returncode != 0:
            msg = f"sacctmgr {' '.join(words)} at {self.spec.name}: {(done.stdout + done.stderr).strip()}"
            raise SiteTrouble(msg)

    def _cancel_everything(self) -> None:
        """Jobs outlive slurmd, so they are ended first; a controller that does not answer is not waited for."""
        try:
            self.run(["scancel", "--partition=gpu", "--state=RUNNING"], check=False, seconds=5)
            deadline = time.monotonic() + END_SECONDS
            while steps.of(self.folder) and time.monotonic() < deadline:
                time.sleep(0.05)
        except subprocess.TimeoutExpired:
            return


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
