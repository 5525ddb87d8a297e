"""Does the whole line do what a group expects: run, follow, cancel, resume, fail, and count everything?"""

from __future__ import annotations

import pytest

from cesai.demo.acts.work import Watched
from tests.e2e.line import WAIT, Line, Task, until

pytestmark = [pytest.mark.e2e, pytest.mark.slurm]
ODD = "a,b=c;d $(touch x) `id` \"'\\\nsecond line\n\ttab,LD_X=/evil.so"
WHOLE_SITE = {"nodes": 2, "gpus_per_node": 4, "project": "legal-llm"}


@pytest.fixture(scope="module")
def tasks(line: Line) -> dict[str, Task]:
    """Every job of the story that can run beside the others, submitted at once."""
    return {
        "ranks": line.submit("rwth", "srun sh -c 'echo \"$SLURM_PROCID of $SLURM_NTASKS\"'\nsleep 2\n", nodes=2),
        "broken": line.submit("rwth", "srun sh -c 'exit 3'\n"),
        "array": line.submit("rwth", "sleep 1\n", directives="#SBATCH --array=0-9\n#SBATCH --ntasks=4\n"),
        "odd": line.submit("rwth", 'printf "%s" "$ODD" >"$LEFT"\n', environment={"ODD": ODD}),
        "followed": line.submit("rwth", f"echo first\n{WAIT}echo last\n"),
        "long": line.submit("rwth", f'echo 41 >"$CESAI_CHECKPOINT_DIR/step"\necho saved\n{WAIT}'),
    }


def test_a_log_is_read_while_its_job_runs(line: Line, tasks: dict[str, Task]) -> None:
    watched = Watched.begin(line.person("bruno"), tasks["followed"].id)
    with watched.command:
        until("the first line is read", lambda: any("first" in text for _, text in watched.lines))
        assert line.show(tasks["followed"]).state == "RUNNING"
        tasks["followed"].open()
        assert [text.strip() for _, text in watched.to_the_end()] == ["first", "last"]
    line.await_state(tasks["followed"], "SUCCEEDED")


def test_a_running_job_is_cancelled_and_another_goes_on_from_its_checkpoint(line: Line, tasks: dict[str, Task]) -> None:
    long = tasks["long"]
    until("a checkpoint is written", lambda: "saved" in line.log(long))
    line.lead("speech").jobs.cancel(long.id, reason="enough")
    job = line.await_state(long, "CANCELLED")
    assert job.attempts[-1].outcome == "CANCELLED"
    resumed = line.submit("rwth", 'echo "on from $(cat "$CESAI_RESUME_FROM/step")"\n', resume=long.id)
    line.await_state(resumed, "SUCCEEDED")
    until("its log is here", lambda: "on from 41" in line.log(resumed))
    assert (long.runs(), resumed.runs()) == (1, 1)


def test_a_job_is_cancelled_wherever_it_is(line: Line) -> None:
    running = line.submit("juelich", WAIT, walltime=1, **WHOLE_SITE)
    line.await_state(running, "RUNNING")
    pending = line.submit("juelich", WAIT, walltime=20, **WHOLE_SITE)
    until("the second waits at the site", lambda: _attempt_states(line, pending) == ["SUBMITTED"])
    queued = line.submit("juelich", WAIT, **WHOLE_SITE)
    until("the third waits at the hub, and why", lambda: line.show(queued).waiting_reason)
    for task in (queued, pending, running):
        line.lead("legal-llm").jobs.cancel(task.id)
    jobs = line.await_settled(queued, pending, running)
    assert [job.state for job in jobs] == ["CANCELLED"] * 3
    assert [len(job.attempts) for job in jobs] == [0, 1, 1]
    assert [task.runs() for task in (queued, pending, running)] == [0, 0, 1]
    assert jobs[1].attempts[0].gpu_ms_settled == 0
    line.witnesses_agree(running, jobs[2])
    line.nothing_is_reserved("legal-llm")


def _attempt_states(line: Line, task: Task) -> list[str]:
    return [attempt.state for attempt in line.show(task).attempts]


def test_an_srun_that_fails_inside_a_script_fails_the_job(line: Line, tasks: dict[str, Task]) -> None:
    job = line.await_state(tasks["broken"], "FAILED")
    assert (job.attempts[-1].outcome, job.attempts[-1].exit_code) == ("FAILED", 3)


def test_an_array_in_a_script_runs_once(line: Line, tasks: dict[str, Task]) -> None:
    line.await_state(tasks["array"], "SUCCEEDED")
    assert tasks["array"].runs() == 1


def test_every_value_of_the_environment_arrives_as_it_was_written(line: Line, tasks: dict[str, Task]) -> None:
    line.await_state(tasks["odd"], "SUCCEEDED")
    assert tasks["odd"].left.read_text() == ODD


def test_ledger_accounting_scheduler_and_wrapper_tell_the_same(line: Line, tasks: dict[str, Task]) -> None:
    jobs = line.await_settled(*tasks.values())
    for task, job in zip(tasks.values(), jobs, strict=True):
        line.witnesses_agree(task, job)
    assert all(attempt.gpu_ms_settled > 0 for attempt in jobs[0].attempts)
    until("the log is here", lambda: {"0 of 2", "1 of 2"} <= {*line.log(tasks["ranks"]).splitlines()})
    line.nothing_is_reserved("speech")
