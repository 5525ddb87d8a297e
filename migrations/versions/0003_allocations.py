"""The tables of allocations, the triggers that guard the journal, and the view of its invariants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ONLY_ADDED = ("ledger_transfer", "usage_version", "award", "closed_period")
NEVER_DELETED = ("ledger_account", "attempt_reservation")

FUNCTIONS = """
CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are kept: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION ledger_refuse_closed_period() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM closed_period WHERE period = NEW.period) THEN
        RAISE EXCEPTION 'period % is closed', NEW.period USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER closed_period BEFORE INSERT ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_closed_period();
"""

# Each fault is one row that breaks a sentence; a sentence without faults holds.
INVARIANTS = """
CREATE VIEW ledger_invariant AS
WITH sentence(name) AS (
    VALUES ('debits-equal-credits'), ('no-account-over-its-bound'), ('counters-equal-journal'),
        ('one-resolution-per-pending'), ('one-reversal-per-entry'), ('usage-equals-last-revision'),
        ('pendings-equal-unsettled-reservation'), ('settled-within-reservation'), ('use-comes-from-its-account'),
        ('entries-stay-within-a-class'), ('nothing-in-a-closed-period')
), side AS (
    SELECT debit_account_id AS account_id, phase, amount_gpu_ms AS debit, 0 AS credit FROM ledger_transfer
    UNION ALL
    SELECT credit_account_id, phase, 0, amount_gpu_ms FROM ledger_transfer
), journal AS (
    SELECT account_id,
        sum(CASE phase WHEN 'pending' THEN debit WHEN 'resolution' THEN -debit ELSE 0 END) AS debits_pending,
        sum(CASE phase WHEN 'posted' THEN debit ELSE 0 END) AS debits_posted,
        sum(CASE phase WHEN 'pending' THEN credit WHEN 'resolution' THEN -credit ELSE 0 END) AS credits_pending,
        sum(CASE phase WHEN 'posted' THEN credit ELSE 0 END) AS credits_posted
    FROM side GROUP BY account_id
), launch AS (
    SELECT site_id, source_key AS key,
        sum(CASE kind WHEN 'reversal' THEN -amount_gpu_ms ELSE amount_gpu_ms END) AS net
    FROM ledger_transfer WHERE source_key IS NOT NULL GROUP BY site_id, source_key
), last_version AS (
    SELECT DISTINCT ON (version.site_id, version.key) version.site_id, version.key,
        CASE WHEN reservation.is_over IS FALSE THEN 0 ELSE version.gpu_ms END AS gpu_ms
    FROM usage_version version LEFT JOIN attempt_reservation reservation USING (attempt_id)
    ORDER BY version.site_id, version.key, version.revision DESC
), standing AS (
    SELECT entry.* FROM ledger_transfer entry
    WHERE entry.source_key IS NOT NULL AND entry.kind <> 'reversal'
        AND NOT EXISTS (SELECT FROM ledger_transfer back WHERE back.reverses_id = entry.id)
), open_pending AS (
    SELECT entry.attempt_id, sum(entry.amount_gpu_ms) AS gpu_ms FROM ledger_transfer entry
    WHERE entry.phase = 'pending'
        AND NOT EXISTS (SELECT FROM ledger_transfer resolution WHERE resolution.pending_id = entry.id)
    GROUP BY entry.attempt_id
), fault(name, detail) AS (
    SELECT 'debits-equal-credits', site_id || ' ' || gpu_class FROM ledger_account GROUP BY site_id, gpu_class
    HAVING sum(debits_posted) <> sum(credits_posted) OR sum(debits_pending) <> sum(credits_pending)
    UNION ALL
    SELECT 'no-account-over-its-bound', name FROM ledger_account
    WHERE kind IN ('LINE', 'POOL') AND debits_pending + debits_posted > credits_posted
    UNION ALL
    SELECT 'counters-equal-journal', account.name
    FROM ledger_account account LEFT JOIN journal ON journal.account_id = account.id
    WHERE account.debits_pending <> coalesce(journal.debits_pending, 0)
        OR account.debits_posted <> coalesce(journal.debits_posted, 0)
        OR account.credits_pending <> coalesce(journal.credits_pending, 0)
        OR account.credits_posted <> coalesce(journal.credits_posted, 0)
    UNION ALL
    SELECT 'one-resolution-per-pending', pending_id::text FROM ledger_transfer
    WHERE pending_id IS NOT NULL GROUP BY pending_id HAVING count(*) > 1
    UNION ALL
    SELECT 'one-resolution-per-pending', resolution.id::text
    FROM ledger_transfer resolution JOIN ledger_transfer pending ON pending.id = resolution.pending_id
    WHERE pending.phase <> 'pending'
        OR (pending.amount_gpu_ms, pending.debit_account_id, pending.credit_account_id, pending.attempt_id)
        IS DISTINCT FROM
        (resolution.amount_gpu_ms, resolution.debit_account_id, resolution.credit_account_id, resolution.attempt_id)
    UNION ALL
    SELECT 'one-reversal-per-entry', reverses_id::text FROM ledger_transfer
    WHERE reverses_id IS NOT NULL GROUP BY reverses_id HAVING count(*) > 1
    UNION ALL
    SELECT 'one-reversal-per-entry', back.id::text
    FROM ledger_transfer back
    JOIN ledger_transfer entry ON entry.id = back.reverses_id
    JOIN ledger_account taker ON taker.id = back.credit_account_id
    JOIN ledger_account giver ON giver.id = entry.debit_account_id
    WHERE back.amount_gpu_ms <> entry.amount_gpu_ms OR entry.phase <> 'posted' OR entry.kind = 'reversal'
        OR (back.site_id, back.source_key) IS DISTINCT FROM (entry.site_id, entry.source_key)
        OR (taker.kind, taker.project_id, taker.stream, taker.grant_id)
        IS DISTINCT FROM (giver.kind, giver.project_id, giver.stream, giver.grant_id)
        OR back.period = entry.period AND (back.debit_account_id, back.credit_account_id)
        IS DISTINCT FROM (entry.credit_account_id, entry.debit_account_id)
    UNION ALL
    SELECT 'usage-equals-last-revision', version.site_id || ' ' || version.key
    FROM last_version version LEFT JOIN launch USING (site_id, key)
    WHERE version.gpu_ms <> coalesce(launch.net, 0)
    UNION ALL
    SELECT 'pendings-equal-unsettled-reservation', coalesce(attempt_id::text, 'a pending without an attempt')
    FROM attempt_reservation reservation FULL JOIN open_pending USING (attempt_id)
    WHERE coalesce(open_pending.gpu_ms, 0)
        IS DISTINCT FROM CASE WHEN reservation.is_over THEN 0 ELSE reservation.reserved_gpu_ms END
    UNION ALL
    SELECT 'settled-within-reservation', reservation.attempt_id::text
    FROM attempt_reservation reservation JOIN standing USING (attempt_id)
    WHERE standing.kind = 'settle'
    GROUP BY reservation.attempt_id HAVING sum(standing.amount_gpu_ms) > reservation.reserved_gpu_ms
    UNION ALL
    SELECT 'use-comes-from-its-account', standing.id::text
    FROM standing
    JOIN ledger_account giver ON giver.id = standing.debit_account_id
    JOIN ledger_account taker ON taker.id = standing.credit_account_id
    WHERE taker.kind <> 'CONSUMED' OR taker.period <> standing.period
        OR giver.kind <> CASE standing.kind
            WHEN 'settle' THEN 'LINE' WHEN 'overrun' THEN 'OVERRUN' WHEN 'duplicate' THEN 'DUPLICATE'
            WHEN 'unattributed' THEN 'UNATTRIBUTED' WHEN 'site-loss' THEN 'SITE_LOSS' ELSE '' END
    UNION ALL
    SELECT 'entries-stay-within-a-class', entry.id::text
    FROM ledger_transfer entry
    JOIN ledger_account giver ON giver.id = entry.debit_account_id
    JOIN ledger_account taker ON taker.id = entry.credit_account_id
    WHERE (giver.site_id, giver.gpu_class) <> (taker.site_id, taker.gpu_class) OR entry.site_id <> giver.site_id
        OR giver.period <> entry.period OR taker.period <> entry.period
    UNION ALL
    SELECT 'nothing-in-a-closed-period', entry.id::text
    FROM ledger_transfer entry JOIN closed_period closed USING (period) WHERE entry.number > closed.last_number
)
SELECT sentence.name, count(fault.name) = 0 AS holds,
    CASE WHEN count(fault.name) = 0 THEN '' ELSE count(fault.name) || ' wrong, like ' || min(fault.detail) END AS detail
FROM sentence LEFT JOIN fault ON fault.name = sentence.name
GROUP BY sentence.name
"""


def upgrade() -> None:
    op.create_table(
        "attempt_reservation",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("gpu_class", sa.Text(), nullable=False),
        sa.Column("gpus", sa.BigInteger(), nullable=False),
        sa.Column("reserved_gpu_ms", sa.BigInteger(), nullable=False),
        sa.Column("is_over", sa.Boolean(), nullable=False),
        sa.Column("is_site_fault", sa.Boolean(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("over_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("gpus > 0", name=op.f("ck_attempt_reservation_gpus_are_positive")),
        sa.CheckConstraint("reserved_gpu_ms > 0", name=op.f("ck_attempt_reservation_amount_is_positive")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_attempt_reservation")),
    )
    op.create_table(
        "closed_period",
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("closed_by", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("period", name=op.f("pk_closed_period")),
    )
    op.create_table(
        "ledger_account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("gpu_class", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=True),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("stream", sa.Text(), nullable=True),
        sa.Column("grant_id", sa.Text(), nullable=True),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("is_bounded", sa.Boolean(), nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "NOT is_bounded OR debits_pending + debits_posted <= credits_posted",
            name=op.f("ck_ledger_account_within_bound"),
        ),
        sa.CheckConstraint(
            "debits_pending >= 0 AND debits_posted >= 0 AND credits_pending >= 0 AND credits_posted >= 0",
            name=op.f("ck_ledger_account_counters_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_account")),
        sa.UniqueConstraint(
            "kind",
            "site_id",
            "gpu_class",
            "period",
            "project_id",
            "stream",
            "grant_id",
            name="uq_ledger_account_key",
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint("name", name=op.f("uq_ledger_account_name")),
    )
    op.create_index(
        op.f("ix_ledger_account_project_id_site_id_gpu_class"),
        "ledger_account",
        ["project_id", "site_id", "gpu_class"],
        unique=False,
    )
    op.create_table(
        "award",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("awarded_by", sa.Text(), nullable=False),
        sa.Column("awarded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_award_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_award")),
    )
    op.create_index(op.f("ix_award_project_id"), "award", ["project_id"], unique=False)
    op.create_table(
        "usage_version",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("gpu_class", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gpus", sa.BigInteger(), nullable=False),
        sa.Column("gpu_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(kind = 'unattributed') = (attempt_id IS NULL)", name=op.f("ck_usage_version_attempt_unless_unattributed")
        ),
        sa.CheckConstraint("gpu_ms >= 0", name=op.f("ck_usage_version_amount_not_negative")),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt_reservation.attempt_id"], name=op.f("fk_usage_version_attempt_id")
        ),
        sa.PrimaryKeyConstraint("site_id", "key", "revision", name=op.f("pk_usage_version")),
    )
    op.create_index(op.f("ix_usage_version_attempt_id"), "usage_version", ["attempt_id"], unique=False)
    op.create_table(
        "ledger_transfer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("debit_account_id", sa.Uuid(), nullable=False),
        sa.Column("credit_account_id", sa.Uuid(), nullable=False),
        sa.Column("amount_gpu_ms", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("corrects_period", sa.Text(), nullable=True),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("source_key", sa.Text(), nullable=True),
        sa.Column("source_revision", sa.BigInteger(), nullable=True),
        sa.Column("pending_id", sa.Uuid(), nullable=True),
        sa.Column("reverses_id", sa.Uuid(), nullable=True),
        sa.Column("award_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'reversal') = (reverses_id IS NOT NULL)", name=op.f("ck_ledger_transfer_reversal_names_entry")
        ),
        sa.CheckConstraint(
            "(phase = 'resolution') = (pending_id IS NOT NULL)",
            name=op.f("ck_ledger_transfer_resolution_names_pending"),
        ),
        sa.CheckConstraint("amount_gpu_ms > 0", name=op.f("ck_ledger_transfer_amount_is_positive")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_ledger_transfer_two_accounts")),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt_reservation.attempt_id"], name=op.f("fk_ledger_transfer_attempt_id")
        ),
        sa.ForeignKeyConstraint(["award_id"], ["award.id"], name=op.f("fk_ledger_transfer_award_id")),
        sa.ForeignKeyConstraint(
            ["credit_account_id"], ["ledger_account.id"], name=op.f("fk_ledger_transfer_credit_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["debit_account_id"], ["ledger_account.id"], name=op.f("fk_ledger_transfer_debit_account_id")
        ),
        sa.ForeignKeyConstraint(["pending_id"], ["ledger_transfer.id"], name=op.f("fk_ledger_transfer_pending_id")),
        sa.ForeignKeyConstraint(["reverses_id"], ["ledger_transfer.id"], name=op.f("fk_ledger_transfer_reverses_id")),
        sa.ForeignKeyConstraint(
            ["site_id", "source_key", "source_revision"],
            ["usage_version.site_id", "usage_version.key", "usage_version.revision"],
            name="fk_ledger_transfer_usage_version",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_transfer")),
        sa.UniqueConstraint("number", name=op.f("uq_ledger_transfer_number")),
        sa.UniqueConstraint("pending_id", name=op.f("uq_ledger_transfer_pending_id")),
        sa.UniqueConstraint("reverses_id", name=op.f("uq_ledger_transfer_reverses_id")),
    )
    op.create_index(op.f("ix_ledger_transfer_attempt_id"), "ledger_transfer", ["attempt_id"], unique=False)
    op.create_index(op.f("ix_ledger_transfer_award_id"), "ledger_transfer", ["award_id"], unique=False)
    op.create_index(
        op.f("ix_ledger_transfer_credit_account_id"), "ledger_transfer", ["credit_account_id"], unique=False
    )
    op.create_index(op.f("ix_ledger_transfer_debit_account_id"), "ledger_transfer", ["debit_account_id"], unique=False)
    op.create_index(op.f("ix_ledger_transfer_period"), "ledger_transfer", ["period"], unique=False)
    op.create_index(
        op.f("ix_ledger_transfer_site_id_source_key"), "ledger_transfer", ["site_id", "source_key"], unique=False
    )
    op.execute(FUNCTIONS)
    for table in ONLY_ADDED:
        _guard(table, "UPDATE OR DELETE OR TRUNCATE")
    for table in NEVER_DELETED:
        _guard(table, "DELETE OR TRUNCATE")
    op.execute(INVARIANTS)


def _guard(table: str, events: str) -> None:
    op.execute(f"CREATE TRIGGER kept BEFORE {events} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()")


def downgrade() -> None:
    op.execute("DROP VIEW ledger_invariant")
    for table in (
        "ledger_transfer",
        "usage_version",
        "award",
        "ledger_account",
        "closed_period",
        "attempt_reservation",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION ledger_refuse_closed_period")
    op.execute("DROP FUNCTION ledger_refuse")
