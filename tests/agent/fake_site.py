"""A site small enough to be understood whole: what may it do to a job, and how often did a script really run?

Its state is plain data, so that it can live in memory or in a file that a killed agent leaves behind. One tick is one
move of its scheduler. `runs` counts effective runs per marker: what the protocol promises is that none is above one.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cesai.contract.connector import (
    FolderReading,
    JobRecord,
    Launch,
    Observation,
    SiteState,
    SiteUnavailable,
    SubmitRefused,
)
from cesai.contract.messages import AttemptOrder, CapacitySnapshot, PoolReport, Wish, WrapperStamps

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FINAL_STATES = {"completed", "failed", "cancelled", "timeout", "node_fail"}


def order(number: int = 1, **changes: Any) -> AttemptOrder:
    """An order of one GPU for ten minutes."""
    base: dict[str, Any] = {
        "attempt_id": f"attempt-{number}",
        "marker": f"{number:032x}-a1",
        "wish": Wish.RUN,
        "project": "legal-llm",
        "account": "proj1",
        "cluster": "fake",
        "partition": "gpu",
        "gres_type": "h100",
        "nodes": 1,
        "gpus_per_node": 1,
        "charged_gpus": 1,
        "walltime_minutes": 10,
        "launcher": "plain",
        "script": "#!/bin/sh\ntrue\n",
        "environment": {},
        "checkpoint_folder": None,
        "resume_from": None,
        "ordered_at": START,
    }
    return AttemptOrder.model_validate(base | changes)


@dataclass
class World:
    """Everything that the site knows."""

    clock: float = 0.0
    next_id: int = 1
    run_for: int = 2  # ticks
    jobs: list[dict[str, Any]] = field(default_factory=list)  # the scheduler's own memory
    booked: list[dict[str, Any]] = field(default_factory=list)  # accounting
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    submits: dict[str, int] = field(default_factory=dict)
    is_silent: bool = False
    is_accounting_silent: bool = False
    are_folders_silent: bool = False
    lose_answers: int = 0  # so many submissions are accepted and not answered
    drop_submits: int = 0  # so many are neither
    refuse: str | None = None
    distort: dict[str, Any] = field(default_factory=dict)  # what the site accepts instead of what was asked
    stuck_releases: int = 0
    log: str = "step 1\nstep 2\n"


class FakeSite:
    """The connector of that site."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()

    @contextmanager
    def _open(self) -> Iterator[World]:
        yield self.world

    # What the site does by itself

    def tick(self) -> None:
        """One move: start what may start, end what has run long enough."""
        with self._open() as world:
            world.clock += 1
            for job in list(world.jobs):
                if job["state"] == "pending":
                    self._launch(world, job)
                elif job["state"] == "running":
                    self._go_on(world, job)

    def _launch(self, world: World, job: dict[str, Any]) -> None:
        job.update(state="running", started=world.clock, left=world.run_for)
        folder = world.folders[job["marker"]]
        if folder["buried"] or folder["owner"]:
            if folder["owner"]:
                folder["duplicates"].append(job["id"])
            job.update(left=0, is_effective=False)
            return
        folder.update(owner=job["id"], owner_submit=job["submitted"], owner_restart=job["restart"], started=world.clock)
        world.runs[job["marker"]] = world.runs.get(job["marker"], 0) + 1
        job["is_effective"] = True

    @staticmethod
    def _go_on(world: World, job: dict[str, Any]) -> None:
        job["left"] -= 1
        if job["left"] > 0:
            return
        exit_code = job["exit_code"]
        if job["is_effective"]:
            world.folders[job["marker"]].update(ended=world.clock, exit_code=exit_code)
        elif (code := world.folders[job["marker"]].get("exit_code")) is not None:
            exit_code = code
        job.update(state="completed" if exit_code == 0 else "failed", ended=world.clock, exit_code=exit_code)

    def crash(self, *, forget: str) -> None:
        """A controller that is killed: it forgets a submission, a launch or an end, and uses the id again."""
        with self._open() as world:
            if not world.jobs:
                return
            job = world.jobs[-1]
            if forget == "submission" and job["state"] in {"held", "pending"}:
                world.jobs.remove(job)
                world.booked.append({**job, "state": "pending"})
                world.next_id = int(job["id"])
            elif forget == "launch" and job["state"] == "running":
                # What runs on the node runs on, unknown to the controller, which starts the job again.
                if job["is_effective"]:
                    world.folders[job["marker"]].update(ended=world.clock + world.run_for, exit_code=job["exit_code"])
                job.update(state="pending", started=None)
            elif forget == "end" and job["state"] in FINAL_STATES:
                job.update(state="pending", started=None, ended=None, restart=job["restart"] + 1)

    def forget_finished(self) -> None:
        """MinJobAge has passed: only accounting knows them."""
        with self._open() as world:
            for job in [job for job in world.jobs if job["state"] in FINAL_STATES]:
                world.jobs.remove(job)
                world.booked.append(job)

    def wipe(self) -> None:
        """The scheduler lost its state, and starts counting anew."""
        with self._open() as world:
            world.jobs.clear()
            world.next_id = 1

    # What a connector can do

    def now(self) -> datetime:
        """The site's clock."""
        return START + timedelta(seconds=self.world.clock)

    def prepare(self, order: AttemptOrder) -> None:
        """Make the folder."""
        with self._open() as world:
            folder = world.folders.setdefault(order.marker, new_folder())
            if folder["buried"]:
                msg = "buried"
                raise SubmitRefused(msg)
            folder["prepared"] = True

    def submit(self, order: AttemptOrder) -> str:
        """Accept it, held; or not; or without an answer."""
        with self._open() as world:
            world.submits[order.marker] = world.submits.get(order.marker, 0) + 1
            if world.refuse:
                raise SubmitRefused(world.refuse)
            if world.drop_submits:
                world.drop_submits -= 1
                msg = "timed out"
                raise SiteUnavailable(msg)
            job = self._accept(world, order)
            if world.lose_answers:
                world.lose_answers -= 1
                msg = "timed out"
                raise SiteUnavailable(msg)
            return str(job["id"])

    @staticmethod
    def _accept(world: World, order: AttemptOrder) -> dict[str, Any]:
        world.clock += 0.01  # two submissions never have the same time
        job = {
            "id": str(world.next_id),
            "marker": order.marker,
            "account": order.account,
            "submitted": world.clock,
            "restart": 0,
            "state": "held",
            "gpus": order.nodes * order.gpus_per_node,
            "minutes": order.walltime_minutes,
            "nodes": order.nodes,
            "tasks": 1,
            "started": None,
            "ended": None,
            "exit_code": 0,
            "left": 0,
            "is_effective": False,
            "refusals": world.stuck_releases,
            **world.distort,
        }
        world.next_id += 1
        world.jobs.append(job)
        return job

    def observe(self, markers: Sequence[str], since: datetime) -> Observation:  # noqa: ARG002  everything is told
        """Queue, then accounting."""
        with self._open() as world:
            is_queue = not world.is_silent
            is_accounting = is_queue and not world.is_accounting_silent
            wanted = set(markers)
            queue = [_record(job, is_booked=False) for job in world.jobs if job["marker"] in wanted] if is_queue else []
            books = [*world.booked, *world.jobs] if is_accounting else []
            return Observation(
                taken_at=self.now(),
                queue_answered=is_queue,
                accounting_answered=is_accounting,
                jobs=(*queue, *(_record(job, is_booked=True) for job in books if job["marker"] in wanted)),
            )

    def release(self, external_ids: Sequence[str]) -> None:
        """Let them run, unless they are stuck."""
        with self._answering() as world:
            for job in world.jobs:
                if job["id"] in external_ids and job["state"] == "held":
                    if job["refusals"]:
                        job["refusals"] -= 1
                    else:
                        job["state"] = "pending"

    def cancel(self, external_ids: Sequence[str]) -> None:
        """End them."""
        with self._answering() as world:
            for job in world.jobs:
                if job["id"] in external_ids and job["state"] not in FINAL_STATES:
                    if job["state"] == "running" and job["is_effective"]:
                        world.folders[job["marker"]].update(ended=world.clock, exit_code=143)
                    job.update(state="cancelled", ended=world.clock, exit_code=0)

    def read_folder(self, marker: str) -> FolderReading:
        """Fence and stamps."""
        with self._folders() as world:
            folder = world.folders.get(marker, new_folder())
            ended = folder["ended"] if folder["ended"] is not None and folder["ended"] <= world.clock else None
            stamps = None
            if folder["started"] is not None:
                stamps = WrapperStamps(
                    started_at=_instant(folder["started"]),
                    ended_at=_instant(ended),
                    exit_code=folder["exit_code"] if ended is not None else None,
                    duplicates=len(folder["duplicates"]),
                )
            return FolderReading(
                is_prepared=folder["prepared"],
                is_buried=folder["buried"],
                owner=folder["owner"],
                owner_submit_time=_instant(folder["owner_submit"]),
                owner_restart=folder["owner_restart"],
                stamps=stamps,
                duplicate_ids=tuple(folder["duplicates"]),
                trouble=None,
            )

    def bury(self, marker: str) -> bool:
        """Set the tombstone, unless the fence is taken."""
        with self._folders() as world:
            folder = world.folders.setdefault(marker, new_folder())
            if folder["owner"]:
                return False
            folder["buried"] = True
            return True

    def read_log(self, marker: str, *, offset: int, limit: int) -> bytes:
        """The same log for everybody."""
        with self._open() as world:
            return world.log.encode()[offset : offset + limit] if marker in world.runs else b""

    def capacity(self) -> CapacitySnapshot:
        """One pool."""
        pool = PoolReport(
            cluster="fake",
            partition="gpu",
            gres_type="h100",
            nodes=1,
            nodes_up=1,
            gpus_per_node=4,
            gpus=4,
            gpus_up=4,
            gpus_free=4,
            max_walltime_minutes=60,
        )
        return CapacitySnapshot(taken_at=self.now(), kind="slurm", backend="fake", scheduler_version="1", pools=(pool,))

    def usage(self, accounts: Sequence[str], since: datetime) -> tuple[Launch, ...]:  # noqa: ARG002  everything is told
        """What accounting has."""
        with self._answering() as world:
            if world.is_accounting_silent:
                msg = "accounting is down"
                raise SiteUnavailable(msg)
            books = [*world.booked, *world.jobs]
            return tuple(_launch_of(job) for job in books if job["account"] in accounts)

    def cluster_identity(self) -> str:
        """Never changes."""
        return "fake-1"

    @contextmanager
    def _folders(self) -> Iterator[World]:
        with self._open() as world:
            if world.are_folders_silent:
                msg = "the file system does not answer"
                raise SiteUnavailable(msg)
            yield world

    @contextmanager
    def _answering(self) -> Iterator[World]:
        with self._open() as world:
            if world.is_silent:
                msg = "no answer"
                raise SiteUnavailable(msg)
            yield world


class DiskSite(FakeSite):
    """The same in a file, for agents that are killed; its scheduler moves with real time."""

    def __init__(self, path: Path, *, tick_s: float = 0.05) -> None:
        super().__init__()
        self._path, self._tick_s = path, tick_s
        self._is_open = False

    @contextmanager
    def _open(self) -> Iterator[World]:
        if self._is_open:
            yield self.world
            return
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._path.exists():
                self.world = World(**json.loads(self._path.read_text()))
            self._is_open = True
            try:
                yield self.world
            finally:
                self._is_open = False
                fresh = self._path.with_suffix(".new")
                fresh.write_text(json.dumps(self.world.__dict__))
                fresh.replace(self._path)

    def look(self) -> World:
        """The world as it is now."""
        with self._open() as world:
            return world


def new_folder() -> dict[str, Any]:
    """A folder in which nothing has happened."""
    return {
        "prepared": False,
        "buried": False,
        "owner": None,
        "owner_submit": None,
        "owner_restart": None,
        "started": None,
        "ended": None,
        "exit_code": None,
        "duplicates": [],
    }


def _instant(clock: float | None) -> datetime | None:
    return None if clock is None else START + timedelta(seconds=clock)


def _record(job: dict[str, Any], *, is_booked: bool) -> JobRecord:
    return JobRecord(
        marker=job["marker"],
        external_id=job["id"],
        submit_time=_instant(job["submitted"]),
        restart_count=job["restart"],
        state=SiteState(job["state"]),
        native_state=job["state"].upper(),
        reason=job.get("reason", ""),
        nodes=job["nodes"],
        gpus=job["gpus"],
        walltime_minutes=job["minutes"],
        tasks=job["tasks"],
        started_at=_instant(job["started"]),
        ended_at=_instant(job["ended"]),
        exit_code=job["exit_code"],
        from_accounting=is_booked,
    )


def _launch_of(job: dict[str, Any]) -> Launch:
    started, ended = job["started"], job["ended"]
    return Launch(
        name=job["marker"],
        external_id=job["id"],
        submit_time=START + timedelta(seconds=job["submitted"]),
        account=job["account"],
        partition="gpu",
        native_state=job["state"].upper(),
        gres_type="h100",
        gpus=job["gpus"] if started is not None else 0,
        started_at=_instant(started),
        ended_at=_instant(ended),
        elapsed_s=int((ended or started or 0) - (started or 0)),
    )
