"""Do hub, scheduler, accounting and logs go on side by side, whatever one of them does?"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from cesai.agent import identity, loop, scheduler
from cesai.agent.config import AgentConfig, read_config
from cesai.agent.hub import Hub, HubRefused
from cesai.agent.identity import Identity, Signer
from cesai.agent.journal import Journal
from cesai.agent.loop import Agent, Connectors
from cesai.contract.connector import Observation
from cesai.kernel.clock import SystemClock
from cesai.kernel.states import AttemptState, Outcome
from tests.agent.fake_site import FakeSite, order
from tests.agent.stub_hub import AUDIENCE, Problem, StubHub, an_hour_ahead
from tests.agent.test_journal import full_disk

PACE = {
    "poll_seconds": 0.1,
    "quick_seconds": 0.05,
    "usage_seconds": 0.1,
    "capacity_seconds": 30,
    "absent_seconds": 0.1,
    "stamps_seconds": 0.1,
    "max_backoff_seconds": 0.3,
}
LONGEST_S = 20.0
HUB = "http://hub.test"


class LivingSite(FakeSite):
    """Its scheduler moves whenever it is asked; safe to be used from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.gate = threading.Event()
        self.gate.set()
        self.mistakes = 0

    @contextmanager
    def _open(self):
        with self.lock:
            yield self.world

    def observe(self, markers, since) -> Observation:
        self.gate.wait()
        if self.mistakes:
            self.mistakes -= 1
            msg = "a connector's mistake"
            raise KeyError(msg)
        self.tick()
        return super().observe(markers, since)


@dataclass
class Stage:
    """An agent between a fake site and a stub of a hub."""

    folder: Path
    site: LivingSite = field(default_factory=LivingSite)
    hub: StubHub = field(default_factory=StubHub)
    limits: dict[str, object] = field(default_factory=dict)
    is_hub_up: bool = True

    def __post_init__(self) -> None:
        self.key = identity.new_key()
        self.hub.public_key = identity.public_part(self.key)

    def config(self) -> AgentConfig:
        content = {
            "hub": "http://hub.test",
            "state": str(self.folder),
            "connector": {"name": "fake", "cluster": "fake"},
        }
        return read_config({**content, "pace": PACE, "limits": self.limits, "logs": {"follow_seconds": 0.1}})

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if not self.is_hub_up:
            msg = "connection refused"
            raise httpx.ConnectError(msg)
        headers = {"Date": format_datetime(self.hub.clock(), usegmt=True)}
        try:
            reply = await asyncio.to_thread(self.hub.sync, request.content, request.headers["Authorization"])
        except Problem as no:
            problem = {"type": no.kind, "detail": no.sentence, "status": no.status}
            return httpx.Response(no.status, json=problem, headers=headers)
        except ConnectionError as error:
            msg = "the answer was lost"
            raise httpx.ReadError(msg) from error
        text = reply.model_dump_json()
        if self.hub.garbage_answers:
            self.hub.garbage_answers -= 1
            text = text[: len(text) // 2]
        return httpx.Response(200, text=text, headers=headers)

    def play(self, act: Callable[[Stage], Coroutine[None, None, None]]) -> None:
        asyncio.run(self._play(act))

    async def _play(self, act: Callable[[Stage], Coroutine[None, None, None]]) -> None:
        journal = Journal(self.folder)
        self.hub.instance_id = self.hub.instance_id or journal.instance_id
        signer = Signer(
            Identity(hub="http://hub.test", site_id="fake", agent_id="agent-1", audience=AUDIENCE), self.key
        )
        transport = httpx.MockTransport(self.answer)
        stop = asyncio.Event()
        async with Hub(HUB, clock=SystemClock(), transport=transport) as hub:
            agent = Agent(
                self.config(),
                version="test",
                signer=signer,
                journal=journal,
                hub=hub,
                connectors=Connectors(self.site, self.site, self.site),
                clock=SystemClock(),
            )
            running = asyncio.create_task(agent.run(stop))
            acting = asyncio.create_task(act(self))
            try:
                await asyncio.wait({running, acting}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                await acting
            finally:
                acting.cancel()
                stop.set()
                self.site.gate.set()
                self.hub.longest_wait = 0
                await asyncio.gather(running, acting, return_exceptions=True)
                journal.close()
        assert not self.hub.faults


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(loop, "SPACING_S", 0.02)
    return Stage(tmp_path / "state")


async def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.02)


def settled(stage: Stage, attempt_id: str = "attempt-1") -> Callable[[], bool]:
    return lambda: attempt_id in stage.hub.settled


def test_an_order_becomes_a_run_with_its_usage_told_and_settled(stage: Stage) -> None:
    async def act(stage: Stage) -> None:
        stage.hub.order(order())
        await until(settled(stage))
        await until(lambda: not stage.hub.requests[-1].attempts)

    stage.play(act)
    report = stage.hub.reports["attempt-1"]
    assert (report.outcome, report.is_usage_complete) == (Outcome.SUCCEEDED, True)
    assert [record.gpu_ms for record in stage.hub.usage.values()] == [report.scheduler_gpu_ms]
    sequences = [request.sequence for request in stage.hub.requests]
    assert sequences == sorted(set(sequences))
    assert any(request.capacity for request in stage.hub.requests)
    assert Journal(stage.folder).entries() == {}


def test_an_order_reaches_the_site_within_a_second_although_the_hub_is_asked_by_long_poll(stage: Stage) -> None:
    stage.hub.longest_wait = 25

    async def act(stage: Stage) -> None:
        await until(lambda: any(request.wait_seconds for request in stage.hub.requests))
        ordered = time.monotonic()
        stage.hub.order(order())
        await until(lambda: bool(stage.site.world.submits))
        assert time.monotonic() - ordered < 1
        await until(settled(stage))

    stage.play(act)


def test_lost_and_cut_answers_are_simply_asked_for_again(stage: Stage) -> None:
    stage.hub.lose_answers, stage.hub.garbage_answers = 2, 2
    stage.hub.order(order())

    async def act(stage: Stage) -> None:
        await until(settled(stage))

    stage.play(act)
    assert stage.site.world.runs == {order().marker: 1}


def test_running_jobs_go_on_while_the_hub_is_away_and_are_told_afterwards(stage: Stage) -> None:
    async def act(stage: Stage) -> None:
        stage.hub.order(order())
        await until(lambda: bool(stage.site.world.submits))
        stage.is_hub_up = False
        await until(lambda: any(job["state"] == "completed" for job in stage.site.world.jobs))
        stage.is_hub_up = True
        await until(settled(stage))

    stage.play(act)


def test_a_hung_scheduler_does_not_stop_the_talk_with_the_hub(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HUNG_S", 0.5)

    async def act(stage: Stage) -> None:
        await until(lambda: any(request.is_reachable for request in stage.hub.requests))
        stage.site.gate.clear()
        await until(lambda: "has not answered" in (stage.hub.requests[-1].trouble or ""))
        assert not stage.hub.requests[-1].is_reachable
        stage.site.gate.set()
        await until(lambda: stage.hub.requests[-1].is_reachable and stage.hub.requests[-1].trouble is None)

    stage.play(act)


def test_a_silent_scheduler_is_told_and_asked_less_and_less(stage: Stage) -> None:
    stage.site.world.is_silent = True

    async def act(stage: Stage) -> None:
        await until(
            lambda: "no usable answer" in (stage.hub.requests[-1].trouble or "") if stage.hub.requests else False
        )
        before = stage.site.world.clock
        await asyncio.sleep(1)
        assert stage.site.world.clock - before <= 6, "every look is a tick"
        stage.site.world.is_silent = False
        stage.hub.order(order())
        await until(settled(stage))

    stage.play(act)


def test_a_connectors_mistake_is_told_and_does_not_end_the_agent(stage: Stage) -> None:
    stage.site.mistakes = 2
    stage.hub.order(order())

    async def act(stage: Stage) -> None:
        await until(lambda: any("mistake" in (request.trouble or "") for request in stage.hub.requests))
        await until(settled(stage))

    stage.play(act)


def test_nothing_is_submitted_while_the_journal_cannot_be_written(stage: Stage) -> None:
    async def act(stage: Stage) -> None:
        await until(lambda: bool(stage.hub.requests))
        with full_disk():
            stage.hub.order(order())
            await until(lambda: "journal" in (stage.hub.requests[-1].trouble or ""))
            await asyncio.sleep(0.5)
            assert not stage.site.world.submits
        await until(settled(stage))
        assert stage.hub.requests[-1].trouble is None

    stage.play(act)


def test_a_cancel_ends_the_running_job(stage: Stage) -> None:
    stage.site.world.run_for = 100_000
    stage.hub.order(order())

    async def act(stage: Stage) -> None:
        await until(lambda: bool(stage.site.world.runs))
        stage.hub.cancel("attempt-1")
        await until(settled(stage))

    stage.play(act)
    assert stage.hub.reports["attempt-1"].outcome is Outcome.CANCELLED


def test_what_the_sites_policy_forbids_is_refused_with_a_sentence_and_never_submitted(stage: Stage) -> None:
    stage.limits = {"accounts": ["proj2"]}
    stage.hub.order(order())

    async def act(stage: Stage) -> None:
        await until(settled(stage))

    stage.play(act)
    report = stage.hub.reports["attempt-1"]
    assert report.outcome is Outcome.REJECTED
    assert "proj1" in (report.reason or "")
    assert not stage.site.world.submits


def test_an_ended_attempt_that_is_ordered_again_is_told_again_and_not_run_again(stage: Stage) -> None:
    async def act(stage: Stage) -> None:
        stage.hub.order(order())
        await until(settled(stage))
        await until(lambda: not stage.hub.requests[-1].attempts)
        stage.hub.settled.clear()  # restored from yesterday's backup
        stage.hub.reports.clear()
        stage.hub.order(order())
        await until(settled(stage))

    stage.play(act)
    assert stage.site.world.submits == {order().marker: 1}
    assert stage.hub.reports["attempt-1"].state is AttemptState.ENDED


def test_a_log_is_followed_to_its_end(stage: Stage) -> None:
    stage.site.world.run_for = 10

    async def act(stage: Stage) -> None:
        stage.hub.order(order())
        stage.hub.want_log("attempt-1")
        await until(lambda: stage.hub.logs["attempt-1"] == b"step 1\nstep 2\n")
        stage.site.world.log += "the last line\n"
        await until(lambda: "attempt-1" in stage.hub.log_ends)

    stage.play(act)
    assert stage.hub.logs["attempt-1"] == b"step 1\nstep 2\nthe last line\n"


@pytest.mark.parametrize(
    "no",
    [
        Problem(401, "urn:cesai:not-signed-in", "The token is not known."),
        Problem(403, "urn:cesai:forbidden", "This agent is not this site's."),
        Problem(422, "urn:cesai:refused", "A second instance; an operator must reset it."),
    ],
)
def test_a_hub_that_refuses_the_agent_is_not_hammered(stage: Stage, no: Problem) -> None:
    stage.hub.fail = no

    async def act(_: Stage) -> None:
        await asyncio.sleep(LONGEST_S)

    with pytest.raises(HubRefused) as refused:
        stage.play(act)
    assert refused.value.sentence == no.sentence
    assert not stage.hub.requests


def test_an_answer_that_is_no_refusal_of_this_agent_is_waited_out(stage: Stage) -> None:
    stage.hub.fail = Problem(404, "", "a proxy's own page")
    stage.hub.order(order())

    async def act(stage: Stage) -> None:
        await asyncio.sleep(0.5)
        stage.hub.fail = Problem(422, "urn:cesai:invalid-request", "a newer hub wants another field")
        await asyncio.sleep(1)
        stage.hub.fail = None
        await until(settled(stage))

    stage.play(act)


def test_a_copy_that_comes_back_after_all_was_settled_is_taken_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LEFTOVERS_EVERY", timedelta(seconds=0.3))

    async def act(stage: Stage) -> None:
        stage.hub.order(order())
        await until(settled(stage))
        await until(lambda: not stage.hub.requests[-1].attempts)
        stage.site.submit(order())
        await until(lambda: stage.site.world.jobs[-1]["state"] == "cancelled")

    stage.play(act)


def test_a_cloned_agent_stops_itself(stage: Stage) -> None:
    async def act(stage: Stage) -> None:
        await until(lambda: len(stage.hub.requests) > 1)
        stage.hub.sequence += 100  # the clone spoke
        await asyncio.sleep(LONGEST_S)

    with pytest.raises(HubRefused) as refused:
        stage.play(act)
    assert refused.value.is_stale


def test_after_a_time_without_journal_the_agent_goes_on_from_a_higher_number(stage: Stage) -> None:
    stage.hub.sequence = 500

    async def act(stage: Stage) -> None:
        stage.hub.order(order())
        await until(settled(stage))

    stage.play(act)
    assert stage.hub.requests[0].sequence > 500


def test_a_clock_an_hour_off_changes_no_duration_and_is_seen_by_the_hub(stage: Stage) -> None:
    stage.hub.clock = an_hour_ahead
    stage.hub.order(order())

    async def act(stage: Stage) -> None:
        await until(settled(stage))

    stage.play(act)
    skew = stage.hub.requests[-1].clock - an_hour_ahead()
    assert timedelta(minutes=-61) < skew < timedelta(minutes=-59), "the site's own clock, not mended"
    report = stage.hub.reports["attempt-1"]
    assert report.stamps is not None
    assert report.stamps.ended_at is not None
    seconds = (report.stamps.ended_at - report.stamps.started_at).total_seconds()
    assert report.scheduler_gpu_ms == seconds * 1000
    assert [record.gpu_ms for record in stage.hub.usage.values()] == [seconds * 1000]
