"""The tables of access and of the embedded issuer, stored answers and heartbeats."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Rooms with rows that are only ever added share this function.
REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""
ADD_ONLY = """
CREATE TRIGGER audit_entry_add_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    op.create_table(
        "agent_enrolment",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_agent_enrolment")),
    )
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_index(op.f("ix_audit_entry_at"), "audit_entry", ["at"], unique=False)
    op.create_index(op.f("ix_audit_entry_subject"), "audit_entry", ["subject"], unique=False)
    op.create_table(
        "heartbeat",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_heartbeat")),
    )
    op.create_table(
        "issuer_assertion",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "jti", name=op.f("pk_issuer_assertion")),
    )
    op.create_index(op.f("ix_issuer_assertion_expires_at"), "issuer_assertion", ["expires_at"], unique=False)
    op.create_table(
        "issuer_failure",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("username", name=op.f("pk_issuer_failure")),
    )
    op.create_table(
        "issuer_key",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("private_jwk", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_issuer_key")),
    )
    op.create_index(
        "uq_issuer_key_signs",
        "issuer_key",
        [sa.literal_column("(retired_at IS NULL)")],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    op.create_table(
        "issuer_user",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("roles", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("groups", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuer_user")),
        sa.UniqueConstraint("username", name=op.f("uq_issuer_user_username")),
    )
    op.create_table(
        "principal",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principal")),
        sa.UniqueConstraint("subject", name=op.f("uq_principal_subject")),
        sa.UniqueConstraint("username", name=op.f("uq_principal_username")),
    )
    op.create_table(
        "site_agent",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("public_key", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("agent_version", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=True),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_agent")),
    )
    op.create_index(
        "uq_site_agent_site_id", "site_agent", ["site_id"], unique=True, postgresql_where=sa.text("replaced_at IS NULL")
    )
    op.create_table(
        "stored_answer",
        sa.Column("principal_id", sa.Uuid(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("principal_id", "route", "key", name=op.f("pk_stored_answer")),
    )
    op.create_index(op.f("ix_stored_answer_answered_at"), "stored_answer", ["answered_at"], unique=False)
    op.create_table(
        "issuer_session",
        sa.Column("sid", sa.Text(), nullable=False),
        sa.Column("cookie_hash", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["issuer_user.id"], name=op.f("fk_issuer_session_user_id")),
        sa.PrimaryKeyConstraint("sid", name=op.f("pk_issuer_session")),
        sa.UniqueConstraint("cookie_hash", name=op.f("uq_issuer_session_cookie_hash")),
    )
    op.create_table(
        "membership",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("principal_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_membership_principal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_membership")),
    )
    op.create_index(op.f("ix_membership_scope"), "membership", ["scope"], unique=False)
    op.create_index(
        "uq_membership_principal_id_role_scope",
        "membership",
        ["principal_id", "role", "scope"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "issuer_client_session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sid", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["sid"], ["issuer_session.sid"], name=op.f("fk_issuer_client_session_sid")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuer_client_session")),
    )
    op.create_index(op.f("ix_issuer_client_session_sid"), "issuer_client_session", ["sid"], unique=False)
    op.create_table(
        "issuer_device",
        sa.Column("device_hash", sa.Text(), nullable=False),
        sa.Column("user_code", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("interval_s", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_poll_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_approved", sa.Boolean(), nullable=True),
        sa.Column("sid", sa.Text(), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["sid"], ["issuer_session.sid"], name=op.f("fk_issuer_device_sid")),
        sa.PrimaryKeyConstraint("device_hash", name=op.f("pk_issuer_device")),
        sa.UniqueConstraint("user_code", name=op.f("uq_issuer_device_user_code")),
    )
    op.create_index(op.f("ix_issuer_device_expires_at"), "issuer_device", ["expires_at"], unique=False)
    op.create_table(
        "issuer_login",
        sa.Column("id_hash", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.Text(), nullable=False),
        sa.Column("wish", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sid", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sid"], ["issuer_session.sid"], name=op.f("fk_issuer_login_sid")),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_issuer_login")),
    )
    op.create_index(op.f("ix_issuer_login_expires_at"), "issuer_login", ["expires_at"], unique=False)
    op.create_table(
        "issuer_code",
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.Column("sid", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("client_session_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["client_session_id"], ["issuer_client_session.id"], name=op.f("fk_issuer_code_client_session_id")
        ),
        sa.ForeignKeyConstraint(["sid"], ["issuer_session.sid"], name=op.f("fk_issuer_code_sid")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_issuer_code")),
    )
    op.create_index(op.f("ix_issuer_code_expires_at"), "issuer_code", ["expires_at"], unique=False)
    op.create_table(
        "issuer_refresh",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("client_session_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["client_session_id"], ["issuer_client_session.id"], name=op.f("fk_issuer_refresh_client_session_id")
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_issuer_refresh")),
    )
    op.create_index(op.f("ix_issuer_refresh_client_session_id"), "issuer_refresh", ["client_session_id"], unique=False)
    op.create_index(op.f("ix_issuer_refresh_expires_at"), "issuer_refresh", ["expires_at"], unique=False)
    op.execute(REFUSE_CHANGE)
    op.execute(ADD_ONLY)


def downgrade() -> None:
    op.drop_index(op.f("ix_issuer_refresh_expires_at"), table_name="issuer_refresh")
    op.drop_index(op.f("ix_issuer_refresh_client_session_id"), table_name="issuer_refresh")
    op.drop_table("issuer_refresh")
    op.drop_index(op.f("ix_issuer_code_expires_at"), table_name="issuer_code")
    op.drop_table("issuer_code")
    op.drop_index(op.f("ix_issuer_login_expires_at"), table_name="issuer_login")
    op.drop_table("issuer_login")
    op.drop_index(op.f("ix_issuer_device_expires_at"), table_name="issuer_device")
    op.drop_table("issuer_device")
    op.drop_index(op.f("ix_issuer_client_session_sid"), table_name="issuer_client_session")
    op.drop_table("issuer_client_session")
    op.drop_index("uq_membership_principal_id_role_scope", table_name="membership", postgresql_nulls_not_distinct=True)
    op.drop_index(op.f("ix_membership_scope"), table_name="membership")
    op.drop_table("membership")
    op.drop_table("issuer_session")
    op.drop_index(op.f("ix_stored_answer_answered_at"), table_name="stored_answer")
    op.drop_table("stored_answer")
    op.drop_index("uq_site_agent_site_id", table_name="site_agent", postgresql_where=sa.text("replaced_at IS NULL"))
    op.drop_table("site_agent")
    op.drop_table("principal")
    op.drop_table("issuer_user")
    op.drop_index("uq_issuer_key_signs", table_name="issuer_key", postgresql_where=sa.text("retired_at IS NULL"))
    op.drop_table("issuer_key")
    op.drop_table("issuer_failure")
    op.drop_index(op.f("ix_issuer_assertion_expires_at"), table_name="issuer_assertion")
    op.drop_table("issuer_assertion")
    op.drop_table("heartbeat")
    op.drop_index(op.f("ix_audit_entry_subject"), table_name="audit_entry")
    op.drop_index(op.f("ix_audit_entry_at"), table_name="audit_entry")
    op.drop_table("audit_entry")
    op.drop_table("agent_enrolment")
    op.execute("DROP FUNCTION refuse_change()")
