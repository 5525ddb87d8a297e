"""Do the migrations make the tables that the code declares, and can each be taken back?"""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, make_url, text

from cesai.hub import database

TOP = Path(__file__).parent.parent.parent


@pytest.fixture
def empty(server_url: str) -> Iterator[Connection]:
    """A database without tables."""
    name = f"empty_{uuid4().hex}"
    maintenance = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = create_engine(make_url(server_url).set(database=name))
    with own.connect() as connection:
        yield connection
    own.dispose()
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


@pytest.fixture
def config(empty):
    found = Config(TOP / "alembic.ini")
    found.set_main_option("script_location", str(TOP / "migrations"))
    found.attributes["connection"] = empty
    return found


def test_the_migrations_make_the_tables_that_the_code_declares(engine):
    database.check(engine)
    database.check_models(engine)


def test_every_migration_can_be_taken_back_and_done_again(empty, config):
    # A view or trigger that a downgrade forgot would stand in the second upgrade's way.
    steps = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    for _ in range(2):
        command.upgrade(config, "head")
        for _step in steps:
            command.downgrade(config, "-1")
        empty.commit()
        assert set(inspect(empty).get_table_names()) <= {"alembic_version"}
        assert inspect(empty).get_view_names() == []
    left = empty.scalar(text("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"))
    assert left == 0


def test_there_is_one_line_of_migrations(config):
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1
