"""Do both back ends keep the contract's promises on real Slurm?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cesai.contract.conformance import ConnectorConformance
from cesai.contract.trial import Trial
from cesai.demo.slurm import SlurmSite
from tests.connectors.conftest import trial_of

pytestmark = pytest.mark.slurm


class TestCli(ConnectorConformance):
    """The commands, at a site without slurmrestd."""

    @pytest.fixture
    def trial(self, rwth: SlurmSite) -> Iterator[Trial]:
        trial = trial_of(rwth, "cli")
        yield trial
        trial.clean_up()


class TestRest(ConnectorConformance):
    """The dialect that the installed slurmrestd speaks."""

    @pytest.fixture
    def trial(self, juelich: SlurmSite) -> Iterator[Trial]:
        trial = trial_of(juelich, "rest")
        yield trial
        trial.clean_up()
