"""What can be done with projects: open, fill with people, accept at a site?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import MEMBERS, Caller, Role
from cesai.db.paging import PageRequest, Slice
from cesai.kernel.errors import NotFound, Refused
from cesai.projects import rules, store, tables
from cesai.projects.rules import Decision, NewProject, Project, Verdict
from cesai.sites import service as sites


def create(db: Session, new: NewProject, *, by: Caller, now: datetime) -> Project:
    """Open a project.

    Raises:
        Refused: its id is taken.
    """
    if store.project(db, new.id):
        msg = f"There is a project {new.id} already."
        raise Refused(msg)
    row = tables.Project(id=new.id, title=new.title, organisation=new.organisation, created_at=now)
    db.add(row)
    db.flush()
    details = {"title": new.title, "organisation": new.organisation}
    access.audit(db, actor=by, action="project.create", subject=new.id, details=details, now=now)
    return _project(row)


def project(db: Session, project_id: str) -> Project:
    """One project, whoever asks.

    Raises:
        NotFound: there is none of this id.
    """
    row = store.project(db, project_id)
    if row is None:
        raise NotFound
    return _project(row)


def may_see(db: Session, caller: Caller, project_id: str) -> bool:
    """Whether this caller may know of this project: its members, readers of all, and sites' admins, who judge it."""
    del db
    return caller.is_reader or bool(caller.sites()) or project_id in caller.projects()


def visible(db: Session, caller: Caller, project_id: str) -> Project:
    """One project, for this caller.

    Raises:
        NotFound: there is none, or none that he may know of.
    """
    if not may_see(db, caller, project_id):
        raise NotFound
    return project(db, project_id)


def visible_page(db: Session, caller: Caller, page: PageRequest) -> Slice[Project]:
    """One page of what this caller may know of, by id."""
    ids = None if caller.is_reader or caller.sites() else caller.projects()
    rows = store.projects_page(db, ids, page)
    return Slice(items=tuple(_project(row) for row in rows.items), next_cursor=rows.next_cursor)


def members(db: Session, project_id: str) -> list[tuple[str, Role]]:
    """Who is in a project, by name.

    Raises:
        NotFound: there is none of this id.
    """
    project(db, project_id)
    return access.members_of(db, project_id)


def put_member(db: Session, project_id: str, *, username: str, role: Role, by: Caller, now: datetime) -> None:
    """Take somebody in as researcher or PI; who is in already has this role instead of his former one.

    Raises:
        NotFound: there is no such project.
    """
    project(db, project_id)
    for membership_id, held in _memberships(db, project_id, username).items():
        if held != role:
            access.revoke(db, membership_id, by=by, now=now)
    access.grant(db, username=username, role=role, scope=project_id, by=by, now=now)


def remove_member(db: Session, project_id: str, *, username: str, by: Caller, now: datetime) -> None:
    """Take somebody out, at once.

    Raises:
        NotFound: there is no such project, or he is not in it.
    """
    project(db, project_id)
    found = _memberships(db, project_id, username)
    if not found:
        raise NotFound
    for membership_id in found:
        access.revoke(db, membership_id, by=by, now=now)


def _memberships(db: Session, project_id: str, username: str) -> dict[UUID, Role]:
    # A site may have the same id as a project: what somebody is there is not the project's to change.
    held = access.memberships(db, PageRequest(limit=len(Role)), username=username, scope=project_id)
    return {row.id: Role(row.role) for row, _ in held.items if row.role in MEMBERS}


def decide(db: Session, verdict: Verdict, *, by: Caller, now: datetime) -> Decision:
    """Let a project run at a site under a local account of its own, or keep it away; what runs there already goes on.

    Raises:
        NotFound: there is no such site or project.
        Refused: the account cannot be the project's.
    """
    project(db, verdict.project_id)
    sites.lock(db, verdict.site_id)
    holder = store.holder_of_account(db, verdict.site_id, verdict.account) if verdict.account else None
    rules.check_verdict(verdict, holder=holder)
    row = store.decision(db, verdict.site_id, verdict.project_id)
    if row is None:
        row = tables.SiteDecision(site_id=verdict.site_id, project_id=verdict.project_id)
        db.add(row)
    row.account, row.refused = verdict.account, verdict.refused
    row.decided_by, row.decided_at = by.username, now
    db.flush()
    details = {"project": verdict.project_id, "account": verdict.account, "refused": verdict.refused}
    access.audit(db, actor=by, action="site.project", subject=verdict.site_id, details=details, now=now)
    # The agent is told which accounts are the hub's.
    sites.bump_order_revision(db, verdict.site_id)
    return _decision(row)


def account_at(db: Session, project_id: str, site_id: str) -> str | None:
    """The project's local account at a site; None: the site has not accepted it."""
    row = store.decision(db, site_id, project_id)
    return row.account if row else None


def accepted_sites(db: Session, project_id: str) -> Mapping[str, str]:
    """Sites that accepted the project, each with its local account there."""
    return {row.site_id: row.account for row in store.decisions_of_project(db, project_id) if row.account is not None}


def accounts_of_site(db: Session, site_id: str) -> Mapping[str, str]:
    """The hub's local accounts at a site, each with its project."""
    return {row.account: row.project_id for row in store.decisions_of_site(db, site_id) if row.account is not None}


def decisions_of_project(db: Session, project_id: str) -> tuple[Decision, ...]:
    """What sites said about a project, refusals with their reason."""
    return tuple(_decision(row) for row in store.decisions_of_project(db, project_id))


def decisions_of_site(db: Session, site_id: str) -> tuple[Decision, ...]:
    """What a site said about projects."""
    sites.site(db, site_id)
    return tuple(_decision(row) for row in store.decisions_of_site(db, site_id))


def _project(row: tables.Project) -> Project:
    return Project(id=row.id, title=row.title, organisation=row.organisation, created_at=row.created_at)


def _decision(row: tables.SiteDecision) -> Decision:
    return Decision(
        site_id=row.site_id,
        project_id=row.project_id,
        account=row.account,
        refused=row.refused,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
    )
