"""How is one line of the ledger's code made wrong, for the length of a test?"""

from __future__ import annotations

import inspect
import runpy
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import cast

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

MIGRATION = Path(__file__).parents[2] / "migrations" / "versions" / "0003_allocations.py"


@contextmanager
def wrong_code(function: FunctionType, right: str, wrong: str) -> Iterator[None]:
    """This function with one piece of its source replaced, wherever it was imported to."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"{right!r} is not one piece of {function.__name__}"
    source = "from __future__ import annotations\n" + source.replace(right, wrong)
    made: dict[str, object] = {}
    exec(compile(source, f"<{function.__name__} made wrong>", "exec"), vars(sys.modules[function.__module__]), made)  # noqa: S102  the point of a mutant
    kept = function.__code__
    wrong_one = made[function.__name__]
    wrong_one = wrong_one.fget if isinstance(wrong_one, property) else wrong_one
    function.__code__ = cast("FunctionType", wrong_one).__code__
    try:
        yield
    finally:
        function.__code__ = kept


@contextmanager
def wrong_view(engine: Engine, right: str, wrong: str) -> Iterator[None]:
    """The view of invariants with one piece replaced, in every transaction that begins meanwhile."""
    source: str = runpy.run_path(str(MIGRATION))["INVARIANTS"]
    assert source.count(right) == 1, f"{right!r} is not one piece of the view"
    source = source.replace(right, wrong).replace("CREATE VIEW", "CREATE OR REPLACE VIEW")

    def replace(connection: Connection) -> None:
        connection.exec_driver_sql(source)

    event.listen(engine, "begin", replace)
    try:
        yield
    finally:
        event.remove(engine, "begin", replace)
