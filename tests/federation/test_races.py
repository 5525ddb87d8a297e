"""Does anything get lost, doubled or left reserved when everything happens at once?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.config import Config
from joserfc.jwk import ECKey
from sqlalchemy import Engine, create_engine, make_url, select, text

from cesai.access import service as access
from cesai.access.rules import AgentCaller
from cesai.allocations import service as allocations
from cesai.contract.jobs import read_job
from cesai.contract.messages import EnrolRequest, SyncRequest
from cesai.db.session import make_engine, unit_of_work
from cesai.federation import service
from cesai.federation.tables import Attempt, Job
from cesai.kernel.amounts import ZERO
from cesai.kernel.errors import Refused
from cesai.kernel.states import JOB_FINAL, AttemptState, Outcome
from tests.federation.conftest import Agent, Role, caller, fund, furnish, pool
from tests.federation.conftest import Membership as Member

TOP = Path(__file__).parent.parent.parent
JOBS = 12
CLASSES = ["H100", "A100"]
LONGEST_S = 120


@pytest.fixture
def own_engine(server_url: str) -> Iterator[Engine]:
    """A database of this test's own: what is committed in the ledger can never be deleted."""
    name = f"test_races_{uuid4().hex}"
    maintenance = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = make_engine(make_url(server_url).set(database=name).render_as_string(hide_password=False))
    config = Config(TOP / "alembic.ini")
    config.set_main_option("script_location", str(TOP / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    yield engine
    engine.dispose()
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


class Now:
    """The real clock, as the agents' test double reads it."""

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)


class Site:
    """A site that takes what it is ordered to, a step at a time, and now and then loses an answer."""

    def __init__(self, engine: Engine, site_id: str, seed: int) -> None:
        self.site_id = site_id
        self.started: dict[str, datetime] = {}
        self.ended: dict[str, dict] = {}
        self.held: dict[str, str] = {}
        self.usage: dict[str, dict] = {}
        self.gpus: dict[str, int] = {}
        self.random = random.Random(seed)  # noqa: S311  chance of a test, the same each time
        self._engine = engine
        self.caller = self._enrol()
        self.agent = Agent(site_id, self._send, Now)

    def _enrol(self) -> AgentCaller:
        key = ECKey.generate_key("P-256").as_dict(private=False)
        with unit_of_work(self._engine) as db:
            token = access.make_enrolment(db, self.site_id, by="test", now=Now.now())
            first = EnrolRequest(token=token, instance_id="instance-1", agent_version="0.1.0", public_key=key)
            return AgentCaller(UUID(access.enrol(db, first, now=Now.now()).agent_id), self.site_id)

    def _send(self, told: dict):
        request = SyncRequest.model_validate(told)
        with unit_of_work(self._engine) as db:
            service.hear(db, self.caller, request, now=Now.now())
        with unit_of_work(self._engine) as db:
            return service.answer(db, self.site_id, request, now=Now.now())

    def step(self) -> None:
        """One sync, and one step of everything that is held."""
        free = 8 - sum(self.gpus[one] for one, state in self.held.items() if state == "RUNNING")
        reports = [self.agent.report(one, state, **self.ended.get(one, {})) for one, state in self.held.items()]
        reply = self.agent.sync(
            attempts=reports,
            usage=list(self.usage.values()),
            capacity={
                "taken_at": Now.now().isoformat(),
                "kind": "slurm",
                "backend": "cli",
                "scheduler_version": "22.05",
                "pools": [pool(self.site_id, gpus_free=free)],
            },
        )
        if self.random.random() < 0.1:
            return  # the answer was lost
        for one in reply.settled:
            self.held.pop(one, None)
            self.usage.pop(one, None)
        for order in reply.orders:
            self._follow(order)

    def _follow(self, order) -> None:
        one, state = order.attempt_id, self.held.get(order.attempt_id)
        self.gpus[one] = order.charged_gpus
        if state == "ENDED":
            return
        if order.wish == "cancel" and state != "RUNNING":
            self._end(order, Outcome.ABSENT)
        elif order.wish == "cancel":
            self._end(order, Outcome.CANCELLED)
        elif state == "RUNNING":
            self._end(order, self.random.choice([Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.NODE_FAIL]))
        else:
            next_state = {None: "SUBMITTING", "SUBMITTING": "SUBMITTED", "SUBMITTED": "RUNNING"}[state]
            self.held[one] = next_state
            if next_state == "RUNNING":
                self.started[one] = Now.now()

    def _end(self, order, outcome: Outcome) -> None:
        one = order.attempt_id
        self.held[one] = "ENDED"
        self.ended[one] = {"outcome": outcome, "is_usage_complete": True}
        if one in self.started:
            launch = self.agent.usage(None, seconds=1, gpus=order.charged_gpus)
            self.usage[one] = launch | {"attempt_id": one, "key": order.marker}


def submit_and_cancel(engine: Engine, seed: int, jobs: list[UUID]) -> None:
    chance = random.Random(seed)  # noqa: S311  chance of a test, the same each time
    member = caller(f"rita-{seed}", Member(Role.RESEARCHER, "legal-llm"))
    for _ in range(JOBS // 2):
        shape = {"gpus_per_node": chance.randint(1, 4), "nodes": chance.randint(1, 2)}
        content = {
            "name": "race",
            "project": "legal-llm",
            "entrypoint": "true",
            "walltime": 60,
            "gpu_class": ["H100", "A100"],
        }
        with unit_of_work(engine) as db:
            job = service.submit(db, read_job(content | shape), by=member, now=Now.now()).job
        jobs.append(job.id)
        time.sleep(chance.random() * 0.1)
        if chance.random() < 0.3:
            victim = chance.choice(jobs)
            with suppress(Refused), unit_of_work(engine) as db:  # it has ended meanwhile
                service.cancel(db, victim, None, by=member, now=Now.now())


def until_all_ended(engine: Engine, errors: list[BaseException]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline and not errors:
        with unit_of_work(engine) as db:
            states = db.scalars(select(Job.state)).all()
            unsettled = db.scalars(select(Attempt.id).where(~Attempt.is_settled)).all()
        if len(states) == JOBS // 2 * 2 and JOB_FINAL.issuperset(states) and not unsettled:
            return
        time.sleep(0.2)


def test_submits_rounds_syncs_cancels_and_sweeps_at_once_leave_nothing_behind(own_engine):
    with unit_of_work(own_engine) as db:
        furnish(db, Now.now())
    sites = [Site(own_engine, site_id, seed) for seed, site_id in enumerate(("juelich", "rwth"))]
    for site in sites:
        site.step()
    with unit_of_work(own_engine) as db:
        fund(db, Now.now(), hours=30)
    errors: list[BaseException] = []
    stop = threading.Event()

    def again(work) -> threading.Thread:
        def loop() -> None:
            while not stop.is_set():
                try:
                    work()
                except BaseException as error:  # noqa: BLE001  a thread's error is the test's
                    errors.append(error)
                    return
                stop.wait(0.05)

        return threading.Thread(target=loop, daemon=True)

    def task(run) -> None:
        with unit_of_work(own_engine) as db:
            run(db, Now.now())

    jobs: list[UUID] = []
    threads = [
        *(again(site.step) for site in sites),
        *(again(lambda: task(service.run_round)) for _ in range(2)),
        again(lambda: task(service.sweep)),
    ]
    people = [threading.Thread(target=submit_and_cancel, args=(own_engine, seed, jobs)) for seed in range(2)]
    for thread in threads + people:
        thread.start()
    for thread in people:
        thread.join()
    until_all_ended(own_engine, errors)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    with unit_of_work(own_engine) as db:
        check(db, sites)


def check(db, sites) -> None:
    attempts = db.scalars(select(Attempt)).all()
    assert JOB_FINAL.issuperset(db.scalars(select(Job.state)))
    assert all(one.state == AttemptState.ENDED and one.is_settled for one in attempts)
    ran = {one for site in sites for one in site.started}
    assert ran == {str(one.id) for one in attempts if one.running_known_at}
    assert not ran & {str(one.id) for one in attempts if one.fetched_at is None}
    assert all(line.pending == ZERO for line in allocations.lines(db, "legal-llm"))
    assert [one for one in allocations.verify(db) if not one.holds] == []
    settled = allocations.settled(db, [one.id for one in attempts])
    expected = {one.id: one.charged_gpus * 1000 * (str(one.id) in ran) for one in attempts}
    assert {one: settled[one].value if one in settled else 0 for one in expected} == expected
    assert timedelta(0) <= max(one.end_known_at - one.placed_at for one in attempts)
