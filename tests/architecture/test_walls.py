"""Does every wall of the house stand, and does it hold whoever runs against it?"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}

# Against each wall at least one bad import: (contract, file, line that is added to it).
ATTEMPTS = [
    ("storeys", "cesai/sites/service/__init__.py", "import cesai.projects.service"),
    ("storeys", "cesai/kernel/amounts.py", "import cesai.contract.jobs"),
    ("storeys", "cesai/access/service.py", "import cesai.issuer.rules"),
    ("storeys", "cesai/attic/__init__.py", ""),
    ("order-inside-rooms", "cesai/projects/service.py", "import cesai.projects.routes"),
    ("order-inside-rooms", "cesai/sites/store.py", "import cesai.sites.service"),
    ("order-inside-rooms", "cesai/projects/helpers.py", ""),
    ("order-inside-access", "cesai/access/tokens.py", "import cesai.access.callers"),
    ("order-inside-access", "cesai/access/utils.py", ""),
    ("pure-rules", "cesai/sites/rules/contact.py", "import sqlalchemy.orm"),
    ("pure-rules", "cesai/projects/rules.py", "import cesai.contract.jobs"),
    ("pure-rules", "cesai/access/rules.py", "from pydantic import BaseModel"),
    ("rules-are-told", "cesai/projects/rules.py", "import time"),
    ("silent-services", "cesai/projects/service.py", "import httpx"),
    ("silent-services", "cesai/sites/store.py", "from celery import shared_task"),
    ("routes-ask-services", "cesai/projects/routes.py", "import cesai.projects.store"),
    ("own-access", "cesai/sites/service/__init__.py", "import cesai.access.tables"),
    ("own-issuer", "cesai/hub/app.py", "import cesai.issuer.store"),
    ("own-sites", "cesai/projects/service.py", "import cesai.sites.store"),
    ("own-projects", "cesai/allocations/service/__init__.py", "import cesai.projects.tables"),
    ("own-allocations", "cesai/federation/service/__init__.py", "import cesai.allocations.store"),
    ("own-federation", "cesai/hub/app.py", "import cesai.federation.tables"),
    ("outside-the-hub", "cesai/client/wire.py", "import cesai.access.rules"),
    ("outside-the-hub", "cesai/agent/journal.py", "import sqlalchemy"),
    ("outside-the-hub", "cesai/demo/steps.py", "import cesai.hub.app"),
    ("light-agent", "cesai/agent/journal.py", "import typer"),
    ("plain-kernel", "cesai/kernel/errors.py", "import pydantic"),
    ("contract-crosses-the-wire", "cesai/contract/messages.py", "import httpx"),
    ("connectors", "connectors/slurm/cesai_slurm/words.py", "import cesai.agent.journal"),
    ("connectors", "connectors/slurm/cesai_slurm/words.py", "import cesai_ray"),
    ("connectors-by-ability", "cesai/demo/steps.py", "import cesai_slurm"),
    ("no-circles", "cesai/contract/messages.py", "import cesai.contract.jobs\n"),
]


class House:
    """A copy of the house that may be spoilt."""

    def __init__(self, folder):
        self.folder = folder
        without = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(TOP / "cesai", folder / "cesai", ignore=without)
        shutil.copytree(TOP / "connectors/slurm", folder / "connectors/slurm", ignore=without)
        shutil.copy(TOP / "pyproject.toml", folder)

    def lint(self, *contracts):
        """Exit code and text of the linter, its lines unbroken."""
        line = [Path(sys.executable).parent / "lint-imports", "--no-logo", "--cache-dir", self.folder / "cache"]
        line += [word for contract in contracts for word in ("--contract", contract)]
        places = f"{self.folder}{os.pathsep}{self.folder / 'connectors/slurm'}"
        ran = subprocess.run(
            line,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": places, "COLUMNS": "300"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    return House(tmp_path_factory.mktemp("house"))


def test_every_wall_stands(copied):
    code, said = copied.lint()
    assert code == 0, said
    assert f"{len(CONTRACTS)} kept, 0 broken" in said


@pytest.mark.parametrize(("contract", "file", "line"), ATTEMPTS)
def test_a_wall_holds_who_runs_against_it(copied, contract, file, line):
    path = copied.folder / file
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text((before or "") + f"\n{line}\n")
    try:
        code, said = copied.lint(contract)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
    assert code == 1, said
    assert f"{CONTRACTS[contract]} BROKEN" in said


def test_somebody_ran_against_every_wall():
    assert {contract for contract, *_ in ATTEMPTS} == set(CONTRACTS)
