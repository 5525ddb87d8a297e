"""How are projects, and which sites take them, kept?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cesai.db.base import Table


class Project(Table):
    """A group's model project."""

    __tablename__ = "project"

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    organisation: Mapped[str]
    created_at: Mapped[datetime]


class SiteDecision(Table):
    """Whether a site takes a project, and as which local account its jobs run there."""

    __tablename__ = "site_decision"
    __table_args__ = (
        CheckConstraint("(account IS NULL) <> (refused IS NULL)", name="account_or_refusal"),
        UniqueConstraint("site_id", "account"),
    )

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), primary_key=True, index=True)
    account: Mapped[str | None]
    refused: Mapped[str | None]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
