"""How is a long list read, page by page, without missing or doubling what comes in meanwhile?

A cursor names the last row that was seen, never a number of rows: keys are unique and sort (UUIDs and numbers by the
time they were made, names by letter).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from cesai.kernel.errors import Refused

DEFAULT_LIMIT = 50
LIMIT = 200
CURSOR_LIMIT = 400

Row = TypeVar("Row")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How much is wanted, and after which row."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Slice(Generic[Row]):
    """Rows of one page, and the cursor of the next one, if there is one."""

    items: tuple[Row, ...]
    next_cursor: str | None


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    model_config = ConfigDict(frozen=True)

    items: list[Item]
    next_cursor: str | None

    @classmethod
    def of(cls, rows: Slice[Row], show: Callable[[Row], Item]) -> Page[Item]:
        """The page of these rows, each shown by a function."""
        return cls(items=[show(row) for row in rows.items], next_cursor=rows.next_cursor)


def page_request(
    limit: Annotated[int, Query(ge=1, le=LIMIT, description="How many at most")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=CURSOR_LIMIT, description="next_cursor of the page before")] = None,
) -> PageRequest:
    """What the query string asks for."""
    return PageRequest(limit=limit, cursor=cursor)


PageParams = Annotated[PageRequest, Depends(page_request)]


def page_of(
    db: Session,
    statement: Select[*tuple[Any, ...]],
    *,
    key: InstrumentedAttribute[UUID] | InstrumentedAttribute[str] | InstrumentedAttribute[int],
    page: PageRequest,
    is_newest_first: bool = False,
) -> Slice[Any]:
    """One page of a statement's rows in the order of a unique key.

    A statement of one entity gives that entity per row, one of several gives tuples.

    Raises:
        Refused: the cursor is none that a page has given out.
    """
    if page.cursor is not None:
        seen = read_cursor(page.cursor, as_type=key.type.python_type)
        statement = statement.where(key < seen if is_newest_first else key > seen)
    order = key.desc() if is_newest_first else key.asc()
    # One row more than wanted tells whether there is a next page.
    found = db.execute(statement.add_columns(key.label("page_key")).order_by(order).limit(page.limit + 1)).all()
    wanted = found[: page.limit]
    is_there_more = len(found) > page.limit
    return Slice(
        items=tuple(_item(tuple(row)[:-1]) for row in wanted),
        next_cursor=write_cursor(wanted[-1].page_key) if is_there_more else None,
    )


def write_cursor(value: UUID | str | int) -> str:
    """A cursor after the row with this key."""
    return base64.urlsafe_b64encode(str(value).encode()).decode().rstrip("=")


def read_cursor(cursor: str, *, as_type: type[Any]) -> Any:  # noqa: ANN401  the key's own type
    """The key that a cursor names.

    Raises:
        Refused: it is none that a page has given out.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return as_type(text.replace("\0", ""))
    except (ValueError, binascii.Error) as error:
        msg = "This cursor is none that the hub gave out. Start again without one."
        raise Refused(msg) from error


def _item(row: tuple[Any, ...]) -> Any:  # noqa: ANN401  whatever the statement selects
    return row[0] if len(row) == 1 else row
