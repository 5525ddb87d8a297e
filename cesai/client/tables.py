"""How does an answer look: a table for people, JSON for programs?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

T = TypeVar("T")
# Nobody reads a pipe by its right edge: what goes into a file is never cut.
_PIPE_WIDTH = 400
# C0 and C1 control characters: a job's name from elsewhere must not steer the reader's terminal.
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(0x7F, 0xA0)) if code != ord("\n")}


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A heading and what stands under it."""

    heading: str
    of: Callable[[T], object]
    is_number: bool = False


def print_table(rows: Iterable[T], columns: Sequence[Column[T]]) -> int:
    """Rows under their headings; how many there were."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.is_number else "left",
            overflow="fold",
            no_wrap=not sys.stdout.isatty(),
        )
    for row in rows:
        table.add_row(*(plain(column.of(row)) for column in columns))
    if table.row_count:
        _console().print(table)
    return table.row_count


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a line per field; empty ones are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold", no_wrap=not sys.stdout.isatty())
    for name, value in fields:
        if value not in {None, ""}:
            grid.add_row(name, plain(value))
    _console().print(grid)


def print_json(value: object) -> None:
    """The same for programs."""
    sys.stdout.write(json.dumps(_jsonable(value), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: object) -> Text:
    """Text without a life of its own: no markup, no control characters."""
    return Text(("–" if value is None else str(value)).translate(_CONTROLS))


def tame(text: str) -> str:
    """Text from elsewhere that is written as it is, without what could steer a terminal."""
    return text.translate(_CONTROLS)


def _console() -> Console:
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def _jsonable(value: object) -> Any:  # noqa: ANN401  JSON is anything
    if isinstance(value, BaseModel):
        # What the hub did not say is not made up.
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value
