"""Does each sentence of the view notice what breaks it?"""

from __future__ import annotations

import pytest
from sqlalchemy import text

from cesai.allocations import service
from tests.allocations.test_service import BY, NEW, NEW_YEAR, OLD, award, end, ran, set_aside

# What must be taken out of the way before the database lets somebody do this.
GUARDS = (
    "ALTER TABLE ledger_transfer DISABLE TRIGGER USER",
    "ALTER TABLE usage_version DISABLE TRIGGER USER",
    "ALTER TABLE ledger_account DROP CONSTRAINT ck_ledger_account_within_bound",
    "ALTER TABLE ledger_transfer DROP CONSTRAINT uq_ledger_transfer_pending_id",
    "ALTER TABLE ledger_transfer DROP CONSTRAINT uq_ledger_transfer_reverses_id",
)
COPY = """
INSERT INTO ledger_transfer (id, kind, phase, debit_account_id, credit_account_id, amount_gpu_ms, site_id, period,
    corrects_period, attempt_id, source_key, source_revision, pending_id, reverses_id, award_id, at, actor)
SELECT gen_random_uuid(), kind, phase, debit_account_id, credit_account_id, amount_gpu_ms, site_id, period,
    corrects_period, attempt_id, source_key, source_revision, pending_id, reverses_id, award_id, at, actor
FROM ledger_transfer WHERE kind = '{}' LIMIT 1
"""
BREAKS = {
    "debits-equal-credits": "UPDATE ledger_account SET debits_posted = debits_posted + 1 WHERE kind = 'SUPPLY'",
    "counters-equal-journal": "UPDATE ledger_account SET credits_pending = credits_pending + 1 WHERE kind = 'CONSUMED'",
    "no-account-over-its-bound": "UPDATE ledger_account SET debits_posted = credits_posted + 1 WHERE kind = 'POOL'",
    "one-resolution-per-pending": COPY.format("release"),
    "one-reversal-per-entry": COPY.format("reversal"),
    "usage-equals-last-revision": "UPDATE usage_version SET gpu_ms = gpu_ms + 1 WHERE revision = 2",
    "pendings-equal-unsettled-reservation": COPY.format("reserve"),
    "settled-within-reservation": "UPDATE attempt_reservation SET reserved_gpu_ms = 1 WHERE is_over",
    "use-comes-from-its-account": "UPDATE ledger_transfer SET kind = 'overrun' WHERE kind = 'settle'",
    "entries-stay-within-a-class": "UPDATE ledger_account SET gpu_class = 'A100' WHERE kind = 'POOL'",
    "nothing-in-a-closed-period": "INSERT INTO closed_period VALUES ('2026-Q4', 1, 'x', now())",
}


@pytest.fixture
def history(db):
    """A ledger with entries of every kind that the view looks at."""
    award(db, 10)
    award(db, 10, period=NEW)
    attempt_id = set_aside(db, 4)
    end(db, attempt_id, ran("k", 3))
    end(db, attempt_id, ran("k", 2, revision=2))
    set_aside(db, 1)
    assert service.broken(db) == ()


def test_the_view_has_the_sentences_that_are_tried_here(db):
    assert {check.name for check in service.verify(db)} == set(BREAKS)


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_sentence_is_noticed_and_says_where(db, name):
    for guard in GUARDS:
        db.execute(text(guard))
    db.execute(text(BREAKS[name]))
    found = {check.name: check.detail for check in service.broken(db)}
    assert name in found
    assert "wrong, like " in found[name]


def test_a_closed_quarter_keeps_what_was_booked_before(db):
    award(db, 10)
    service.close_period(db, OLD, by=BY, now=NEW_YEAR)
    assert service.broken(db) == ()


def test_counters_that_the_journal_does_not_explain_are_noticed(db):
    award(db, 10)
    db.execute(text("UPDATE ledger_account SET debits_posted = debits_posted + 1 WHERE kind = 'SUPPLY'"))
    assert "counters-equal-journal" in {check.name for check in service.broken(db)}


def test_an_account_over_its_bound_is_noticed(db):
    award(db, 10)
    db.execute(
        text("UPDATE ledger_account SET is_bounded = false, debits_pending = 1 + credits_posted WHERE kind = 'LINE'")
    )
    assert "no-account-over-its-bound" in {check.name for check in service.broken(db)}
