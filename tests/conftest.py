"""Which database do tests use, and how is it clean again after each?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

from cesai.demo import postgres
from cesai.demo.processes import Keeper
from cesai.demo.runtime import Runtime
from tests.acting import Api, HandClock, hub_app, issuer_keys, rebound

TOP = Path(__file__).parent.parent
pytest_plugins = ["tests.slurm_sites"]


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL server to make databases in: the one that is named, else an embedded one for this session."""
    if named := os.environ.get("CESAI_DATABASE_URL"):
        yield named
        return
    runtime: Runtime = request.getfixturevalue("demo_runtime")
    folder: Path = request.getfixturevalue("open_folder")
    keeper = Keeper(folder / "logs")
    try:
        yield postgres.start(keeper, runtime, folder / "postgresql")
    finally:
        postgres.stop(keeper, folder / "postgresql")


@contextmanager
def empty_database(server_url: str) -> Iterator[str]:
    """A database without tables, for as long as it is needed."""
    name = f"test_{uuid4().hex}"
    maintenance = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


def _migrate(address: str) -> None:
    config = Config(TOP / "alembic.ini")
    config.set_main_option("script_location", str(TOP / "migrations"))
    engine = create_engine(address)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()


@pytest.fixture(scope="session")
def database_url(server_url: str) -> Iterator[str]:
    """A migrated database of this test session's own; what tests do there is undone."""
    with empty_database(server_url) as address:
        _migrate(address)
        yield address


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[Engine]:
    """An engine of the session's database."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def committed_engine(server_url: str) -> Iterator[Engine]:
    """An engine of a second migrated database, for tests that must commit; they name their rows so that none meets."""
    with empty_database(server_url) as address:
        _migrate(address)
        engine = create_engine(address)
        yield engine
        engine.dispose()


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """A database without tables, for one test."""
    with empty_database(server_url) as address:
        yield address


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    """A session whose work is undone after the test."""
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()


@pytest.fixture
def now() -> datetime:
    """An instant in the middle of a quarter."""
    return datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock(now: datetime) -> HandClock:
    """The hub's clock; it stands still until the test moves it."""
    return HandClock(now)


@pytest.fixture
def api(db: Session, clock: HandClock) -> Api:
    """The hub over the test's own session: api.as_("operator").post("/api/v1/sites", json={...})."""
    app = rebound(hub_app(), db, clock, fetch_keys=issuer_keys)
    return Api(app, TestClient(app), db)
