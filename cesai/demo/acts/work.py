"""How do the groups' jobs run, and what is refused?"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cesai.demo.cast import LEADS, Person
from cesai.demo.stage import Stage, await_
from cesai.demo.steps import StepFailed

FINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}
SETTLED_SECONDS = 120
FOLLOW_SECONDS = 240
ARRAY_TASKS = 10


@dataclass(slots=True)
class Watched:
    """A log that somebody follows in a terminal, with the instant at which each line came."""

    command: subprocess.Popen[str]
    reader: threading.Thread
    lines: list[tuple[float, str]]

    @classmethod
    def begin(cls, person: Person, job: str) -> Watched:
        """Start `cesai job logs --follow`."""
        command = subprocess.Popen(  # noqa: S603  our own command line
            [str(person.cesai), "job", "logs", "--follow", job],
            env=person.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        lines: list[tuple[float, str]] = []
        reader = threading.Thread(target=lambda: lines.extend(_stamped(command.stdout or ())), daemon=True)
        reader.start()
        return cls(command, reader, lines)

    def to_the_end(self) -> list[tuple[float, str]]:
        """Wait for the job's end; every line with its instant."""
        try:
            self.command.wait(FOLLOW_SECONDS)
        except subprocess.TimeoutExpired:
            self.command.kill()
        self.reader.join()
        if self.command.stdout:
            self.command.stdout.close()
        return self.lines


@dataclass(slots=True)
class Work:
    """Jobs by the command line, each as the lead of its group."""

    stage: Stage
    corpus: Path  # where the sites find the texts
    jobs: dict[str, str] = field(default_factory=dict)  # our word for it -> id
    watched: Watched | None = None

    def lead(self, project: str) -> Person:
        """The head of a group."""
        return self.stage.person(LEADS[project])

    # -- three jobs

    def submit_three(self) -> str:
        """One that must go to Jülich, one that the hub places, one at RWTH; somebody watches the first from now on."""
        two_nodes = {"nodes": 2, "sites": ["juelich"], "gpu_class": "H100", "launcher": "srun"}
        self._submit("two nodes", "legal-llm", self._training(steps=300, pause=0.03), **two_nodes)
        self.watched = Watched.begin(self.lead("legal-llm"), self.jobs["two nodes"])
        self._submit("anywhere", "speech", self._training(steps=200), gpu_class=["H100", "A100"], launcher="srun")
        self._submit("rwth", "chem-lm", self._training(steps=200), sites=["rwth"], gpu_class="A100", launcher="srun")
        for name in ("two nodes", "anywhere", "rwth"):
            self._await_placed(name)
        return "\n".join(f"{name}: placed at {self._site(name)}" for name in self.jobs)

    def follow_log(self) -> str:
        """Somebody watches the loss fall, line by line, while the job runs."""
        came = self.watched.to_the_end() if self.watched else []
        losses = [(at, text) for at, text in came if "loss" in text]
        if not losses or losses[-1][0] - losses[0][0] < 1:
            msg = f"the log should have come line by line; it was {[text for _, text in came][-5:]}"
            raise StepFailed(msg)
        return f"{len(losses)} lines over {losses[-1][0] - losses[0][0]:.0f} s; the last: {losses[-1][1].strip()}"

    def await_three(self) -> str:
        """All three end well."""
        for name in ("two nodes", "anywhere", "rwth"):
            self._await_end(name, "SUCCEEDED")
        return "\n".join(f"{name}: {self.show(name)['state'].lower()} at {self._site(name)}" for name in self.jobs)

    # -- cancelled and resumed

    def cancel_and_resume(self) -> str:
        """A running job is cancelled after its first checkpoint, and another goes on from there."""
        options = {"sites": ["rwth"], "gpu_class": "A100", "launcher": "srun"}
        self._submit("long", "chem-lm", self._training(steps=100_000, pause=0.05), **options)
        await_("the long job has written a checkpoint", lambda: "checkpoint" in self._log("long"), seconds=90)
        self.lead("chem-lm").does("job", "cancel", self.jobs["long"], "--reason", "to show that it goes on")
        self._await_end("long", "CANCELLED")
        seen = self._last_checkpoint()
        self._submit("resumed", "chem-lm", self._training(steps=seen + 100), resume=self.jobs["long"], **options)
        self._await_end("resumed", "SUCCEEDED")
        said = next((line for line in self._log("resumed").splitlines() if "resumed" in line), "")
        if str(seen) not in said:
            msg = f"it should have gone on from step {seen}; its log says: {self._log('resumed')[:300]}"
            raise StepFailed(msg)
        return said.strip()

    # -- refusals

    def refuse_over_award(self) -> str:
        """Larger than what the group has left."""
        return self._refused(
            ("GPU-hours", "left"), nodes=2, gpus_per_node=4, walltime="1d", gpu_class="A100", sites=["rwth"]
        )

    def refuse_over_site(self) -> str:
        """Larger than any site."""
        return self._refused(("GPUs",), nodes=900, gpus_per_node=4, gpu_class="A100")

    def refuse_unknown_class(self) -> str:
        """A GPU class that the hub does not know."""
        return self._refused(("H200",), gpu_class="H200")

    # -- the script with #SBATCH lines

    def run_array_once(self) -> str:
        """A script with `#SBATCH --array` runs once through the hub, and as often as it says by a plain sbatch."""
        script = f'#!/bin/sh\n#SBATCH --array=0-{ARRAY_TASKS - 1}\ntouch "$COUNT_IN/$SLURM_JOB_ID"\n'
        site = self.stage.sites["rwth"]
        ours, naive = (self.stage.runtime.account.folder(site.work / name) for name in ("count-hub", "count-naive"))
        before = _count(ours), _count(naive)
        self._submit("array", "chem-lm", script, sites=["rwth"], gpu_class="A100", environment={"COUNT_IN": str(ours)})
        file = self.stage.runtime.account.file(site.work / "naive.sh", script, mode=0o755)
        export = f"--export=COUNT_IN={naive},PATH=/usr/bin:/bin"
        site.run(["sbatch", "--account=guests", "--wait", "--output=/dev/null", export, file], seconds=120)
        self._await_end("array", "SUCCEEDED")
        ran = _count(ours) - before[0], _count(naive) - before[1]
        if ran != (1, ARRAY_TASKS):
            msg = f"it should run once by the hub and {ARRAY_TASKS} times by sbatch; it ran {ran[0]} and {ran[1]} times"
            raise StepFailed(msg)
        return f"through the hub once, by a plain sbatch of the same file {ARRAY_TASKS} times"

    def await_settled(self) -> str:
        """Every attempt's use is booked."""
        await_("every attempt is settled", self._all_settled, seconds=SETTLED_SECONDS)
        return f"{len(self.jobs)} jobs settled"

    # -- below

    def show(self, name: str) -> dict[str, Any]:
        """The job as the hub tells it."""
        return dict(self._owner(name).does("job", "show", self.jobs[name]))

    def _owner(self, name: str) -> Person:
        return self.stage.person(self._parts[name])

    @property
    def _parts(self) -> dict[str, Any]:
        chem = LEADS["chem-lm"]
        rest = dict.fromkeys(("rwth", "long", "resumed", "array"), chem)
        return {"two nodes": LEADS["legal-llm"], "anywhere": LEADS["speech"], **rest}

    def _training(self, *, steps: int, pause: float = 0) -> str:
        python = self.stage.runtime.python
        return f"exec {python} -m cesai.demo.train --corpus {self.corpus} --steps {steps} --pause {pause}\n"

    def _submit(self, name: str, project: str, script: str, **wishes: Any) -> None:  # noqa: ANN401  keys of a job file
        script = script if script.startswith("#!") else f"#!/bin/sh\n{script}"
        content = {"name": f"demo {name}", "project": project, "script": script, "gpus_per_node": 2, "walltime": "5m"}
        answer = self.lead(project).does("job", "submit", "-", given=json.dumps(content | wishes))
        self.jobs[name] = answer["id"]

    def _refused(self, expect: tuple[str, ...], **wishes: Any) -> str:  # noqa: ANN401  keys of a job file
        content = {"name": "too much", "project": "chem-lm", "entrypoint": "true", "gpus_per_node": 1, "walltime": "5m"}
        given = json.dumps(content | wishes)
        return self.lead("chem-lm").is_refused("job", "submit", "-", expect=expect, given=given)

    def _site(self, name: str) -> str:
        return str(self.show(name)["attempts"][-1]["site"])

    def _log(self, name: str) -> str:
        return self._owner(name).tries("job", "logs", self.jobs[name]).out

    def _last_checkpoint(self) -> int:
        return int(re.findall(r"^checkpoint step-(\d+)", self._log("long"), re.MULTILINE)[-1])

    def _await_placed(self, name: str) -> None:
        await_(f"the job “{name}” is placed", lambda: bool(self.show(name)["attempts"]))

    def _await_end(self, name: str, state: str) -> None:
        await_(f"the job “{name}” ends", lambda: self.show(name)["state"] in FINAL, seconds=150)
        job = self.show(name)
        if job["state"] != state:
            seen = f"{job['attempts']}\n{self._log(name)[-800:]}"
            msg = f"the job “{name}” should end {state}, it is {job['state']}: {seen}"
            raise StepFailed(msg)

    def _all_settled(self) -> bool:
        return all(
            attempt["gpu_ms_settled"] is not None for name in self.jobs for attempt in self.show(name)["attempts"]
        )


def _count(folder: Path) -> int:
    return len(list(folder.iterdir()))


def _stamped(lines: Iterable[str]) -> Iterator[tuple[float, str]]:
    for line in lines:
        yield time.monotonic(), line
