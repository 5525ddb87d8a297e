"""Which site runs jobs where a test has none? One that speaks the agent's protocol and runs a script of a few words.

`exit N` ends with N, `wait` runs until it is cancelled, `say TEXT` writes a line; anything else is ignored.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

import httpx
from joserfc.jwk import ECKey

from cesai.contract.messages import (
    AttemptOrder,
    AttemptReport,
    CapacitySnapshot,
    EnrolRequest,
    LogRange,
    LogWant,
    PoolReport,
    SyncReply,
    SyncRequest,
    UsageKind,
    UsageRecord,
    Wish,
    WrapperStamps,
)
from cesai.kernel.states import AttemptState, Outcome
from tests.acting import agent_token

GPUS = 8


@dataclass
class Held:
    """One attempt at the site."""

    order: AttemptOrder
    number: int
    state: AttemptState = AttemptState.SUBMITTED
    sequence: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None

    def move(self, state: AttemptState) -> None:
        self.state = state
        self.sequence += 1

    @property
    def log(self) -> bytes:
        said = [line.removeprefix("say ") for line in self.order.script.splitlines() if line.startswith("say ")]
        return "".join(f"{line}\n" for line in said).encode()

    def step(self, now: datetime) -> None:
        """One step further on its way."""
        if self.state is AttemptState.SUBMITTED and self.order.wish is Wish.RUN:
            self.started_at = now
            self.move(AttemptState.RUNNING)
        elif self.state is not AttemptState.ENDED and self.order.wish is Wish.CANCEL:
            self._end(now, Outcome.CANCELLED, None)
        elif self.state is AttemptState.RUNNING and "wait\n" not in self.order.script:
            words = self.order.script.split()
            code = int(words[words.index("exit") + 1]) if "exit" in words else 0
            self._end(now, Outcome.FAILED if code else Outcome.SUCCEEDED, code)

    def _end(self, now: datetime, outcome: Outcome, exit_code: int | None) -> None:
        self.ended_at, self.outcome, self.exit_code = now, outcome, exit_code
        self.move(AttemptState.ENDED)


class StandIn:
    """A site of one partition with eight H100."""

    def __init__(self, hub: str, token: str) -> None:
        self._client = httpx.Client(base_url=hub, timeout=40)
        self._key = ECKey.generate_key("P-256")
        self._instance = uuid4().hex
        request = EnrolRequest(
            token=token, instance_id=self._instance, agent_version="0.1.0", public_key=self._key.as_dict(private=False)
        )
        enrolled = self._client.post("/agent/v1/enrol", json=request.model_dump(mode="json"))
        assert enrolled.status_code == 201, enrolled.text
        self._agent = enrolled.json()["agent_id"]
        self._held: dict[str, Held] = {}
        self._wants: tuple[LogWant, ...] = ()
        self._sequence = 0
        self._revision = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.trouble: Exception | None = None

    def __enter__(self) -> Self:
        self.sync()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._client.close()
        assert self.trouble is None, self.trouble

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.1):
                self.sync()
        except (AssertionError, httpx.HTTPError, ValueError) as error:
            self.trouble = error

    def sync(self) -> None:
        """One exchange with the hub."""
        now = datetime.now(UTC)
        for held in self._held.values():
            held.step(now)
        reply = self._ask(now)
        self._revision, self._wants = reply.revision, reply.log_wants
        for attempt in reply.settled:
            self._held.pop(attempt, None)
        for order in reply.orders:
            known = self._held.setdefault(order.attempt_id, Held(order, len(self._held) + self._sequence))
            known.order = order

    def _ask(self, now: datetime) -> SyncReply:
        self._sequence += 1
        request = SyncRequest(
            agent_version="0.1.0",
            instance_id=self._instance,
            sequence=self._sequence,
            site_epoch="epoch-1",
            clock=now,
            is_reachable=True,
            seen_revision=self._revision,
            wait_seconds=0,
            capacity=_capacity(now, self._held),
            attempts=tuple(_report(each) for each in self._held.values()),
            usage=tuple(_usage(each) for each in self._held.values() if each.ended_at and each.started_at),
            logs=tuple(self._range(want) for want in self._wants if want.attempt_id in self._held),
        )
        headers = {"Authorization": f"Bearer {agent_token(self._agent, self._key, now)}"}
        answer = self._client.post("/agent/v1/sync", json=request.model_dump(mode="json"), headers=headers)
        assert answer.status_code == 200, answer.text
        return SyncReply.model_validate_json(answer.content)

    def _range(self, want: LogWant) -> LogRange:
        held = self._held[want.attempt_id]
        part = held.log[want.offset : want.offset + want.limit]
        is_end = held.state is AttemptState.ENDED and want.offset + len(part) >= len(held.log)
        text = base64.b64encode(part).decode()
        return LogRange(attempt_id=want.attempt_id, offset=want.offset, base64=text, is_end=is_end)


def _capacity(now: datetime, held: dict[str, Held]) -> CapacitySnapshot:
    taken = sum(each.order.charged_gpus for each in held.values() if each.state is AttemptState.RUNNING)
    pool: dict[str, Any] = {"nodes": 2, "nodes_up": 2, "gpus_per_node": 4, "gpus": GPUS, "gpus_up": GPUS}
    report = PoolReport(
        cluster="jw",
        partition="gpu",
        gres_type="h100",
        gpus_free=max(GPUS - taken, 0),
        max_walltime_minutes=1440,
        **pool,
    )
    return CapacitySnapshot(
        taken_at=now, kind="slurm", backend="cli", scheduler_version="slurm 22.05.8", pools=(report,)
    )


def _report(held: Held) -> AttemptReport:
    stamps = None
    if held.started_at:
        stamps = WrapperStamps(started_at=held.started_at, ended_at=held.ended_at, exit_code=held.exit_code)
    return AttemptReport(
        attempt_id=held.order.attempt_id,
        sequence=held.sequence,
        state=held.state,
        external_id=str(1000 + held.number),
        is_released=True,
        outcome=held.outcome,
        exit_code=held.exit_code,
        started_at=held.started_at,
        ended_at=held.ended_at,
        stamps=stamps,
        is_usage_complete=held.ended_at is not None,
    )


def _usage(held: Held) -> UsageRecord:
    assert held.started_at
    assert held.ended_at
    seconds = int((held.ended_at - held.started_at).total_seconds())
    return UsageRecord(
        key=f"epoch-1/{held.order.marker}",
        revision=1,
        kind=UsageKind.OWN,
        attempt_id=held.order.attempt_id,
        account=held.order.account,
        cluster="jw",
        partition="gpu",
        external_id=str(1000 + held.number),
        gres_type="h100",
        state="COMPLETED",
        started_at=held.started_at,
        ended_at=held.ended_at,
        gpus=held.order.charged_gpus,
        gpu_ms=1000 * seconds * held.order.charged_gpus,
        is_final=True,
    )
