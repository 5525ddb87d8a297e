"""Can people and agents reach sites over HTTP as they should?"""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey

SITE = {"id": "juelich", "name": "Jülich", "kind": "slurm", "country": "DE"}


@pytest.fixture
def site(api):
    assert api.as_("operator").post("/api/v1/sites", json=SITE).status_code == 201


@pytest.mark.usefixtures("site")
def test_an_operator_registers_a_site_and_everybody_sees_it(api):
    shown = api.as_person("nobody").get("/api/v1/sites/juelich").json()
    assert shown["patience_minutes"] == 1440
    assert shown["contact"]["state"] == "never"
    assert shown["closed"] == "has not enrolled an agent that was heard yet"
    assert shown["gpus"] == {}
    listed = api.as_person("nobody").get("/api/v1/sites").json()
    assert [each["id"] for each in listed["items"]] == ["juelich"]
    assert listed["next_cursor"] is None


def test_only_an_operator_registers_sites_and_classes(api):
    admin = api.as_("site-admin", "juelich")
    assert admin.post("/api/v1/sites", json=SITE).status_code == 403
    gpu_class = {"id": "H100", "name": "NVIDIA H100", "memory_gb": 80}
    assert admin.post("/api/v1/gpu-classes", json=gpu_class).status_code == 403
    assert api.as_("operator").post("/api/v1/gpu-classes", json=gpu_class).json() == gpu_class
    assert admin.get("/api/v1/gpu-classes").json()["items"] == [gpu_class]
    assert api.anonymous.get("/api/v1/sites").status_code == 401


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "Jülich"}, "id"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"kind": "pbs"}, "kind"),
        ({"country": "Germany"}, "country"),
        ({"availability_percent": 0}, "availability_percent"),
        ({"color": "red"}, "color"),
    ],
)
def test_a_site_that_cannot_be_is_refused_at_the_field(api, changes, field):
    answer = api.as_("operator").post("/api/v1/sites", json=SITE | changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert api.as_person("nobody").get("/api/v1/sites").json()["items"] == []


@pytest.mark.usefixtures("site")
def test_an_agent_enrols_once_with_the_token_that_the_admin_made(api):
    admin = api.as_("site-admin", "juelich")
    token = admin.post("/api/v1/sites/juelich/enrolments", json={}).json()["token"]
    body = {
        "token": token,
        "instance_id": "i-1",
        "agent_version": "0.1.0",
        "public_key": ECKey.generate_key("P-256").as_dict(private=False),
    }
    reply = api.anonymous.post("/agent/v1/enrol", json=body, key="")
    assert reply.status_code == 201
    assert reply.json()["site_id"] == "juelich"
    assert api.anonymous.post("/agent/v1/enrol", json=body, key="").status_code == 401


@pytest.mark.usefixtures("site")
def test_another_sites_admin_makes_no_enrolment(api):
    assert api.as_("site-admin", "rwth").post("/api/v1/sites/juelich/enrolments", json={}).status_code == 403


def test_an_enrolment_for_no_site_is_not_found(api):
    assert api.as_("operator").post("/api/v1/sites/nowhere/enrolments", json={}).status_code == 404


@pytest.mark.usefixtures("site")
def test_only_an_operator_resets_an_agent(api):
    operator = api.as_("operator")
    refused = operator.post("/api/v1/sites/juelich/agent/reset", json={})
    assert refused.status_code == 422
    assert "has no agent to reset" in refused.json()["detail"]
    api.as_agent("juelich")
    assert operator.post("/api/v1/sites/juelich/agent/reset", json={}).json() == {"site_id": "juelich"}
    admin = api.as_("site-admin", "juelich")
    assert admin.post("/api/v1/sites/juelich/agent/reset", json={}).status_code == 403


@pytest.mark.usefixtures("site")
def test_the_inventory_is_for_the_sites_admin(api):
    assert api.as_("site-admin", "rwth").get("/api/v1/sites/juelich/inventory").status_code == 403
    empty = api.as_("site-admin", "juelich").get("/api/v1/sites/juelich/inventory").json()
    assert empty == {"taken_at": None, "trouble": None, "pools": []}


@pytest.mark.usefixtures("site")
def test_a_mapping_of_an_unknown_pool_is_refused_with_a_sentence(api):
    entry = {"cluster": "jsc", "partition": "gpu", "gres_type": "h100", "gpu_class": "H100"}
    answer = api.as_("site-admin", "juelich").put("/api/v1/sites/juelich/mapping", json={"entries": [entry]})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The pool jsc/gpu/h100 is not in the site's inventory."


@pytest.mark.usefixtures("site")
def test_a_site_is_drained_by_its_admin(api):
    admin = api.as_("site-admin", "juelich")
    drained = admin.put("/api/v1/sites/juelich/draining", json={"is_draining": True}).json()
    assert (drained["is_draining"], drained["closed"]) == (True, "is draining: it takes no new jobs")
