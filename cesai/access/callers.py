"""How does a route say who may call it?

By the type of a parameter: `caller: SiteAdmin`. A route of a guarded router without such a parameter does not even
import. Tokens are checked before the request's transaction takes a connection, so that a slow issuer holds none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, Path, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cesai.access import rules, service
from cesai.access.rules import AgentCaller, Caller, NotSignedIn, Role
from cesai.access.tokens import Identity, Verifier
from cesai.db.session import Db, Now, unit_of_work

Policy = TypeVar("Policy", bound=Callable[..., Any])
# Which dependency stands for which policy, by the name that the access table shows.
POLICIES: dict[Callable[..., Any], str] = {}

_person = HTTPBearer(
    scheme_name="person", bearerFormat="JWT", auto_error=False, description="Access token of the OIDC issuer"
)
_agent = HTTPBearer(
    scheme_name="agent", bearerFormat="JWT", auto_error=False, description="Token that an enrolled agent signs itself"
)
PersonToken = Annotated[HTTPAuthorizationCredentials | None, Security(_person)]
AgentToken = Annotated[HTTPAuthorizationCredentials | None, Security(_agent)]


class UnguardedRoute(TypeError):
    """A route does not say who may call it."""


def _policy(name: str) -> Callable[[Policy], Policy]:
    def register(check: Policy) -> Policy:
        POLICIES[check] = name
        return check

    return register


def _identity(request: Request, token: PersonToken, now: Now) -> Identity:
    if token is None:
        msg = "Sign in first (cesai login) and send the access token as a Bearer token."
        raise NotSignedIn(msg)
    return cast("Verifier", request.app.state.verifier).identity(token.credentials, now)


# The identity comes before the session: nothing is held while the issuer's keys may have to be fetched.
def _caller(request: Request, identity: Annotated[Identity, Depends(_identity)], db: Db, now: Now) -> Caller:
    caller = service.sign_in(db, identity, now=now)
    request.state.principal_id = caller.principal_id
    return caller


Person = Annotated[Caller, Depends(_caller)]
SitePath = Annotated[str, Path(description="The site's id")]
ProjectPath = Annotated[str, Path(description="The project's id")]


@_policy("anyone")
def anyone() -> None:
    """Public on purpose."""


@_policy("signed in")
def signed_in(caller: Person) -> Caller:
    """Any person or program with a token; what he may see is decided further in."""
    return caller


@_policy("operator")
def operator(caller: Person) -> Caller:
    """Who runs the hub."""
    rules.check_role(caller, Role.OPERATOR)
    return caller


@_policy("reviewer")
def reviewer(caller: Person) -> Caller:
    """Who judges applications, and operators."""
    rules.check_role(caller, Role.REVIEWER)
    return caller


@_policy("funder")
def funder(caller: Person) -> Caller:
    """Who pays, and operators."""
    rules.check_role(caller, Role.FUNDER)
    return caller


@_policy("admin of the site")
def site_admin(caller: Person, site_id: SitePath) -> Caller:
    """Admins of the site in the path, and operators."""
    rules.check_site_admin(caller, site_id)
    return caller


@_policy("member of the project")
def project_member(request: Request, caller: Person, project_id: ProjectPath) -> Caller:
    """Members of the project in the path; to read, also who may read every project."""
    rules.check_project_member(caller, project_id, is_reading=request.method in {"GET", "HEAD"})
    return caller


@_policy("lead of the project")
def project_lead(caller: Person, project_id: ProjectPath) -> Caller:
    """Leads of the project in the path, and operators."""
    rules.check_project_lead(caller, project_id)
    return caller


@_policy("agent of a site")
def site_agent(request: Request, token: AgentToken, now: Now) -> AgentCaller:
    """An enrolled agent. Its own short transaction: the sync route then waits long without a connection."""
    if token is None:
        msg = "Send the token that the enrolled agent signs (cesai-agent enroll)."
        raise NotSignedIn(msg)
    caller = _agent_of(request, token.credentials, now)
    request.state.principal_id = caller.agent_id
    return caller


def _agent_of(request: Request, token: str, now: datetime) -> AgentCaller:
    with unit_of_work(request.app.state.engine) as db:
        return service.agent(db, token, now=now)


Anyone = Annotated[None, Depends(anyone)]
SignedIn = Annotated[Caller, Depends(signed_in)]
Operator = Annotated[Caller, Depends(operator)]
Reviewer = Annotated[Caller, Depends(reviewer)]
Funder = Annotated[Caller, Depends(funder)]
SiteAdmin = Annotated[Caller, Depends(site_admin)]
ProjectMember = Annotated[Caller, Depends(project_member)]
ProjectLead = Annotated[Caller, Depends(project_lead)]
SiteAgent = Annotated[AgentCaller, Depends(site_agent)]


class GuardedRoute(APIRoute):
    """A route that names exactly one policy, or does not come into being."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401  FastAPI's own
        super().__init__(path, endpoint, **options)
        policies = policies_of(self)
        if len(policies) != 1:
            found = ", ".join(policies) or "none"
            msg = (
                f"{endpoint.__module__}.{endpoint.__name__} must have one parameter that says who may call it "
                f"(see cesai.access.callers); it has: {found}"
            )
            raise UnguardedRoute(msg)


def policies_of(route: APIRoute) -> list[str]:
    """Names of the policies among a route's own parameters."""
    return [POLICIES[each.call] for each in route.dependant.dependencies if each.call in POLICIES]


def guarded_router(*, prefix: str = "", tags: list[str] | None = None) -> APIRouter:
    """A router all of whose routes say who may call them."""
    return APIRouter(prefix=prefix, tags=list(tags or ()), route_class=GuardedRoute)
