"""Does the line lose, double or keep anything when hub or agent are killed at any step of the protocol?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cesai.kernel.crash import CrashPoint
from tests.e2e.line import WAIT, Line, Task, until

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.fault]
SITES = ("juelich", "rwth")  # one by slurmrestd, one by the command line


def on_the_way(line: Line, part: str, point: CrashPoint, *, site: str) -> Task:
    """Die at the step while a new job goes through it; its script waits until it was seen to run, or for the death."""
    line.start(part, crash_at=point)
    with ThreadPoolExecutor() as pool:
        submitting = pool.submit(line.submit, site, WAIT)
        until(f"{part} dies", lambda: _dies(line, part, submitting))
        _revive(line, part)
        task = submitting.result()
    task.open()
    return task


def _dies(line: Line, part: str, submitting: Future[Task]) -> bool:
    if line.has_ended(part):
        return True
    if submitting.done() and line.show(task := submitting.result()).state == "RUNNING":
        task.open()
    return False


def while_telling(line: Line, part: str, point: CrashPoint, *, site: str) -> Task:
    """Die at the step when a running job's end is told: it ends while hub or agent are away."""
    task = line.submit(site, WAIT)
    line.await_state(task, "RUNNING")
    line.stage.keeper.stop(part)
    task.open()
    line.start(part, crash_at=point)
    until(f"{part} dies", lambda: line.has_ended(part))
    _revive(line, part)
    return task


def while_cancelling(line: Line, part: str, point: CrashPoint, *, site: str) -> Task:
    """Die at the step after a running job was wished to end."""
    line.start(part, crash_at=point)
    task = line.submit(site, WAIT)
    line.await_state(task, "RUNNING")
    line.lead("speech").jobs.cancel(task.id)
    until(f"{part} dies", lambda: line.has_ended(part))
    _revive(line, part)
    return task


def _revive(line: Line, part: str) -> None:
    assert line.died_by_kill(part), line.said(part)[-2000:]
    line.start(part)


Play = Callable[..., Task]
PLAYS: dict[CrashPoint, tuple[str, Play]] = {
    CrashPoint.HUB_SUBMIT_RECEIVED: ("SUCCEEDED", on_the_way),
    CrashPoint.HUB_SUBMIT_COMMITTED: ("SUCCEEDED", on_the_way),
    CrashPoint.HUB_PLACED: ("SUCCEEDED", on_the_way),
    CrashPoint.HUB_SYNC_RECEIVED: ("SUCCEEDED", while_telling),
    CrashPoint.HUB_REPORT_COMMITTED: ("SUCCEEDED", while_telling),
    CrashPoint.HUB_SETTLED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_ORDER_RECEIVED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_INTENT_JOURNALED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_SUBMITTED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_ID_JOURNALED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_READ_BACK: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_RELEASED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_FENCE_SEEN: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_END_SEEN: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_END_JOURNALED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_USAGE_JOURNALED: ("SUCCEEDED", on_the_way),
    CrashPoint.AGENT_REPORTED: ("SUCCEEDED", while_telling),
    CrashPoint.AGENT_CANCEL_SENT: ("CANCELLED", while_cancelling),
}


HUB = [point for point in CrashPoint if point.startswith("hub-")]
AGENT = [point for point in CrashPoint if point.startswith("agent-")]
# Each site has an agent of its own, so two of them can die at the same time.
DEATHS = [*((point,) for point in HUB), *zip(AGENT[::2], AGENT[1::2], strict=True)]


def test_every_step_has_its_death() -> None:
    assert set(PLAYS) == set(CrashPoint) == {point for points in DEATHS for point in points}


@pytest.mark.parametrize("points", DEATHS, ids="+".join)
def test_a_kill_at_this_step_loses_doubles_and_keeps_nothing(line: Line, points: tuple[CrashPoint, ...]) -> None:
    before = {job.id for job in line.operator.jobs.list(project="speech")}
    with ThreadPoolExecutor() as pool:
        tasks = list(pool.map(lambda site, point: _play(line, site, point), SITES, points))
    for task, job, point in zip(tasks, line.await_settled(*tasks), points, strict=True):
        state, _ = PLAYS[point]
        assert (job.state, [attempt.outcome for attempt in job.attempts]) == (state, [state]), (job, line.log(task))
        assert task.runs() == 1
        line.witnesses_agree(task, job)
    assert {job.id for job in line.operator.jobs.list(project="speech")} - before == {task.id for task in tasks}
    line.nothing_is_reserved("speech")


def _play(line: Line, site: str, point: CrashPoint) -> Task:
    _, play = PLAYS[point]
    return play(line, "hub" if point in HUB else f"agent-{site}", point, site=site)
