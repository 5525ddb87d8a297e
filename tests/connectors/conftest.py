"""How do connectors meet the real Slurm sites of this test session?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cesai.contract.messages import AttemptOrder, Launcher, Wish
from cesai.contract.trial import Trial
from cesai.demo.slurm import SlurmSite
from cesai.kernel.ids import marker, new_id
from cesai_slurm.connector import SlurmConnector, assemble
from cesai_slurm.settings import read_settings

ACCOUNT = "legal-llm"


def an_order(**changes: object) -> AttemptOrder:
    """One that fits juelich: two of the four GPUs on each of its two nodes."""
    fields = {
        "attempt_id": str(new_id()),
        "marker": marker(new_id(), 1),
        "wish": Wish.RUN,
        "project": ACCOUNT,
        "account": ACCOUNT,
        "cluster": "juelich",
        "partition": "gpu",
        "gres_type": "h100",
        "nodes": 2,
        "gpus_per_node": 2,
        "charged_gpus": 4,
        "walltime_minutes": 3,
        "launcher": Launcher.PLAIN,
        "script": "#!/bin/sh\n",
        "environment": {},
        "checkpoint_folder": None,
        "resume_from": None,
        "ordered_at": datetime.now(UTC),
    }
    return AttemptOrder.model_validate(fields | changes)


def base_of(site: SlurmSite) -> Path:
    """The folder with the projects' folders, as a site's admin makes them."""
    base = site.account.folder(site.work / "projects")
    for project in site.spec.projects:
        site.account.folder(base / project, mode=0o2770)
    return base


def connector_of(site: SlurmSite, backend: str, **changes: object) -> SlurmConnector:
    """A connector that acts as the site's account, whoever runs the tests."""
    table: dict[str, object] = {
        "backend": backend,
        "cluster": site.spec.name,
        "base": str(base_of(site)),
        "slurm_conf": str(site.layout.slurm_conf),
    }
    if backend == "rest":
        token = site.account.file(site.folder / "secrets" / "connector.jwt", site.token(), mode=0o600)
        table["rest"] = {"url": site.rest_url, "user": site.account.name, "token_file": str(token)}
    return assemble(read_settings(table | changes), prefix=site.account.prefix())


@pytest.fixture
def recorded() -> Path:
    """What Slurm 22.05 answered."""
    return Path(__file__).parent / "recorded" / "slurm-22.05"


@pytest.fixture
def order() -> Callable[..., AttemptOrder]:
    """Makes orders."""
    return an_order


def trial_of(site: SlurmSite, backend: str) -> Trial:
    """A connector of this back end at this site, with orders that fit."""
    gpu = {"cluster": site.spec.name, "gres_type": site.spec.gpu}
    full = {**gpu, "gpus_per_node": site.spec.gpus_per_node, "charged_gpus": 8}
    return Trial(connector_of(site, backend), order=an_order(**gpu), full=an_order(**full))
