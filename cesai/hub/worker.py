"""Who carries wake-ups to the background work, and who makes the clock tick?

The database is the queue of record. What is lost here (a wiped broker, a killed worker) is found by the next sweep,
and what comes twice changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

from celery import Celery, signals
from celery.beat import Scheduler
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

import cesai.allocations.tasks
import cesai.federation.tasks
import cesai.hub.tasks
import cesai.issuer.tasks
import cesai.sites.tasks  # noqa: F401  imported for their tasks
from cesai.db import due
from cesai.db.due import Lock, OnlyOne
from cesai.db.session import unit_of_work
from cesai.hub.settings import MEMORY, Settings
from cesai.kernel.clock import Clock

log = logging.getLogger(__name__)

BEAT = "beat"
PULSE_S = 1.0
STANDBY_S = 2.0
# A wake-up that was not heard for so long is worthless: newer ones followed.
STALE_S = 60
# After a broker did not answer, nobody waits for it again for so long: the sweeps do the work meanwhile.
SPARE_BROKER_S = 10.0
BROKER_TIMEOUT_S = 2
# A broker that does not answer is asked once more, and then not waited for.
SHORT = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0, "interval_max": 0.1}
SECONDS = {
    "federation.run_round": 1,
    "federation.sweep": 5,
    "allocations.verify": 300,
    "sites.look": 10,
    "hub.heartbeat": 5,
    "hub.forget_answers": 3_600,
    "issuer.purge": 3_600,
}


def make_celery(settings: Settings) -> Celery:
    """The Celery application: no results, no long tasks, no countdowns."""
    broker = f"{MEMORY}localhost" if settings.has_own_broker else settings.broker_url
    app = Celery("cesai", broker=broker, set_as_current=True)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue="cesai",
        task_soft_time_limit=60,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        worker_concurrency=settings.worker_threads,
        worker_pool="threads",
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=BROKER_TIMEOUT_S,
        broker_transport_options=_transport(broker),
        enable_utc=True,
    )
    if broker.startswith("amqp"):
        app.conf.task_default_queue_type = "quorum"
    app.conf.beat_schedule = _schedule(app)
    app.set_default()
    return app


def _transport(broker: str) -> dict[str, Any]:
    if broker.startswith(MEMORY):
        return {"polling_interval": 0.1}
    if broker.startswith("redis"):
        return SHORT | {"socket_connect_timeout": BROKER_TIMEOUT_S}
    return SHORT | {"confirm_publish": True}


def _schedule(app: Celery) -> dict[str, Any]:
    app.finalize()
    return {
        name: {"task": name, "schedule": seconds, "options": {"expires": STALE_S}}
        for name, seconds in SECONDS.items()
        if name in app.tasks
    }


class Waker:
    """Sends wake-ups. Several before the first is heard are one."""

    def __init__(self, app: Celery, *, is_embedded: bool) -> None:
        self._app = app
        self._is_embedded = is_embedded
        self._sent: set[str] = set()
        self._silent_until = float("-inf")
        # A task that has begun may not see what is committed from now on: the next wake-up counts again.
        signals.task_prerun.connect(self._begun, weak=True)

    def __call__(self, task: str) -> None:
        """Wake this task; a broker that does not answer only costs the time until the next sweep."""
        if task in self._sent or time.monotonic() < self._silent_until:
            return
        if self._is_embedded:
            self._sent.add(task)
        try:
            self._app.send_task(task, expires=STALE_S, retry=False)
        except (BrokerError, OSError):
            self._silent_until = time.monotonic() + SPARE_BROKER_S
            log.warning("no broker to wake %s; the next sweep finds its work", task)

    def _begun(self, *, task: Any, **_: Any) -> None:  # noqa: ANN401  Celery has no types
        self._sent.discard(task.name)


class Beat:
    """Makes the clock tick, in one process among all: the one that holds the lock."""

    def __init__(self, app: Celery, engine: Engine, clock: Clock) -> None:
        self._app = app
        self._scheduler = Scheduler(app=app, max_interval=PULSE_S)
        self._only_one = OnlyOne(engine, Lock.BEAT)
        self._engine = engine
        self._clock = clock
        self._stop = threading.Event()
        self._pulse_at = float("-inf")
        self._has_begun = False

    def run(self) -> None:
        """Tick until told to stop."""
        while not self._stop.wait(self._tick()):
            pass
        self._only_one.release()

    def stop(self) -> None:
        """End the ticking, at once."""
        self._stop.set()

    def _tick(self) -> float:
        try:
            if not self._is_mine():
                return STANDBY_S
            self._begin()
        except (OperationalError, BrokerError, OSError) as error:
            # Beat outlives its database and its broker; the missing heartbeat shows on /health.
            log.warning("beat cannot reach the database or the broker; trying again (%s)", type(error).__name__)
            return STANDBY_S
        return max(float(self._scheduler.tick()), 0.0)

    def _begin(self) -> None:
        # What was due while nobody ticked is due now, not after one more interval.
        if not self._has_begun:
            self._has_begun = True
            for name in self._app.conf.beat_schedule:
                self._app.send_task(name, expires=STALE_S, retry=False)

    def _is_mine(self) -> bool:
        if time.monotonic() - self._pulse_at < PULSE_S:
            return True
        if not self._only_one.is_mine():
            return False
        with unit_of_work(self._engine) as db:
            due.beat(db, BEAT, now=self._clock.now())
        self._pulse_at = time.monotonic()
        return True


@dataclass(frozen=True, slots=True)
class Embedded:
    """Worker and beat as threads of the web process."""

    worker: Any
    beat: Beat
    threads: tuple[threading.Thread, ...]

    @classmethod
    def start(cls, app: Celery, engine: Engine, clock: Clock) -> Embedded:
        """Start both."""
        worker = app.WorkController(without_heartbeat=True, without_gossip=True, without_mingle=True)
        beat = Beat(app, engine, clock)
        threads = (
            threading.Thread(target=worker.start, name="cesai-worker", daemon=True),
            threading.Thread(target=beat.run, name="cesai-beat", daemon=True),
        )
        for thread in threads:
            thread.start()
        return cls(worker, beat, threads)

    def stop(self, *, patience_s: float) -> None:
        """End both; what a killed task left undone is found by the next sweep."""
        self.beat.stop()
        self.worker.stop()
        for thread in self.threads:
            thread.join(patience_s)
