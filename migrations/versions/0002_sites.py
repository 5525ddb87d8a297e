"""The tables of sites and projects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gpu_class",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("memory_gb", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_class")),
    )
    op.create_table(
        "hub_watch",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("clocks_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("doubt", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_hub_watch_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_watch")),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
    )
    op.create_table(
        "site",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("patience_minutes", sa.BigInteger(), nullable=False),
        sa.Column("margin_minutes", sa.BigInteger(), nullable=False),
        sa.Column("availability_percent", sa.BigInteger(), nullable=False),
        sa.Column("is_draining", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('slurm', 'ray')", name=op.f("ck_site_kind_is_known")),
        sa.CheckConstraint("availability_percent BETWEEN 1 AND 100", name=op.f("ck_site_availability_is_a_share")),
        sa.CheckConstraint("patience_minutes > 0 AND margin_minutes > 0", name=op.f("ck_site_minutes_are_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
    )
    op.create_table(
        "pledge",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("gpu_class", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("gpu_ms", sa.BigInteger(), nullable=False),
        sa.Column("pledged_by", sa.Text(), nullable=False),
        sa.Column("pledged_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("gpu_ms > 0", name=op.f("ck_pledge_amount_is_positive")),
        sa.ForeignKeyConstraint(["gpu_class"], ["gpu_class.id"], name=op.f("fk_pledge_gpu_class")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_pledge_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pledge")),
    )
    op.create_index(
        op.f("ix_pledge_site_id_gpu_class_period"), "pledge", ["site_id", "gpu_class", "period"], unique=False
    )
    op.create_table(
        "pool",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("gres_type", sa.Text(), nullable=True),
        sa.Column("features", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("nodes", sa.BigInteger(), nullable=False),
        sa.Column("nodes_up", sa.BigInteger(), nullable=False),
        sa.Column("gpus_per_node", sa.BigInteger(), nullable=False),
        sa.Column("gpus", sa.BigInteger(), nullable=False),
        sa.Column("gpus_up", sa.BigInteger(), nullable=False),
        sa.Column("gpus_free", sa.BigInteger(), nullable=False),
        sa.Column("max_walltime_minutes", sa.BigInteger(), nullable=True),
        sa.Column("is_exclusive", sa.Boolean(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("gpus_free <= gpus_up AND gpus_up <= gpus", name=op.f("ck_pool_counts_agree")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_pool_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool")),
        sa.UniqueConstraint(
            "site_id",
            "cluster",
            "partition",
            "gres_type",
            name=op.f("uq_pool_site_id_cluster_partition_gres_type"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "pool_class",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("gres_type", sa.Text(), nullable=True),
        sa.Column("gpu_class", sa.Text(), nullable=False),
        sa.Column("confirmed_by", sa.Text(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["gpu_class"], ["gpu_class.id"], name=op.f("fk_pool_class_gpu_class")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_pool_class_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool_class")),
        sa.UniqueConstraint(
            "site_id",
            "cluster",
            "partition",
            "gres_type",
            name=op.f("uq_pool_class_site_id_cluster_partition_gres_type"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "site_contact",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("last_heard_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("agent_version", sa.Text(), nullable=False),
        sa.Column("site_epoch", sa.Text(), nullable=False),
        sa.Column("is_reachable", sa.Boolean(), nullable=False),
        sa.Column("agent_trouble", sa.Text(), nullable=True),
        sa.Column("inventory_trouble", sa.Text(), nullable=True),
        sa.Column("clock_skew_ms", sa.BigInteger(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=True),
        sa.Column("dialect", sa.Text(), nullable=True),
        sa.Column("scheduler_version", sa.Text(), nullable=True),
        sa.Column("snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("snapshot_taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("snapshot_skew_ms", sa.BigInteger(), nullable=True),
        sa.Column("quarantined", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_site_contact_site_id")),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_site_contact")),
    )
    op.create_table(
        "site_decision",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("refused", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(account IS NULL) <> (refused IS NULL)", name=op.f("ck_site_decision_account_or_refusal")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_site_decision_project_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_site_decision_site_id")),
        sa.PrimaryKeyConstraint("site_id", "project_id", name=op.f("pk_site_decision")),
        sa.UniqueConstraint("site_id", "account", name=op.f("uq_site_decision_site_id_account")),
    )
    op.create_index(op.f("ix_site_decision_project_id"), "site_decision", ["project_id"], unique=False)
    op.create_table(
        "site_orders",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_site_orders_site_id")),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_site_orders")),
    )


def downgrade() -> None:
    op.drop_table("site_orders")
    op.drop_index(op.f("ix_site_decision_project_id"), table_name="site_decision")
    op.drop_table("site_decision")
    op.drop_table("site_contact")
    op.drop_table("pool_class")
    op.drop_table("pool")
    op.drop_index(op.f("ix_pledge_site_id_gpu_class_period"), table_name="pledge")
    op.drop_table("pledge")
    op.drop_table("site")
    op.drop_table("project")
    op.drop_table("hub_watch")
    op.drop_table("gpu_class")
