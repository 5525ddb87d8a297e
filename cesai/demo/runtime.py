"""As whom and from where does the demonstration run on this machine?

An ordinary user runs it as himself, from the checkout's `.venv`, with its state in the checkout's `.cesai`. Root's
demonstration does not run as root, since neither PostgreSQL nor a job of Slurm may: it has one system account without
a shell per checkout, which cannot enter root's home, so both its programs (a second environment, installed from
wheels) and its state lie below /var/lib, and `.cesai` is a link to there.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cesai.demo import accounts
from cesai.demo.accounts import Account

CHECKOUT = Path(__file__).resolve().parents[2]
LIBRARY = Path("/var/lib/cesai-demo")


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
