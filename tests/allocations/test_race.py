"""Can two who ask at the same moment both get the last GPU-hour?"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from cesai.allocations import service, store
from cesai.allocations.rules import AccountKey, AccountKind, Entry, EntryKind, Usage
from cesai.db.session import unit_of_work
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period
from tests.allocations.funding import fund

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
QUARTER = Period(2026, 4)
HOUR = GpuMilliseconds.of_hours(1)
WAYS = 16


@pytest.fixture
def site_id() -> str:
    """A site of this test's own: what it commits stays in the module's database."""
    return f"race-{uuid4().hex[:8]}"


def _together(work) -> Counter[str]:
    barrier = Barrier(WAYS)

    def one(number: int) -> str:
        barrier.wait()
        try:
            return work(number)
        except Refused:
            return "refused"

    with ThreadPoolExecutor(WAYS) as pool:
        return Counter(pool.map(one, range(WAYS)))


def _reserve(engine: Engine, site_id: str, attempt_id) -> str:
    with unit_of_work(engine) as db:
        service.reserve(
            db,
            attempt_id=attempt_id,
            project_id="a",
            site_id=site_id,
            gpu_class="H100",
            gpus=1,
            amount=HOUR,
            now=NOW,
            latest_end=NOW + timedelta(days=1),
        )
    return "got it"


def _holds(engine: Engine) -> bool:
    with unit_of_work(engine) as db:
        return service.broken(db) == ()


@pytest.mark.parametrize("hours", [1, 5])
def test_of_sixteen_who_race_for_the_last_hours_no_more_get_one_than_there_are(own_engine, site_id, hours):
    with unit_of_work(own_engine) as db:
        line = fund(db, "a", QUARTER, hours * HOUR.value, now=NOW, site_id=site_id)
    found = _together(lambda _: _reserve(own_engine, site_id, uuid4()))
    assert found == {"got it": hours, "refused": WAYS - hours}
    with unit_of_work(own_engine) as db:
        assert store.left(db, line) == GpuMilliseconds(0)
    assert _holds(own_engine)


def test_the_statement_alone_keeps_the_bound_without_the_sites_lock(own_engine, site_id):
    with unit_of_work(own_engine) as db:
        line = fund(db, "a", QUARTER, 5 * HOUR.value, now=NOW, site_id=site_id)
    consumed = AccountKey(AccountKind.CONSUMED, site_id, "H100", QUARTER)

    def spend(_: int) -> str:
        with unit_of_work(own_engine) as db:
            store.post(db, [Entry(uuid4(), EntryKind.SETTLE, line, consumed, HOUR, QUARTER)], at=NOW, actor="test")
        return "got it"

    assert _together(spend) == {"got it": 5, "refused": WAYS - 5}
    assert _holds(own_engine)


def test_one_attempt_reserved_sixteen_times_at_once_is_reserved_once(own_engine, site_id):
    with unit_of_work(own_engine) as db:
        line = fund(db, "a", QUARTER, 5 * HOUR.value, now=NOW, site_id=site_id)
    attempt_id = uuid4()
    assert _together(lambda _: _reserve(own_engine, site_id, attempt_id)) == {"got it": WAYS}
    with unit_of_work(own_engine) as db:
        assert store.left(db, line) == GpuMilliseconds(4 * HOUR.value)
    assert _holds(own_engine)


def test_sixteen_reports_of_one_end_charge_it_once(own_engine, site_id):
    with unit_of_work(own_engine) as db:
        fund(db, "a", QUARTER, 5 * HOUR.value, now=NOW, site_id=site_id)
    attempt_id = uuid4()
    _reserve(own_engine, site_id, attempt_id)

    def book(number: int) -> str:
        revision = 1 + number % 3
        minutes = timedelta(minutes=10 * revision)
        use = Usage("k", revision, "own", NOW, NOW + minutes, 1, GpuMilliseconds.of(gpus=1, seconds=600 * revision))
        with unit_of_work(own_engine) as db:
            service.book(db, attempt_id=attempt_id, usage=[use], is_over=True, is_site_fault=False, now=NOW)
        return "booked"

    assert _together(book) == {"booked": WAYS}
    with unit_of_work(own_engine) as db:
        assert service.settled(db, [attempt_id])[attempt_id] == GpuMilliseconds.of(gpus=1, seconds=1800)
    assert _holds(own_engine)


def test_who_books_several_attempts_of_a_site_does_not_deadlock_with_others(own_engine, site_id):
    with unit_of_work(own_engine) as db:
        for project in ("a", "b"):
            fund(db, project, QUARTER, 100 * HOUR.value, now=NOW, site_id=site_id)

    def several(number: int) -> str:
        projects = ("a", "b") if number % 2 else ("b", "a")
        with unit_of_work(own_engine) as db:
            for project in projects * 2:
                service.reserve(
                    db,
                    attempt_id=uuid4(),
                    project_id=project,
                    site_id=site_id,
                    gpu_class="H100",
                    gpus=1,
                    amount=HOUR,
                    now=NOW,
                    latest_end=NOW + timedelta(days=1),
                )
        return "booked"

    assert _together(several) == {"booked": WAYS}
    assert _holds(own_engine)
