"""How do hub, scheduler, accounting and logs go on side by side, none waiting for another?

The event loop talks to the hub; everything that may hang at the site runs in a worker thread with a connector of its
own. Nothing here decides about a job: that is `rules`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cesai.agent.config import AgentConfig, Pace
from cesai.agent.hub import Hub, HubRefused, HubSilent
from cesai.agent.identity import Signer
from cesai.agent.journal import Journal
from cesai.agent.journal_file import JournalBroken
from cesai.agent.logs import LogReader
from cesai.agent.meter import Measured, Meter
from cesai.agent.rules import Patience
from cesai.agent.rules.policy import Policy
from cesai.agent.scheduler import Scheduler, Turn
from cesai.agent.worker import Worker
from cesai.contract.connector import RunsJobs
from cesai.contract.messages import (
    POLL_SECONDS,
    AttemptOrder,
    CapacitySnapshot,
    LogRange,
    LogWant,
    SyncReply,
    SyncRequest,
)
from cesai.kernel.clock import Clock
from cesai.kernel.crash import CrashPoint, reach

log = logging.getLogger(__name__)

SPACING_S = 0.2  # between two requests: news that come together go together
HUNG_S = 60.0  # a look at the scheduler that takes longer is told to the hub
USAGE_PER_REQUEST = 500
LOGS_PER_REQUEST = 4  # of 256 KiB at the most
LONGEST_SILENCE_S = 30.0  # between two tries to reach the hub
ARCHIVE_AFTER = timedelta(days=1)
FORGET_AFTER = timedelta(days=400)  # no correction comes that late
HOUSEKEEPING_S = 3600.0
_SKIPS = 6
_LONGEST_TROUBLE = 2_000


@dataclass(frozen=True, slots=True)
class Connectors:
    """One for each thread: a connector is called from one thread only."""

    jobs: RunsJobs
    usage: object
    logs: object


class Agent:
    """Runs beside one cluster until it is stopped or the hub refuses it."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        version: str,
        signer: Signer,
        journal: Journal,
        hub: Hub,
        connectors: Connectors,
        clock: Clock,
    ) -> None:
        self._config, self._version, self._signer = config, version, signer
        self._journal, self._hub, self._clock = journal, hub, clock
        self._scheduler = _scheduler(config, connectors, journal, clock=clock)
        cluster = str(config.connector_settings.get("cluster", config.connector_name))
        self._meter = Meter(connectors.usage, journal, pace=config.pace, clock=clock, cluster=cluster)
        self._log_reader = LogReader(connectors.logs, journal, config.logs.bytes_per_attempt)
        self._orders: tuple[AttemptOrder, ...] = ()
        self._wants: tuple[LogWant, ...] = ()
        self._ranges: dict[str, LogRange] = {}
        self._capacity: CapacitySnapshot | None = None
        self._is_reachable = False
        self._troubles: dict[str, str] = {}
        self._revision = 0
        self._was_heard = False
        self._skips = 0
        self._news, self._wake_scheduler = asyncio.Event(), asyncio.Event()
        self._wake_meter, self._wake_logs = asyncio.Event(), asyncio.Event()
        self._clerk = Worker("journal")

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            HubRefused: the hub does not take this agent; asking again would not change that.
        """
        log.info("agent runs: site=%s hub=%s", self._signer.identity.site_id, self._config.hub_url)
        parts = (self._talk, self._drive, self._measure, self._serve_logs, self._keep_house)
        tasks = [asyncio.create_task(part(), name=part.__name__) for part in parts]
        tasks.append(asyncio.create_task(_stopped(stop), name="stop"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        log.info("agent stops; jobs at the site run on")

    # The scheduler

    async def _drive(self) -> None:
        worker = Worker("scheduler")
        failures = 0
        while True:
            self._wake_scheduler.clear()
            try:
                turn = await self._patiently(worker)
            except JournalBroken as error:
                failures += 1
                self._trouble("journal", f"{error} No new work is taken until then.")
                await asyncio.sleep(self._backoff(failures))
                continue
            except Exception as error:  # a connector's mistake must not end the agent
                failures += 1
                log.exception("the turn at the scheduler failed")
                self._trouble("scheduler", f"The connector made a mistake: {type(error).__name__}: {error}")
                await asyncio.sleep(self._backoff(failures))
                continue
            failures = 0
            self._hear_turn(turn)
            await _either(self._wake_scheduler, turn.again_s)

    async def _patiently(self, worker: Worker) -> Turn:
        """One turn; when it hangs, the hub hears of it meanwhile."""
        turn = asyncio.ensure_future(worker.call(self._scheduler.turn, self._orders))
        done, _ = await asyncio.wait({turn}, timeout=HUNG_S)
        if not done:
            self._is_reachable = False
            self._trouble("scheduler", f"The scheduler has not answered for {HUNG_S:.0f} s.")
        return await turn

    def _hear_turn(self, turn: Turn) -> None:
        self._well("journal")
        if turn.is_reachable:
            self._well("scheduler")
        else:
            self._trouble("scheduler", "The scheduler gives no usable answer.")
        if turn.has_news or turn.is_reachable != self._is_reachable:
            self._news.set()
        self._is_reachable = turn.is_reachable
        if turn.has_ended:
            self._wake_meter.set()
            self._wake_logs.set()

    # Accounting and capacity

    async def _measure(self) -> None:
        worker = Worker("meter")
        while True:
            self._wake_meter.clear()
            try:
                measured = await worker.call(self._meter.turn, self._allowed(self._journal.accounts()))
            except JournalBroken as error:
                measured = Measured(again_s=self._config.pace.usage_seconds, trouble=str(error))
            except Exception as error:  # a connector's mistake must not end the agent
                log.exception("measuring failed")
                sentence = f"The connector made a mistake: {type(error).__name__}: {error}"
                measured = Measured(again_s=self._config.pace.usage_seconds, trouble=sentence)
            self._hear_measured(measured)
            await _either(self._wake_meter, measured.again_s)

    def _hear_measured(self, measured: Measured) -> None:
        self._capacity = measured.capacity or self._capacity
        if measured.trouble:
            self._trouble("meter", f"Capacity and usage cannot be read: {measured.trouble}")
        else:
            self._well("meter")
        if measured.has_news:
            self._news.set()

    def _allowed(self, accounts: Mapping[str, datetime]) -> dict[str, datetime]:
        allowed = self._config.limits.accounts
        return {account: since for account, since in accounts.items() if not allowed or account in allowed}

    # Logs

    async def _serve_logs(self) -> None:
        worker = Worker("logs")
        ends: dict[str, int] = {}
        while True:
            self._wake_logs.clear()
            wants = [want for want in self._wants if want.attempt_id not in self._ranges]
            if wants:
                try:
                    ranges, ends = await worker.call(self._log_reader.read, wants, ends)
                except Exception:  # a connector's mistake must not end the agent
                    log.exception("reading logs failed")
                    ranges = ()
                self._ranges.update({each.attempt_id: each for each in ranges})
                if ranges:
                    self._news.set()
            pause = self._config.logs.follow_seconds if self._wants else HOUSEKEEPING_S
            await _either(self._wake_logs, pause)

    # The hub

    async def _talk(self) -> None:
        failures = 0
        while True:
            # What is news goes at once and is answered at once; only the waiting after it may be broken off.
            is_waiting = self._was_heard and not self._news.is_set() and not failures
            self._news.clear()
            try:
                request = await self._clerk.call(self._request, POLL_SECONDS if is_waiting else 0)
                reply = await self._ask(request, is_waiting=is_waiting)
                if reply is not None:
                    await self._hear_reply(request, reply)
                failures = 0
            except (HubSilent, JournalBroken) as error:
                failures += 1
                log.warning("hub not reached (%d): %s", failures, error)
                await asyncio.sleep(min(self._backoff(failures), LONGEST_SILENCE_S))
            except HubRefused as refusal:
                self._skip_or_raise(refusal)
            except ValueError:  # something in the journal that cannot be told must not end the agent
                failures += 1
                log.exception("the request to the hub could not be made")
                await asyncio.sleep(self._backoff(failures))
            await asyncio.sleep(SPACING_S)

    async def _ask(self, request: SyncRequest, *, is_waiting: bool) -> SyncReply | None:
        """The hub's answer, or None when there was news while the hub had none: then the same is asked again."""
        if not is_waiting:
            return await self._hub.sync(request, self._signer)
        asking = asyncio.ensure_future(self._hub.sync(request, self._signer))
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({asking, news}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            for task in (asking, news):
                task.cancel()
            await asyncio.gather(asking, news, return_exceptions=True)

    def _request(self, wait_s: int) -> SyncRequest:
        """Everything that is held; in the journal's thread."""
        trouble = " ".join(self._troubles[key] for key in sorted(self._troubles))
        return SyncRequest(
            agent_version=self._version,
            instance_id=self._journal.instance_id,
            sequence=self._journal.next_sequence(),
            site_epoch=self._meter.epoch,
            clock=self._clock.now(),
            is_reachable=self._is_reachable,
            trouble=trouble[:_LONGEST_TROUBLE] or None,
            seen_revision=self._revision,
            wait_seconds=wait_s,
            capacity=self._capacity,
            attempts=tuple(entry.report for entry in self._journal.entries().values()),
            usage=self._journal.unbooked(USAGE_PER_REQUEST),
            logs=tuple(self._ranges.values())[:LOGS_PER_REQUEST],
        )

    async def _hear_reply(self, request: SyncRequest, reply: SyncReply) -> None:
        self._was_heard = True
        self._skips = 0
        if request.attempts:
            reach(CrashPoint.AGENT_REPORTED)
        await self._clerk.call(self._book, reply)
        if self._capacity is request.capacity:
            self._capacity = None
        for told in request.logs:
            if self._ranges.get(told.attempt_id) is told:
                del self._ranges[told.attempt_id]
        self._revision = reply.revision
        orders = tuple(order for order in reply.orders if order.attempt_id not in reply.settled)
        if orders != self._orders:
            self._orders = orders
            self._wake_scheduler.set()
        if reply.log_wants or self._wants:
            self._wants = reply.log_wants
            self._wake_logs.set()
        if len(request.usage) == USAGE_PER_REQUEST or self._ranges:
            self._news.set()  # there may be more

    def _book(self, reply: SyncReply) -> None:
        """What the hub has stored is not told again; in the journal's thread."""
        self._journal.booked(reply.usage_booked)
        self._journal.settle(reply.settled, self._clock.now())
        self._journal.keep_accounts(reply.accounts, self._clock.now())

    def _skip_or_raise(self, refusal: HubRefused) -> None:
        """A number that is too low right after the start: the journal could not be written for a while before.

        Later it means that somebody else speaks with this agent's key, and one of the two has to stop.
        """
        if not refusal.is_stale or self._was_heard or self._skips >= _SKIPS:
            raise refusal
        self._skips += 1
        self._journal.skip_sequence(10**self._skips)
        log.warning("the hub has heard later requests than the journal knows; going on from a higher number")

    # The rest

    async def _keep_house(self) -> None:
        while True:
            now = self._clock.now()
            with suppress(JournalBroken):
                await self._clerk.call(self._journal.archive, before=now - ARCHIVE_AFTER, now=now)
                await self._clerk.call(self._journal.forget, before=now - FORGET_AFTER)
            await asyncio.sleep(HOUSEKEEPING_S)

    def _backoff(self, failures: int) -> float:
        longest = self._config.pace.max_backoff_seconds
        return min(2.0 ** min(failures - 1, 16), longest) * random.uniform(0.5, 1.5)  # noqa: S311  no secret

    def _trouble(self, source: str, sentence: str) -> None:
        if self._troubles.get(source) != sentence:
            log.warning("trouble: %s", sentence)
            self._troubles[source] = sentence
            self._news.set()

    def _well(self, source: str) -> None:
        if self._troubles.pop(source, None) is not None:
            log.info("no more trouble with the %s", source)
            self._news.set()


def _scheduler(config: AgentConfig, connectors: Connectors, journal: Journal, *, clock: Clock) -> Scheduler:
    return Scheduler(
        connectors.jobs,
        journal,
        policy=policy(config),
        patience=patience(config.pace),
        poll_s=config.pace.poll_seconds,
        clock=clock,
        submits_per_turn=config.pace.submits_per_turn,
        open_attempts=config.limits.open_attempts,
    )


def policy(config: AgentConfig) -> Policy:
    """What the site lets the hub order."""
    limits = config.limits
    return Policy(
        accounts=limits.accounts,
        clusters=limits.clusters,
        partitions=limits.partitions,
        gpus_per_job=limits.gpus_per_job,
        walltime_minutes=limits.walltime_minutes,
    )


def patience(pace: Pace) -> Patience:
    """How long an answer is doubted."""
    return Patience(
        absent_answers=pace.absent_answers,
        absent_s=pace.absent_seconds,
        ghost_s=pace.ghost_seconds,
        stamps_s=pace.stamps_seconds,
        quick_s=pace.quick_seconds,
        longest_wait_s=pace.max_backoff_seconds,
    )


async def _stopped(stop: asyncio.Event) -> None:
    await stop.wait()


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until the event or so many seconds have passed."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout=seconds)
