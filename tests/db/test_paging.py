"""Is a long list read whole, page by page?"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from cesai.access.tables import PrincipalRow
from cesai.db.due import HeartbeatRow
from cesai.db.paging import PageRequest, page_of, read_cursor, write_cursor
from cesai.kernel.errors import Refused

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def read_all(db, statement, *, key, limit, is_newest_first=False):
    cursor, seen = None, []
    while True:
        page = page_of(db, statement, key=key, page=PageRequest(limit, cursor), is_newest_first=is_newest_first)
        assert len(page.items) <= limit
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            return seen


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 200])
@pytest.mark.parametrize("is_newest_first", [False, True])
def test_every_row_comes_once_and_in_order(db, limit, is_newest_first):
    for letter in "cabgdfe":
        db.add(HeartbeatRow(name=letter, at=NOW))
    statement = select(HeartbeatRow)
    rows = read_all(db, statement, key=HeartbeatRow.name, limit=limit, is_newest_first=is_newest_first)
    assert [row.name for row in rows] == sorted("abcdefg", reverse=is_newest_first)


def test_rows_that_come_in_between_pages_double_and_hide_nothing(db):
    for letter in "bdf":
        db.add(HeartbeatRow(name=letter, at=NOW))
    first = page_of(db, select(HeartbeatRow.name), key=HeartbeatRow.name, page=PageRequest(2))
    for letter in "ace":
        db.add(HeartbeatRow(name=letter, at=NOW))
    second = page_of(db, select(HeartbeatRow.name), key=HeartbeatRow.name, page=PageRequest(9, first.next_cursor))
    assert (first.items, second.items) == (("b", "d"), ("e", "f"))


def test_a_statement_of_several_parts_gives_tuples(db):
    db.add(PrincipalRow(id=uuid4(), username="a", name="A", made_at=NOW))
    page = page_of(db, select(PrincipalRow.username, PrincipalRow.name), key=PrincipalRow.id, page=PageRequest())
    assert page.items == (("a", "A"),)
    assert page.next_cursor is None


@pytest.mark.parametrize("cursor", ["x", "%%%", "AAAA", "ÿ", "=" * 10, write_cursor("no uuid"), write_cursor("\0")])
def test_a_cursor_that_was_never_given_out_is_refused(cursor):
    with pytest.raises(Refused, match="Start again"):
        read_cursor(cursor, as_type=UUID)


@given(st.one_of(st.uuids(), st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"))))
def test_a_cursor_brings_back_what_was_put_in(value):
    assert read_cursor(write_cursor(value), as_type=type(value)) == value
