"""Can people reach their projects over HTTP, and only theirs?"""

from __future__ import annotations

import pytest

PROJECT = {"id": "legal-llm", "title": "A model for law", "organisation": "Uni Bonn"}
SITE = {"id": "juelich", "name": "Jülich", "kind": "slurm", "country": "DE"}


@pytest.fixture
def project(api):
    operator = api.as_("operator")
    assert operator.post("/api/v1/projects", json=PROJECT).status_code == 201
    assert operator.post("/api/v1/sites", json=SITE).status_code == 201


def test_only_an_operator_opens_projects(api):
    assert api.as_("pi", "legal-llm").post("/api/v1/projects", json=PROJECT).status_code == 403


@pytest.mark.parametrize(
    "change", [{"id": "Legal LLM"}, {"title": "a\nb"}, {"organisation": ""}, {"title": "nul\0"}, {"budget": 3}]
)
def test_a_project_that_cannot_be_is_refused(api, change):
    assert api.as_("operator").post("/api/v1/projects", json=PROJECT | change).status_code == 422


@pytest.mark.usefixtures("project")
def test_a_strangers_project_looks_like_one_that_does_not_exist(api):
    stranger = api.as_("pi", "bio-llm")
    hidden = stranger.get("/api/v1/projects/legal-llm")
    missing = stranger.get("/api/v1/projects/no-such")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json() == missing.json()
    assert stranger.get("/api/v1/projects").json()["items"] == []
    assert stranger.get("/api/v1/projects/legal-llm/members").status_code == 404


@pytest.mark.usefixtures("project")
def test_a_member_sees_the_project_and_what_sites_said(api):
    admin = api.as_("site-admin", "juelich")
    decided = admin.put("/api/v1/sites/juelich/projects/legal-llm", json={"account": "legal"})
    assert decided.status_code == 200
    member = api.as_("researcher", "legal-llm")
    assert [each["id"] for each in member.get("/api/v1/projects").json()["items"]] == ["legal-llm"]
    (site,) = member.get("/api/v1/projects/legal-llm").json()["sites"]
    assert (site["site_id"], site["account"], site["refused"]) == ("juelich", "legal", None)


@pytest.mark.usefixtures("project")
def test_a_pi_takes_people_in_and_out_and_a_researcher_does_not(api):
    pi = api.as_("pi", "legal-llm", username="paula")
    body = {"username": "rita", "role": "researcher"}
    assert pi.post("/api/v1/projects/legal-llm/members", json=body).json() == body
    rita = api.as_person("rita")
    assert rita.post("/api/v1/projects/legal-llm/members", json=body).status_code == 403
    listed = rita.get("/api/v1/projects/legal-llm/members").json()["items"]
    assert listed == [{"username": "paula", "role": "pi"}, {"username": "rita", "role": "researcher"}]
    assert pi.delete("/api/v1/projects/legal-llm/members/rita").status_code == 204
    assert rita.get("/api/v1/projects/legal-llm").status_code == 404
    assert pi.delete("/api/v1/projects/legal-llm/members/rita").status_code == 404


@pytest.mark.usefixtures("project")
def test_a_pi_makes_no_operator(api):
    pi = api.as_("pi", "legal-llm")
    body = {"username": "rita", "role": "operator"}
    assert pi.post("/api/v1/projects/legal-llm/members", json=body).status_code == 422


@pytest.mark.usefixtures("project")
def test_another_sites_admin_does_not_decide(api):
    rwth = api.as_("site-admin", "rwth")
    assert rwth.put("/api/v1/sites/juelich/projects/legal-llm", json={"account": "legal"}).status_code == 403


@pytest.mark.parametrize("body", [{}, {"account": "Legal"}, {"account": "root"}, {"account": "a", "refused": "b"}])
@pytest.mark.usefixtures("project")
def test_a_verdict_that_cannot_be_is_refused_with_a_sentence(api, body):
    answer = api.as_("site-admin", "juelich").put("/api/v1/sites/juelich/projects/legal-llm", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


@pytest.mark.usefixtures("project")
def test_a_site_lists_what_it_said(api):
    admin = api.as_("site-admin", "juelich")
    admin.put("/api/v1/sites/juelich/projects/legal-llm", json={"refused": "Export rules."})
    (said,) = admin.get("/api/v1/sites/juelich/projects").json()["items"]
    assert (said["project_id"], said["refused"]) == ("legal-llm", "Export rules.")
