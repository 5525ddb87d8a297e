"""Where do projects' rows come from and go to?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from cesai.db.paging import PageRequest, Slice, page_of
from cesai.projects.tables import Project, SiteDecision


def project(db: Session, project_id: str) -> Project | None:
    """One project."""
    return db.get(Project, project_id)


def projects_page(db: Session, ids: Collection[str] | None, page: PageRequest) -> Slice[Project]:
    """One page of these projects, or of all, by id."""
    query = select(Project)
    if ids is not None:
        query = query.where(Project.id.in_(ids))
    return page_of(db, query, key=Project.id, page=page)


def decision(db: Session, site_id: str, project_id: str) -> SiteDecision | None:
    """What this site said about this project, read anew."""
    return db.get(SiteDecision, (site_id, project_id), populate_existing=True)


def decisions_of_project(db: Session, project_id: str) -> Sequence[SiteDecision]:
    """What sites said about this project."""
    return db.scalars(
        select(SiteDecision).where(SiteDecision.project_id == project_id).order_by(SiteDecision.site_id)
    ).all()


def decisions_of_site(db: Session, site_id: str) -> Sequence[SiteDecision]:
    """What this site said about projects."""
    return db.scalars(
        select(SiteDecision).where(SiteDecision.site_id == site_id).order_by(SiteDecision.project_id)
    ).all()


def holder_of_account(db: Session, site_id: str, account: str) -> str | None:
    """Which project has this local account there."""
    return db.scalar(
        select(SiteDecision.project_id).where(SiteDecision.site_id == site_id, SiteDecision.account == account)
    )
