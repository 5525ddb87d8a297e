"""How often does each job run when the controller freezes around its submission?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from uuid import uuid4

import pytest

from cesai.demo.slurm import SlurmSite
from tests.e2e.line import Line, Task, runs_file, runs_of, until

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.fault]
SUBMISSIONS = 24
FREEZES = 2
FROZEN_S = 7  # longer than the site's MessageTimeout of 5 s
SUBMITTED = "submitted: marker="  # how the agent logs it
STRANGERS = {"juelich": "chem-lm", "rwth": "legal-llm"}  # accounts that the hub does not use there
SHARE = SUBMISSIONS // FREEZES // len(STRANGERS)  # at each site in each freeze


class Naive:
    """Calls sbatch until it says 0, as many a script does."""

    def __init__(self, site: SlurmSite) -> None:
        self.site = site
        self.mark = uuid4().hex
        self.gave_up_once = Event()

    def submit(self) -> None:
        line = ["sbatch", f"--account={STRANGERS[self.site.spec.name]}", "--output=/dev/null"]
        script = f"#!/bin/sh\necho {self.mark} >>{runs_file(self.site)}\n"
        while self.site.run(line, given=script, check=False).returncode != 0:
            self.gave_up_once.set()
        self.gave_up_once.set()


@contextmanager
def frozen(site: SlurmSite) -> Iterator[None]:
    """A controller that stands still for as long as it is asked."""
    site.freeze("slurmctld")
    try:
        yield
    finally:
        site.thaw("slurmctld")


def freeze(line: Line, site: SlurmSite, submitted: int) -> list[Naive]:
    """Freeze one site as soon as its agent has submitted the first of a batch, and let naive clients try meanwhile."""
    agent = f"agent-{site.spec.name}"
    until("the agent submits", lambda: line.said(agent).count(SUBMITTED) > submitted, pause=0.01)
    naive = [Naive(site) for _ in range(SHARE)]
    with ThreadPoolExecutor(SHARE) as pool:
        with frozen(site):
            began = time.monotonic()
            tries: list[Future[None]] = [pool.submit(one.submit) for one in naive]
            for one in naive:
                one.gave_up_once.wait(60)
            time.sleep(max(0.0, began + FROZEN_S - time.monotonic()))  # the dose of the fault, nothing is awaited
        for one in tries:
            one.result()
    return naive


def freeze_all(line: Line) -> tuple[list[Task], list[Naive]]:
    """One batch of jobs through the hub to both sites, and a freeze of both in the middle of it."""
    before = {name: line.said(f"agent-{name}").count(SUBMITTED) for name in line.sites}
    with ThreadPoolExecutor() as pool:
        freezing = [pool.submit(freeze, line, site, before[name]) for name, site in line.sites.items()]
        tasks = line.submit_all(list(line.sites) * SHARE, "")
        return tasks, [naive for one in freezing for naive in one.result()]


def count_at_the_end(line: Line, naive: list[Naive]) -> list[int]:
    """How often each naive client's script ran, once no job of theirs is left."""
    for name, account in STRANGERS.items():
        ask = ["squeue", "--noheader", f"--account={account}"]
        until(
            "no naive job is left", lambda n=name, a=ask: (said := line.sites[n].run(a)).stdout.strip() == "" and said
        )
    return [runs_of(one.site, one.mark) for one in naive]


def test_over_freezes_every_job_runs_exactly_once_and_a_naive_clients_do_not(line: Line) -> None:
    tasks: list[Task] = []
    naive: list[Naive] = []
    for _ in range(FREEZES):
        jobs, clients = freeze_all(line)
        tasks += jobs
        naive += clients
        line.await_settled(*jobs)
    assert len(tasks) == len(naive) == SUBMISSIONS
    assert [task.runs() for task in tasks] == [1] * SUBMISSIONS
    for job in line.await_settled(*tasks):
        assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("SUCCEEDED", ["SUCCEEDED"]), job
    line.nothing_is_reserved("speech")
    counts = count_at_the_end(line, naive)
    assert counts != [1] * SUBMISSIONS, "the freezes were none: even a naive client got through them"
