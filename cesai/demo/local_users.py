"""Which Unix accounts does a site have on which each project's jobs run as the project's own?

The site's agent is an ordinary account that may run commands as the projects' accounts by a rule of sudo; it is in no
project's group, and a project's files reach it through the project's base folder, which belongs to the agent's group.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cesai.demo import accounts
from cesai.demo.accounts import Account

NOWHERE = Path("/nonexistent")
RULES = Path("/etc/sudoers.d")
RULE_MODE = 0o440


@dataclass(frozen=True, slots=True)
class LocalUsers:
    """The accounts beside the one that Slurm runs as."""

    agent: Account
    rest: Account
    projects: tuple[Account, ...]  # their names are also the names of their Slurm accounts

    def base_folders(self, work: Path) -> None:
        """Give each project a folder on the site's file system, for its jobs and the agent and nobody else."""
        for project in self.projects:
            folder = work / project.name
            folder.mkdir(exist_ok=True)
            os.chown(folder, project.uid, self.agent.gid)
            folder.chmod(0o2770)


def make(digest: str, *, projects: int = 2, commands: Sequence[str] = ("ALL",)) -> LocalUsers:
    """Make the accounts and the rule: the agent may run these commands as each project's account. Repeat-safe."""
    users = LocalUsers(
        agent=accounts.make(f"cesai-{digest}-agent", NOWHERE),
        rest=accounts.make(f"cesai-{digest}-rest", NOWHERE),
        projects=tuple(accounts.make(f"cesai-{digest}-p{n + 1}", NOWHERE) for n in range(projects)),
    )
    targets = ",".join(project.name for project in users.projects)
    agent = users.agent.name
    keeps = f'Defaults:{agent} env_keep += "SLURM_CONF", !requiretty'
    rule = f"{keeps}\n{agent} ALL=({targets}) NOPASSWD: {', '.join(commands)}\n"
    if RULES.is_dir():
        accounts.named("root").file(RULES / f"cesai-{digest}", rule, mode=RULE_MODE)
    return users


def remove(digest: str) -> None:
    """Remove accounts and rule. Repeat-safe."""
    (RULES / f"cesai-{digest}").unlink(missing_ok=True)
    for name in accounts.names_like(f"cesai-{digest}-"):
        accounts.remove(name)
