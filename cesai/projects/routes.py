"""How are projects opened, filled with people and accepted at sites over HTTP?"""

from __future__ import annotations

from fastapi import Response

from cesai.access.callers import Operator, ProjectLead, ProjectMember, SignedIn, SiteAdmin, guarded_router
from cesai.access.rules import Role
from cesai.db.idempotency import Once
from cesai.db.paging import Page, PageParams
from cesai.db.session import Db, Now
from cesai.projects import service
from cesai.projects.schemas import (
    DecisionOut,
    MemberIn,
    MemberOut,
    ProjectIn,
    ProjectOut,
    ProjectWithSitesOut,
    VerdictIn,
)

router = guarded_router(tags=["projects"])


@router.post("/projects", status_code=201, response_model=ProjectOut)
def create(body: ProjectIn, caller: Operator, db: Db, once: Once, now: Now) -> Response:
    """Open a project."""
    return once(lambda: ProjectOut.of(service.create(db, body.to_rule(), by=caller, now=now)))


@router.get("/projects")
def list_projects(caller: SignedIn, db: Db, page: PageParams) -> Page[ProjectOut]:
    """List what the caller may know of."""
    return Page[ProjectOut].of(service.visible_page(db, caller, page), ProjectOut.of)


@router.get("/projects/{project_id}")
def show(project_id: str, caller: SignedIn, db: Db) -> ProjectWithSitesOut:
    """Show one project and what sites said about it."""
    project = service.visible(db, caller, project_id)
    return ProjectWithSitesOut.with_sites(project, service.decisions_of_project(db, project_id))


@router.get("/projects/{project_id}/members")
def list_members(project_id: str, caller: ProjectMember, db: Db) -> Page[MemberOut]:
    """List who is in the project."""
    members = service.members(db, project_id)
    return Page[MemberOut](items=[MemberOut.of(member) for member in members], next_cursor=None)


@router.post("/projects/{project_id}/members", status_code=201, response_model=MemberOut)
def put_member(project_id: str, body: MemberIn, *, caller: ProjectLead, db: Db, once: Once, now: Now) -> Response:
    """Take somebody in, also before his first login; again with another role changes the role."""

    def put() -> MemberOut:
        role = Role(body.role)
        service.put_member(db, project_id, username=body.username, role=role, by=caller, now=now)
        return MemberOut.of((body.username, role))

    return once(put)


@router.delete("/projects/{project_id}/members/{username}", status_code=204)
def remove_member(project_id: str, username: str, caller: ProjectLead, db: Db, now: Now) -> None:
    """Take somebody out, at once."""
    service.remove_member(db, project_id, username=username, by=caller, now=now)


@router.get("/sites/{site_id}/projects")
def list_site_projects(site_id: str, caller: SiteAdmin, db: Db) -> Page[DecisionOut]:
    """List what the site said about projects."""
    decisions = service.decisions_of_site(db, site_id)
    return Page[DecisionOut](items=[DecisionOut.of(decision) for decision in decisions], next_cursor=None)


@router.put("/sites/{site_id}/projects/{project_id}")
def decide(site_id: str, project_id: str, body: VerdictIn, *, caller: SiteAdmin, db: Db, now: Now) -> DecisionOut:
    """Let a project run at the site under a local account of its own, or refuse it with a reason."""
    return DecisionOut.of(service.decide(db, body.to_rule(site_id, project_id), by=caller, now=now))
