"""What can be asked about projects and the people in them?"""

from __future__ import annotations

from typing import Annotated

import typer

from cesai.client.answers import Decision
from cesai.client.exits import BadInput
from cesai.client.tables import Column, print_fields, print_json, print_table
from cesai.client.visit import Visit, command

app = typer.Typer(no_args_is_help=True, help="Projects and their members.")
member_app = typer.Typer(no_args_is_help=True, help="Who is what (operator).")

ProjectName = Annotated[str, typer.Argument(help="The project's short name.")]
Username = Annotated[str, typer.Argument(help="The person's user name.")]
RoleOption = Annotated[str, typer.Option(help="researcher or pi.")]


@command(app, "list")
def list_projects(visit: Visit) -> None:
    """Projects that you may see."""
    visit.list(
        visit.hub.projects.list(),
        [
            Column("project", lambda each: each.id),
            Column("title", lambda each: each.title),
            Column("organisation", lambda each: each.organisation),
        ],
    )


@command(app)
def show(visit: Visit, project: ProjectName) -> None:
    """One project."""
    found = visit.hub.projects.show(project)
    if visit.as_json:
        print_json(found)
        return
    print_fields([("project", found.id), ("title", found.title), ("organisation", found.organisation)])
    columns: list[Column[Decision]] = [
        Column("site", lambda each: each.site_id),
        Column("account", lambda each: each.account),
        Column("refused because", lambda each: each.refused),
    ]
    print_table(found.sites, columns)


@command(app)
def create(
    visit: Visit,
    project: ProjectName,
    *,
    title: Annotated[str, typer.Option(help="What it is about.")],
    organisation: Annotated[str, typer.Option(help="Whose project it is.")],
) -> None:
    """Make a project (operator)."""
    visit.done(visit.hub.projects.create({"id": project, "title": title, "organisation": organisation}))


@command(app)
def members(visit: Visit, project: ProjectName) -> None:
    """Who is in it."""
    visit.list(
        visit.hub.projects.members(project),
        [
            Column("username", lambda each: each.username),
            Column("role", lambda each: each.role),
            Column("name", lambda each: each.name),
        ],
    )


@command(app, "add-member")
def add_member(visit: Visit, project: ProjectName, username: Username, *, role: RoleOption = "researcher") -> None:
    """Take somebody in (PI or operator)."""
    visit.hub.projects.add_member(project, username, role=role)
    visit.done()


@command(app, "remove-member")
def remove_member(visit: Visit, project: ProjectName, username: Username) -> None:
    """Take somebody out (PI or operator)."""
    visit.hub.projects.remove_member(project, username)
    visit.done()


@command(member_app, "list")
def list_memberships(
    visit: Visit,
    *,
    username: Annotated[str | None, typer.Option(help="Of this person only.")] = None,
    scope: Annotated[str | None, typer.Option(help="In this project or at this site only.")] = None,
) -> None:
    """Who is what."""
    visit.list(
        visit.hub.people.memberships(username=username, scope=scope),
        [
            Column("username", lambda each: each.username),
            Column("role", lambda each: each.role),
            Column("scope", lambda each: each.scope),
            Column("id", lambda each: each.id),
        ],
    )


@command(member_app)
def grant(
    visit: Visit,
    username: Username,
    role: Annotated[str, typer.Argument(help="researcher, pi, reviewer, site-admin, funder, operator.")],
    *,
    scope: Annotated[str | None, typer.Option(help="The project (researcher, pi) or site (site-admin).")] = None,
) -> None:
    """Make somebody something, also before his first login."""
    visit.done(visit.hub.people.grant(username, role, scope=scope))


@command(member_app)
def revoke(
    visit: Visit,
    username: Username,
    role: Annotated[str, typer.Argument(help="What he is no longer.")],
    *,
    scope: Annotated[str | None, typer.Option(help="The project or site.")] = None,
) -> None:
    """Take it from him; it ends at once."""
    found = [
        each
        for each in visit.hub.people.memberships(username=username, scope=scope)
        if each.username == username and each.role == role and each.scope == scope
    ]
    if not found:
        raise BadInput(visit.texts("no_membership", username=username))
    visit.hub.people.revoke(found[0].id)
    visit.done()
