"""How does Alembic reach the database and the tables?"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, create_engine, text

from cesai.hub.tables import metadata


def _run(connection: Connection) -> None:
    # A migration that waits for a lock would make every other statement wait behind it.
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with create_engine(os.environ["CESAI_DATABASE_URL"]).connect() as own:
        _run(own)
