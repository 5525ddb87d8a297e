"""How do tests get real Slurm sites, as whom do they run, and how are they gone afterwards?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from cesai.demo import local_users, machine, runtime
from cesai.demo.ports import Ports
from cesai.demo.runtime import Runtime
from cesai.demo.slurm import SiteSpec, SlurmSite, missing

PROJECTS = ("legal-llm", "speech", "chem-lm")
JUELICH = SiteSpec("juelich", "h100", has_rest=True, projects=PROJECTS, min_job_age_s=120, message_timeout_s=5)
RWTH = SiteSpec("rwth", "a100", projects=PROJECTS, min_job_age_s=120, message_timeout_s=5)
KARLSRUHE = SiteSpec("karlsruhe", "h200", nodes=1, has_rest=True, min_job_age_s=120, message_timeout_s=5)


@pytest.fixture(scope="session")
def demo_runtime() -> Runtime:
    """The account and the programs that daemons run as and from (as root: not ours)."""
    return runtime.prepare()


@pytest.fixture(scope="session")
def open_folder(demo_runtime: Runtime) -> Iterator[Path]:
    """A short folder of this session that the runtime's account can enter: pytest's own is closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="cesai-test-"))
    demo_runtime.account.folder(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def needs_slurm() -> None:
    """Skip, with the reason, where Slurm is not installed."""
    skip_without_slurm()


def skip_without_slurm() -> None:
    """The same for fixtures."""
    if absent := missing():
        pytest.skip(f"Slurm is not installed here ({', '.join(absent)})")


@contextmanager
def two_sites(runtime: Runtime, folder: Path) -> Iterator[Mapping[str, SlurmSite]]:
    """Two independent clusters: juelich with slurmrestd and rwth without; everything runs as one account."""
    skip_without_slurm()
    runtime.account.folder(folder)
    ports = Ports(folder / "ports.json")
    sites = {spec.name: SlurmSite(spec, folder / spec.name, runtime.account, ports) for spec in (JUELICH, RWTH)}
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(SlurmSite.start, sites.values()))
        yield sites
    finally:
        for site in sites.values():
            site.stop()


@pytest.fixture(scope="session")
def slurm_sites(demo_runtime: Runtime, open_folder: Path) -> Iterator[Mapping[str, SlurmSite]]:
    """The session's two clusters, which tests share."""
    with two_sites(demo_runtime, open_folder) as sites:
        yield sites


@pytest.fixture(scope="session")
def juelich(slurm_sites: Mapping[str, SlurmSite]) -> SlurmSite:
    """The site with slurmrestd and H100."""
    return slurm_sites["juelich"]


@pytest.fixture(scope="session")
def rwth(slurm_sites: Mapping[str, SlurmSite]) -> SlurmSite:
    """The site with command line tools only, and A100."""
    return slurm_sites["rwth"]


@pytest.fixture(scope="session")
def root_site(demo_runtime: Runtime, open_folder: Path) -> Iterator[SlurmSite]:
    """A cluster whose slurmd runs as root, so that each project's jobs run as the project's own account."""
    skip_without_slurm()
    if os.geteuid() != 0:
        pytest.skip("local accounts can only be made by root")
    if machine.lacks_slurm():
        pytest.skip("sudo is not installed here")
    users = local_users.make(f"t{os.getpid()}")
    site = SlurmSite(
        KARLSRUHE, open_folder / "karlsruhe", demo_runtime.account, Ports(open_folder / "root.json"), users
    )
    try:
        site.start()
        yield site
    finally:
        site.stop()
        local_users.remove(f"t{os.getpid()}")
