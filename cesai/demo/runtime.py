"""As whom and from where does the demonstration run on this machine?

An ordinary user runs it as himself, from the checkout's `.venv`, with its state in the checkout's `.cesai`. Root's
demonstration does not run as root, since neither PostgreSQL nor a job of Slurm may: it has one system account without
a shell per checkout, which cannot enter root's home, so both its programs (a second environment, installed from
wheels) and its state lie below /var/lib, and `.cesai` is a link to there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cesai.demo import accounts, programs
from cesai.demo.accounts import Account

CHECKOUT = Path(__file__).resolve().parents[2]
LIBRARY = Path("/var/lib/cesai-demo")
SOCKETS = "cesai-sockets"  # a note in a part's folder: where its sockets lie, since their path must be short


class RuntimeTrouble(Exception):
    """The demonstration cannot run here; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Account, programs and state of one checkout's demonstration."""

    checkout: Path
    account: Account
    home: Path  # everything that is made outside the checkout, or its .cesai
    venv: Path

    @property
    def python(self) -> Path:
        """The interpreter that the account can run."""
        return self.venv / "bin" / "python"

    def program(self, name: str) -> Path:
        """An installed command, such as cesai or cesai-agent."""
        return self.venv / "bin" / name

    @property
    def state(self) -> Path:
        """Where every part has its folder."""
        return self.home / "state" if self.is_apart else self.home

    @property
    def is_apart(self) -> bool:
        """Whether it runs as an account of its own, because we are root."""
        return not self.account.is_me


def digest(checkout: Path) -> str:
    """What names this checkout's account and folder."""
    return hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:12]


def account_name(checkout: Path) -> str:
    """The name of the system account that a root's demonstration runs as."""
    return f"cesai-demo-{digest(checkout)}"


def account(checkout: Path = CHECKOUT) -> Account:
    """The account to run as: ours, or as root the checkout's own, made when it is not there."""
    if os.geteuid() != 0:
        return accounts.current()
    return accounts.make(account_name(checkout), LIBRARY / digest(checkout))


def prepare(checkout: Path = CHECKOUT) -> Runtime:
    """Make account, folders and programs, as far as they are not there or the sources have changed since.

    Raises:
        RuntimeTrouble: `.cesai` is somebody else's, or the programs cannot be installed.
    """
    checkout = checkout.resolve()
    who = account(checkout)
    if who.is_me:
        runtime = Runtime(checkout, who, checkout / ".cesai", checkout / ".venv")
        runtime.state.mkdir(exist_ok=True)
        return runtime
    home = LIBRARY / digest(checkout)
    runtime = Runtime(checkout, who, home, home / "venv")
    root = accounts.named("root")
    for folder in (LIBRARY, home):
        root.folder(folder)
    who.folder(runtime.state)
    _link(checkout / ".cesai", runtime.state)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs.install(checkout, runtime.venv)
    return runtime


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Hold the state folder for one demonstration.

    Raises:
        RuntimeTrouble: another one has it.
    """
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"the demonstration is running in {state}; end it with Ctrl-C first"
            raise RuntimeTrouble(msg) from None
        yield


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.resolve() == target:
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        msg = f"{link} is the state of a demonstration that ran as {link.owner()}; `make demo-clean` removes it"
        raise RuntimeTrouble(msg)
    link.symlink_to(target)
