"""Is background work done whatever becomes of broker and beat?"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from kombu.transport import memory
from sqlalchemy import create_engine, text

from cesai.db import due
from cesai.db.due import Lock, OnlyOne
from cesai.db.session import bind_background, make_engine, unit_of_work
from cesai.federation import service as federation
from cesai.hub import database
from cesai.hub.app import create_app
from cesai.hub.settings import Settings
from cesai.hub.worker import BEAT, SECONDS, Beat, Embedded, Waker, make_celery
from cesai.kernel.clock import SystemClock
from tests.acting import ISSUER, Api, issuer_keys
from tests.federation.conftest import fund, furnish, pool
from tests.federation.test_routes import JOB, HttpAgent
from tests.hub.conftest import wait_for

SETTINGS = Settings(issuer_url=ISSUER, _env_file=None)


@pytest.fixture
def hub_engine(empty_database_url):
    engine = make_engine(empty_database_url)
    database.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def celery():
    """A Celery application with an empty broker."""
    wipe()
    yield make_celery(SETTINGS)
    wipe()


def wipe() -> None:
    """Lose everything that a broker in memory holds."""
    for queue in memory.Channel.queues.values():
        queue.queue.clear()


def waiting() -> int:
    return sum(queue.qsize() for queue in memory.Channel.queues.values())


def last_beat(engine, name):
    with unit_of_work(engine) as db:
        return due.last_beat(db, name)


def test_every_task_that_the_clock_names_exists(celery):
    assert set(celery.conf.beat_schedule) == set(SECONDS)


def test_worker_and_beat_live_in_one_process_and_end_at_once(hub_engine, celery):
    bind_background(hub_engine, SystemClock())
    embedded = Embedded.start(celery, hub_engine, SystemClock())
    wait_for(lambda: last_beat(hub_engine, "beat") and last_beat(hub_engine, "worker"))
    begun = time.monotonic()
    embedded.stop(patience_s=3)
    assert time.monotonic() - begun < 3
    assert not any(thread.is_alive() for thread in embedded.threads)
    assert is_beat_free(hub_engine)


def is_beat_free(engine) -> bool:
    lock = OnlyOne(engine, Lock.BEAT)
    is_free = lock.is_mine()
    lock.release()
    return is_free


class CommittingApi(Api):
    """As the usual one, but what it makes is committed at once for the hub's own connections."""

    @contextmanager
    def settled(self):
        self.db.commit()
        yield
        self.db.close()


def test_a_wiped_broker_loses_no_job(hub_engine, celery):
    clock = SystemClock()
    app = create_app(SETTINGS, engine=hub_engine, clock=clock, fetch_keys=issuer_keys)
    with unit_of_work(hub_engine) as db:
        furnish(db, clock.now())
    with unit_of_work(hub_engine) as db:
        api = CommittingApi(app, TestClient(app), db)
        agents = [HttpAgent(api, site) for site in ("juelich", "rwth")]
        rita = api.as_("researcher", "legal-llm")
    for agent in agents:
        agent.tell_capacity(pool(agent.site_id))
    with unit_of_work(hub_engine) as db:
        fund(db, clock.now())
    job = rita.post("/api/v1/jobs", json=JOB).json()
    assert waiting() == 1  # the wake-up
    wipe()
    bind_background(hub_engine, clock)
    embedded = Embedded.start(celery, hub_engine, clock)
    try:
        wait_for(lambda: rita.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "PLACED")
    finally:
        embedded.stop(patience_s=3)


@contextmanager
def running(beat: Beat):
    thread = threading.Thread(target=beat.run)
    thread.start()
    try:
        yield
    finally:
        beat.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_of_two_beats_one_ticks_and_the_other_takes_over(hub_engine, celery):
    first, second = (Beat(celery, hub_engine, SystemClock()) for _ in range(2))
    with running(second):
        with running(first):
            wait_for(lambda: last_beat(hub_engine, BEAT))
            assert not is_beat_free(hub_engine)
        seen, sent = last_beat(hub_engine, BEAT), waiting()
        wait_for(lambda: last_beat(hub_engine, BEAT) > seen)
        wait_for(lambda: waiting() > sent)


def test_beat_outlives_its_database_connection(hub_engine, celery):
    other = create_engine(hub_engine.url, isolation_level="AUTOCOMMIT")
    with running(Beat(celery, hub_engine, SystemClock())):
        wait_for(lambda: last_beat(other, BEAT))
        with other.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        seen = last_beat(other, BEAT)
        wait_for(lambda: last_beat(other, BEAT) > seen)
    other.dispose()


def test_many_wake_ups_before_the_first_is_heard_are_one(celery):
    wake = Waker(celery, is_embedded=True)
    for _ in range(50):
        wake("federation.run_round")
    wake("federation.sweep")
    assert waiting() == 2


def test_a_wake_up_after_the_task_began_counts_again(hub_engine, celery, monkeypatch):
    begun, go_on, runs = threading.Event(), threading.Event(), []

    def slow_round(_db, _now):
        runs.append(1)
        begun.set()
        assert go_on.wait(10)
        return 0

    monkeypatch.setattr(federation, "run_round", slow_round)
    bind_background(hub_engine, SystemClock())
    celery.conf.beat_schedule = {}
    wake = Waker(celery, is_embedded=True)
    embedded = Embedded.start(celery, hub_engine, SystemClock())
    wake("federation.run_round")
    assert begun.wait(20)
    wake("federation.run_round")
    go_on.set()
    wait_for(lambda: len(runs) == 2)
    embedded.stop(patience_s=3)


def test_a_broker_that_is_gone_fails_no_request():
    celery = make_celery(Settings(issuer_url=ISSUER, broker_url="redis://127.0.0.1:1/0", _env_file=None))
    wake = Waker(celery, is_embedded=False)
    wake("federation.run_round")
    begun = time.monotonic()
    wake("federation.run_round")
    assert time.monotonic() - begun < 0.1  # and the next request does not wait for it again
