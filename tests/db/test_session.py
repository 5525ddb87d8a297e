"""Is what was answered also what was committed?"""

from __future__ import annotations

import pytest
from fastapi import Response
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, select, text

from cesai.access.callers import SignedIn, guarded_router
from cesai.db import due
from cesai.db.idempotency import Once
from cesai.db.session import Db, background_work, bind_background, unit_of_work
from cesai.hub.app import create_app
from cesai.hub.settings import Settings
from cesai.kernel.errors import OnRecord, Refused
from tests.acting import ISSUER, claims, issuer_keys, sign

# PostgreSQL checks these rows at the commit only, when the work was long done.
TABLES = """
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
"""
router = guarded_router()


@router.post("/plain", status_code=201)
def plain(_caller: SignedIn, db: Db) -> dict[str, str]:
    db.execute(text("INSERT INTO child VALUES (1)"))
    return {"done": "yes"}


@router.post("/once", status_code=201)
def once_route(_caller: SignedIn, db: Db, once: Once) -> Response:
    def work() -> dict[str, str]:
        db.execute(text("INSERT INTO child VALUES (1)"))
        return {"done": "yes"}

    return once(work)


@pytest.fixture
def hub(committed_engine, clock):
    with committed_engine.begin() as connection:
        connection.execute(text(TABLES))
    settings = Settings(issuer_url=ISSUER, _env_file=None)
    app = create_app(settings, engine=committed_engine, clock=clock, fetch_keys=issuer_keys)
    app.include_router(router)
    token = sign(claims("session-tester", clock.now()))
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
    yield TestClient(app, headers=headers, raise_server_exceptions=False)
    with committed_engine.begin() as connection:
        connection.execute(text("DROP TABLE child; DROP TABLE parent; DELETE FROM stored_answer"))


@pytest.mark.parametrize("path", ["/plain", "/once"])
def test_a_failed_commit_is_never_answered_with_success(hub, committed_engine, path):
    answer = hub.post(path)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    with committed_engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM child")) == 0
        assert connection.scalar(text("SELECT count(*) FROM stored_answer")) == 0
        connection.execute(text("INSERT INTO parent VALUES (1)"))
        connection.commit()
    assert hub.post(path).status_code == 201  # the key was not used up by it


def beat_and_refuse(db, name, now, *, kind):
    due.beat(db, name, now=now)
    msg = "no"
    raise kind(msg)


def test_an_error_undoes_the_work(committed_engine, now):
    with pytest.raises(Refused), unit_of_work(committed_engine) as db:
        beat_and_refuse(db, "undone", now, kind=Refused)
    with unit_of_work(committed_engine) as db:
        assert due.last_beat(db, "undone") is None


def test_a_refusal_on_record_keeps_what_was_written(committed_engine, now):
    with pytest.raises(OnRecord), unit_of_work(committed_engine) as db:
        beat_and_refuse(db, "kept", now, kind=OnRecord)
    with unit_of_work(committed_engine) as db:
        assert due.last_beat(db, "kept") == now


def test_background_work_has_a_transaction_and_the_time(committed_engine, clock):
    bind_background(committed_engine, clock)
    with background_work() as (db, now):
        assert db.scalar(select(text("1"))) == 1
        assert now == clock.now()


def test_the_database_gone_is_a_503_and_not_a_bug(clock):
    nowhere = create_engine("postgresql+psycopg://cesai@127.0.0.1:1/none?connect_timeout=2")
    settings = Settings(issuer_url=ISSUER, _env_file=None)
    client = TestClient(create_app(settings, engine=nowhere, clock=clock, fetch_keys=issuer_keys))
    headers = {"Authorization": f"Bearer {sign(claims('rita', clock.now()))}"}
    answer = client.get("/api/v1/me", headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    health = client.get("/api/v1/health")
    assert (health.status_code, health.json()["database"]) == (503, "down")
