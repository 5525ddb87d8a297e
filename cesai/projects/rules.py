"""Which local account may a project have, and who may know of a project?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from cesai.kernel.errors import Refused

ACCOUNT = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# Jobs run as the local account, so these would give a group the machine or its scheduler.
SYSTEM_ACCOUNTS = frozenset({"root", "slurm", "munge", "nobody", "daemon", "bin", "sys", "mysql", "postgres"})


@dataclass(frozen=True, slots=True)
class Project:
    """A group's model project."""

    id: str
    title: str
    organisation: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewProject:
    """What an operator says about a project when opening it."""

    id: str
    title: str
    organisation: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a site's admin says about a project: either its local account there, or why it is refused."""

    site_id: str
    project_id: str
    account: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a site said about a project: its local account there, or why not."""

    site_id: str
    project_id: str
    account: str | None
    refused: str | None
    decided_by: str
    decided_at: datetime


def check_verdict(verdict: Verdict, *, holder: str | None) -> None:
    """Nothing, when the site's admin may say this; `holder` is the project that has the account now.

    Raises:
        Refused: neither or both are said, or the account cannot be the project's.
    """
    if verdict.refused is not None and verdict.account is None:
        if not verdict.refused.strip():
            msg = "Say in a sentence why the project is refused; its members will read it."
            raise Refused(msg)
        return
    if verdict.account is None or verdict.refused is not None:
        msg = "Give either the local account under which the project's jobs run, or why it is refused."
        raise Refused(msg)
    _check_account(verdict.account)
    if holder not in (None, verdict.project_id):
        msg = f"Another project has the account {verdict.account} at {verdict.site_id}; each needs one of its own."
        raise Refused(msg)


def _check_account(account: str) -> None:
    if not ACCOUNT.fullmatch(account):
        msg = (
            f"{account!r} cannot be a local account: begin with a lower-case letter, then lower-case letters, "
            "digits, _ and - (31 at most)."
        )
        raise Refused(msg)
    if account in SYSTEM_ACCOUNTS:
        msg = f"{account} is an account of the system itself; give the project one of its own."
        raise Refused(msg)
