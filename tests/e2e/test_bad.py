"""What do whole processes say to a foreign agent, an impossible wish and a wrong clock, and is nothing left behind?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cesai.agent.cli import Exit
from cesai.contract.jobs import read_job
from cesai.demo.steps import StepFailed
from cesai.kernel.errors import Refused
from tests.e2e.line import Line, until

pytestmark = [pytest.mark.e2e, pytest.mark.slurm]
AN_HOUR_AHEAD = """
import sys
from datetime import UTC, datetime, timedelta
from cesai.agent import cli

class Ahead:
    def now(self):
        return datetime.now(UTC) + timedelta(hours=1)

cli.SystemClock = Ahead
sys.exit(cli.main(sys.argv[1:]))
"""


def test_gpus_that_no_node_has_are_refused_with_a_sentence_and_leave_no_job(line: Line) -> None:
    lead = line.lead("chem-lm")
    wish = {"name": "five", "project": "chem-lm", "entrypoint": "true", "gpu_class": "A100", "walltime": 5}
    with pytest.raises(Refused, match=r"larger than any site has \(rwth gpu 2 x 4\); ask for fewer"):
        lead.jobs.submit(read_job(wish | {"gpus_per_node": 5}))
    assert not list(lead.jobs.list(project="chem-lm"))
    line.nothing_is_reserved("chem-lm")


# Agents


def home(line: Line, name: str) -> Path:
    """The agent.toml of one more agent beside rwth."""
    account = line.stage.runtime.account
    return account.file(line.stage.folder(f"agents/{name}") / "agent.toml", line.stage._agent_toml(line.sites["rwth"]))


def ends_refused(line: Line, part: str) -> str:
    """What this agent says when the hub refuses it and it stops by itself."""
    until(f"{part} ends", lambda: line.has_ended(part))
    assert line.stage.keeper._running[part].returncode == Exit.REFUSED
    line.stage.keeper.stop(part)
    return line.said(part).splitlines()[-1]


def start_beside(line: Line, part: str, config: Path) -> None:
    """Run one more agent from its own folder."""
    command = line.stage.keeper._commands["agent-rwth"]
    line.stage.keeper.start(part, replace(command, line=[*command.line[:-1], config]))


def test_a_token_that_is_wrong_or_used_enrols_nobody(line: Line) -> None:
    config = home(line, "late")
    with pytest.raises(StepFailed, match="The hub refuses"):
        line.stage._enrol(config, "not-one-that-the-hub-ever-made")
    used = line.admin("rwth").sites.enrol("rwth").token
    line.stage.keeper.stop("agent-rwth")
    line.stage._enrol(line.stage.folder("rwth/agent") / "agent.toml", used)
    line.start("agent-rwth")
    with pytest.raises(StepFailed, match="The hub refuses"):
        line.stage._enrol(config, used)
    assert not (config.parent / "state" / "identity.json").exists()


def test_an_agent_with_an_old_key_or_another_sites_name_is_told_and_stops(line: Line) -> None:
    config, mine = home(line, "newcomer"), line.stage.folder("rwth/agent") / "agent.toml"
    line.stage._enrol(config, line.admin("rwth").sites.enrol("rwth").token)
    line.stage.keeper.restart("agent-rwth")
    assert "The hub refuses (401)" in ends_refused(line, "agent-rwth")

    others = (line.stage.folder("juelich/agent") / "state" / "identity.json").read_text()
    line.stage.runtime.account.file(config.parent / "state" / "identity.json", others, mode=0o600)
    start_beside(line, "agent-newcomer", config)
    assert "The hub refuses (401)" in ends_refused(line, "agent-newcomer")

    line.stage._enrol(mine, line.admin("rwth").sites.enrol("rwth").token)
    line.start("agent-rwth")
    task = line.submit("rwth", "")
    line.await_state(task, "SUCCEEDED")
    assert task.runs() == 1


# Clocks


@pytest.fixture
def ahead(line: Line) -> Iterator[None]:
    """The agent of rwth, with a clock that is an hour ahead."""
    keeper = line.stage.keeper
    command = keeper._commands["agent-rwth"]
    keeper.stop("agent-rwth")
    words = [line.stage.runtime.python, "-c", AN_HOUR_AHEAD, *command.line[1:]]
    keeper.start("agent-rwth", replace(command, line=words))
    yield
    keeper.stop("agent-rwth")
    keeper.start("agent-rwth", command)


@pytest.mark.usefixtures("ahead")
def test_a_clock_an_hour_ahead_is_shown_and_costs_nobody_a_second(line: Line) -> None:
    task = line.submit("rwth", "sleep 2\n")
    contact = until(
        "the clock is seen", lambda: (seen := line.operator.sites.show("rwth").contact).clock_skew_s > 3000 and seen
    )
    assert abs(contact.clock_skew_s - 3600) < 60
    assert "clock" in contact.trouble
    job = line.await_settled(task)[0]
    assert (job.state, task.runs()) == ("SUCCEEDED", 1)
    line.witnesses_agree(task, job)
    line.nothing_is_reserved("speech")
