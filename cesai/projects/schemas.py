"""What do people send and get about projects?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints

from cesai.access.rules import Role
from cesai.kernel.ids import SLUG
from cesai.projects.rules import Decision, NewProject, Project, Verdict

# One line that a terminal and a table can show: no control characters, no line separators.
_ONE_LINE = r"^[^\p{C}\p{Zl}\p{Zp}]+$"
ProjectId = Annotated[str, StringConstraints(pattern=f"^{SLUG.pattern}$")]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=_ONE_LINE)]
Username = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]


class In(BaseModel):
    """Input: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """Output: every field is told."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class ProjectIn(In):
    """A project to open."""

    id: ProjectId
    title: Title
    organisation: Title

    def to_rule(self) -> NewProject:
        """As the rules know it."""
        return NewProject(id=self.id, title=self.title, organisation=self.organisation)


class DecisionOut(Out):
    """What a site said about a project."""

    site_id: str
    project_id: str
    account: str | None
    refused: str | None
    decided_by: str
    decided_at: datetime

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """As the rules know it."""
        return cls.model_validate(decision)


class ProjectOut(Out):
    """A project."""

    id: str
    title: str
    organisation: str
    created_at: datetime

    @classmethod
    def of(cls, project: Project) -> Self:
        """As the rules know it."""
        return cls.model_validate(project)


class ProjectWithSitesOut(ProjectOut):
    """A project, and what sites said about it."""

    sites: list[DecisionOut]

    @classmethod
    def with_sites(cls, project: Project, decisions: Sequence[Decision]) -> Self:
        """As the rules know it."""
        plain = ProjectOut.of(project).model_dump()
        return cls(**plain, sites=[DecisionOut.of(decision) for decision in decisions])


class MemberIn(In):
    """Somebody to take in; again with another role changes the role."""

    username: Username
    role: Literal["researcher", "pi"]


class MemberOut(Out):
    """Somebody in a project."""

    username: str
    role: str

    @classmethod
    def of(cls, member: tuple[str, Role]) -> Self:
        """As the rules know it."""
        return cls(username=member[0], role=member[1].value)


class VerdictIn(In):
    """Either the local account under which the project's jobs run at the site, or why it is refused."""

    account: Annotated[str, StringConstraints(max_length=64)] | None = None
    refused: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] | None = None

    def to_rule(self, site_id: str, project_id: str) -> Verdict:
        """As the rules know it."""
        return Verdict(site_id=site_id, project_id=project_id, account=self.account, refused=self.refused)
