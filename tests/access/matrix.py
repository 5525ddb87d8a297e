"""Who may call which route? The table that people agreed on, beside the tree of routes that says what is.

A cell tells how far somebody comes: IN (through to the route's own work), 401 (believed as nobody), 403 (he may see it,
but not do this) or 404 (for him it does not exist). "Own" is the project legal-llm and the site juelich.
"""

from __future__ import annotations

IN = "in"

# Tokens that are worth nothing, whoever they name.
WORTHLESS = ("anonymous", "expired", "other-audience", "id-token", "alg-none", "hs256")
AGENTS = ("agent", "agent-elsewhere")
PEOPLE = (
    "stranger",
    "researcher",
    "researcher-elsewhere",
    "pi",
    "pi-elsewhere",
    "reviewer",
    "site-admin",
    "site-admin-elsewhere",
    "funder",
    "operator",
)
PRINCIPALS = (*WORTHLESS, *AGENTS, *PEOPLE)


def _people(otherwise: int | str, **cells: int | str) -> dict[str, int | str]:
    """A route for people: agents and worthless tokens are nobody there."""
    named = {name.replace("_", "-"): cell for name, cell in cells.items()}
    assert set(named) <= set(PEOPLE)
    return dict.fromkeys((*WORTHLESS, *AGENTS), 401) | dict.fromkeys(PEOPLE, otherwise) | named


EVERYBODY = dict.fromkeys(PRINCIPALS, IN)
AGENTS_ONLY = dict.fromkeys(PRINCIPALS, 401) | dict.fromkeys(AGENTS, IN)
SIGNED_IN = _people(IN)
OPERATORS = _people(403, operator=IN)
FUNDERS = _people(403, operator=IN, funder=IN)
SITE_ADMINS = _people(403, operator=IN, site_admin=IN)
PROJECT_READERS = _people(404, operator=IN, reviewer=IN, funder=IN, researcher=IN, pi=IN)
# A site decides on projects, so its admins may see that there is one.
PROJECT_SEERS = PROJECT_READERS | {"site-admin": IN, "site-admin-elsewhere": IN}
PROJECT_LEADS = _people(404, operator=IN, pi=IN, researcher=403, reviewer=403, funder=403)
# A site's admin sees the jobs that are at his site; what they print is the group's.
JOB_READERS = PROJECT_READERS | {"site-admin": IN}
JOB_MEMBERS = _people(404, operator=IN, pi=IN, researcher=IN, reviewer=403, funder=403, site_admin=403)

EXPECTED: dict[str, dict[str, int | str]] = {
    "GET /.well-known/oauth-protected-resource": EVERYBODY,
    "POST /agent/v1/enrol": EVERYBODY,
    "POST /agent/v1/sync": AGENTS_ONLY,
    "GET /api/v1/gpu-classes": SIGNED_IN,
    "POST /api/v1/gpu-classes": OPERATORS,
    "GET /api/v1/health": EVERYBODY,
    "GET /api/v1/jobs": SIGNED_IN,
    "POST /api/v1/jobs": SIGNED_IN,
    "GET /api/v1/jobs/{job_id}": JOB_READERS,
    "POST /api/v1/jobs/{job_id}/cancel": JOB_MEMBERS,
    "GET /api/v1/jobs/{job_id}/events": JOB_READERS,
    "GET /api/v1/jobs/{job_id}/logs": JOB_MEMBERS,
    "GET /api/v1/jobs/{job_id}/why": JOB_READERS,
    "GET /api/v1/ledger/balances": FUNDERS,
    "GET /api/v1/ledger/entries": FUNDERS,
    "GET /api/v1/ledger/verify": FUNDERS,
    "GET /api/v1/me": SIGNED_IN,
    "GET /api/v1/memberships": OPERATORS,
    "POST /api/v1/memberships": OPERATORS,
    "DELETE /api/v1/memberships/{membership_id}": OPERATORS,
    "GET /api/v1/openapi.json": EVERYBODY,
    "POST /api/v1/placement/plan": OPERATORS,
    "GET /api/v1/projects": SIGNED_IN,
    "POST /api/v1/projects": OPERATORS,
    "GET /api/v1/projects/{project_id}": PROJECT_SEERS,
    "GET /api/v1/projects/{project_id}/awards": PROJECT_READERS,
    "POST /api/v1/projects/{project_id}/awards": OPERATORS,
    "GET /api/v1/projects/{project_id}/balance": PROJECT_READERS,
    "GET /api/v1/projects/{project_id}/members": PROJECT_READERS,
    "POST /api/v1/projects/{project_id}/members": PROJECT_LEADS,
    "DELETE /api/v1/projects/{project_id}/members/{username}": PROJECT_LEADS,
    "GET /api/v1/schemas/job": EVERYBODY,
    "GET /api/v1/sites": SIGNED_IN,
    "POST /api/v1/sites": OPERATORS,
    "GET /api/v1/sites/{site_id}": SIGNED_IN,
    "POST /api/v1/sites/{site_id}/agent/reset": OPERATORS,
    "PUT /api/v1/sites/{site_id}/draining": SITE_ADMINS,
    "POST /api/v1/sites/{site_id}/enrolments": SITE_ADMINS,
    "GET /api/v1/sites/{site_id}/inventory": SITE_ADMINS,
    "PUT /api/v1/sites/{site_id}/mapping": SITE_ADMINS,
    "GET /api/v1/sites/{site_id}/pledges": SIGNED_IN,
    "POST /api/v1/sites/{site_id}/pledges": SITE_ADMINS,
    "GET /api/v1/sites/{site_id}/projects": SITE_ADMINS,
    "PUT /api/v1/sites/{site_id}/projects/{project_id}": SITE_ADMINS,
}
