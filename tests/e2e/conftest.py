"""How does the whole line come up once for all tests that need it, and how is it gone again?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cesai.demo.acts.setting import Setting
from cesai.demo.ports import Ports
from cesai.demo.processes import Keeper
from cesai.demo.runtime import Runtime
from cesai.demo.slurm import SlurmSite
from tests.conftest import empty_database
from tests.e2e.line import Line, QuickStage
from tests.slurm_sites import two_sites


@pytest.fixture(scope="package")
def own_sites(demo_runtime: Runtime, open_folder: Path) -> Iterator[Mapping[str, SlurmSite]]:
    """Two clusters for these tests alone: fault tests leave traces in a cluster, such as ids that come again."""
    with two_sites(demo_runtime, open_folder / "own") as sites:
        yield sites


@pytest.fixture(scope="package")
def line(
    demo_runtime: Runtime, open_folder: Path, server_url: str, own_sites: Mapping[str, SlurmSite]
) -> Iterator[Line]:
    """Hub, two sites and two agents, with groups that have awards, set up as the demonstration does."""
    runtime = replace(demo_runtime, home=demo_runtime.account.folder(open_folder / "line"))
    state = runtime.account.folder(runtime.state)
    stage = QuickStage(runtime, Ports(state / "ports.json"), Keeper(state / "logs"), dict(own_sites))
    with empty_database(server_url) as stage.database_url:
        line = Line(stage, own_sites)
        try:
            stage.start_hub()
            _set_up(Setting(stage))
            yield line
        finally:
            line.close()


def _set_up(setting: Setting) -> None:
    setting.everybody_signs_in()
    setting.register_sites()
    setting.enrol_agents()
    setting.discover()
    setting.confirm_mapping()
    setting.pledge()
    setting.found_groups()
