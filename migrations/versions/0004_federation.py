"""The tables of federation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("nodes", sa.BigInteger(), nullable=False),
        sa.Column("gpus_per_node", sa.BigInteger(), nullable=False),
        sa.Column("walltime_minutes", sa.BigInteger(), nullable=False),
        sa.Column("resume_job_id", sa.Uuid(), nullable=True),
        sa.Column("home_site_id", sa.Text(), nullable=True),
        sa.Column("resume_from", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("cancel_wished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_wished_by", sa.Text(), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("waiting_reason", sa.Text(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'PLACED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name=op.f("ck_job_state")
        ),
        sa.ForeignKeyConstraint(["home_site_id"], ["site.id"], name=op.f("fk_job_home_site_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_job_project_id")),
        sa.ForeignKeyConstraint(["resume_job_id"], ["job.id"], name=op.f("fk_job_resume_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_index(
        "ix_job_open",
        "job",
        ["state"],
        unique=False,
        postgresql_where=sa.text("state NOT IN ('CANCELLED', 'FAILED', 'SUCCEEDED')"),
    )
    op.create_index("ix_job_project_id_id", "job", ["project_id", "id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("gres_type", sa.Text(), nullable=True),
        sa.Column("gpu_class", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("marker", sa.Text(), nullable=False),
        sa.Column("order", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("submit_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reported_instance", sa.Text(), nullable=True),
        sa.Column("reported_sequence", sa.BigInteger(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_owed", sa.Boolean(), nullable=False),
        sa.Column("is_cancel_ordered", sa.Boolean(), nullable=False),
        sa.Column("is_moved", sa.Boolean(), nullable=False),
        sa.Column("charged_gpus", sa.BigInteger(), nullable=False),
        sa.Column("walltime_minutes", sa.BigInteger(), nullable=False),
        sa.Column("margin_minutes", sa.BigInteger(), nullable=False),
        sa.Column("patience_minutes", sa.BigInteger(), nullable=False),
        sa.Column("reserved_gpu_ms", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("latest_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("running_known_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_known_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wrapper_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wrapper_ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wrapper_exit_code", sa.BigInteger(), nullable=True),
        sa.Column("wrapper_duplicates", sa.BigInteger(), nullable=False),
        sa.Column("scheduler_gpu_ms", sa.BigInteger(), nullable=True),
        sa.Column("is_usage_complete", sa.Boolean(), nullable=False),
        sa.Column("is_usage_flagged", sa.Boolean(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("log_bytes", sa.BigInteger(), nullable=False),
        sa.Column("is_log_complete", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'ENDED') = (outcome IS NOT NULL)", name=op.f("ck_attempt_ended_with_outcome")),
        sa.CheckConstraint(
            "outcome IN ('SUCCEEDED', 'FAILED', 'TIMEOUT', 'CANCELLED', 'OUT_OF_MEMORY', "
            "'NODE_FAIL', 'PREEMPTED', 'REJECTED', 'ABSENT', 'LOST')",
            name=op.f("ck_attempt_outcome"),
        ),
        sa.CheckConstraint(
            "state IN ('PLANNED', 'SUBMITTING', 'UNKNOWN', 'SUBMITTED', 'RUNNING', 'ENDED')",
            name=op.f("ck_attempt_state"),
        ),
        sa.CheckConstraint("reserved_gpu_ms > 0 AND charged_gpus > 0", name=op.f("ck_attempt_reserves")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_attempt_job_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_attempt_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("job_id", "number", name=op.f("uq_attempt_job_id_number")),
        sa.UniqueConstraint("marker", name=op.f("uq_attempt_marker")),
    )
    op.create_index(
        "ix_attempt_due_at", "attempt", ["due_at"], unique=False, postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_index(
        "ix_attempt_log", "attempt", ["site_id"], unique=False, postgresql_where=sa.text("NOT is_log_complete")
    )
    op.create_index("ix_attempt_owed", "attempt", ["site_id"], unique=False, postgresql_where=sa.text("is_owed"))
    op.create_index(
        "uq_attempt_one_open", "attempt", ["job_id"], unique=True, postgresql_where=sa.text("state <> 'ENDED'")
    )
    op.create_table(
        "job_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_job_event_attempt_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_event_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_event")),
    )
    op.create_index("ix_job_event_job_id", "job_event", ["job_id", "id"], unique=False)
    op.create_table(
        "log_range",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_log_range_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "offset", name=op.f("pk_log_range")),
    )
    op.create_table(
        "log_wish",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_log_wish_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_log_wish")),
    )
    op.create_table(
        "usage_record",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("doubt", sa.Text(), nullable=True),
        sa.Column("is_unbooked", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_usage_record_attempt_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_usage_record_site_id")),
        sa.PrimaryKeyConstraint("site_id", "key", "revision", name=op.f("pk_usage_record")),
    )
    op.create_index("ix_usage_record_attempt_id", "usage_record", ["attempt_id"], unique=False)
    op.create_index(
        "ix_usage_record_unbooked", "usage_record", ["site_id"], unique=False, postgresql_where=sa.text("is_unbooked")
    )


def downgrade() -> None:
    op.drop_index("ix_usage_record_unbooked", table_name="usage_record", postgresql_where=sa.text("is_unbooked"))
    op.drop_index("ix_usage_record_attempt_id", table_name="usage_record")
    op.drop_table("usage_record")
    op.drop_table("log_wish")
    op.drop_table("log_range")
    op.drop_index("ix_job_event_job_id", table_name="job_event")
    op.drop_table("job_event")
    op.drop_index("uq_attempt_one_open", table_name="attempt", postgresql_where=sa.text("state <> 'ENDED'"))
    op.drop_index("ix_attempt_owed", table_name="attempt", postgresql_where=sa.text("is_owed"))
    op.drop_index("ix_attempt_log", table_name="attempt", postgresql_where=sa.text("NOT is_log_complete"))
    op.drop_index("ix_attempt_due_at", table_name="attempt", postgresql_where=sa.text("due_at IS NOT NULL"))
    op.drop_table("attempt")
    op.drop_index("ix_job_project_id_id", table_name="job")
    op.drop_index(
        "ix_job_open", table_name="job", postgresql_where=sa.text("state NOT IN ('CANCELLED', 'FAILED', 'SUCCEEDED')")
    )
    op.drop_table("job")
