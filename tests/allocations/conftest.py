"""Where do tests that must commit keep what they commit?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, make_url, text

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own_engine(server_url: str) -> Iterator[Engine]:
    """An engine of a database that only this module writes to: what is committed in it disturbs nobody."""
    name = f"test_{uuid4().hex}"
    maintenance = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(make_url(server_url).set(database=name), pool_size=20)
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
