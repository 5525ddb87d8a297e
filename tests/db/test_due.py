"""Does only one process at a time do what only one may?"""

from __future__ import annotations

from sqlalchemy import text

from cesai.db.due import Lock, OnlyOne, waiting_for


def test_one_holds_the_lock_and_the_next_gets_it_when_the_first_lets_go(committed_engine):
    first, second = OnlyOne(committed_engine, Lock.BEAT), OnlyOne(committed_engine, Lock.BEAT)
    assert first.is_mine()
    assert first.is_mine()
    assert not second.is_mine()
    first.release()
    assert second.is_mine()
    assert not first.is_mine()
    second.release()


def test_a_holder_whose_connection_died_no_longer_holds_it(committed_engine):
    first, second = OnlyOne(committed_engine, Lock.BEAT), OnlyOne(committed_engine, Lock.BEAT)
    assert first.is_mine()
    with committed_engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE locktype = 'advisory' AND objid = :lock"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            {"lock": int(Lock.BEAT)},
        )
    assert second.is_mine()
    assert not first.is_mine()
    second.release()


def test_different_locks_are_held_side_by_side(committed_engine):
    beat, server = OnlyOne(committed_engine, Lock.BEAT), OnlyOne(committed_engine, Lock.SERVER)
    assert beat.is_mine()
    assert server.is_mine()
    beat.release()
    server.release()


def test_a_lock_that_is_waited_for_is_free_again_afterwards(committed_engine):
    for _ in range(2):
        with waiting_for(committed_engine, Lock.MIGRATION) as connection:
            assert connection.scalar(text("SELECT 1")) == 1
