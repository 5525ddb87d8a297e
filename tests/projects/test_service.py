"""Do projects keep where they may run?"""

from __future__ import annotations

from uuid import uuid4

import pytest

from cesai.access.rules import Caller, Membership, Role
from cesai.kernel.errors import NotFound, Refused
from cesai.projects import service
from cesai.projects.rules import NewProject, Verdict
from cesai.sites import service as sites
from cesai.sites.service import NewSite


def caller(*memberships: Membership) -> Caller:
    return Caller(principal_id=uuid4(), username="olga", name="Olga", memberships=frozenset(memberships))


BY = caller(Membership(Role.OPERATOR))


@pytest.fixture(autouse=True)
def _world(db, now):
    for site_id in ("juelich", "rwth"):
        sites.register(db, NewSite(id=site_id, name=site_id, kind="slurm", country="DE"), by=BY, now=now)
    for project_id in ("legal-llm", "bio-llm"):
        service.create(db, NewProject(project_id, "A title", "A university"), by=BY, now=now)


def test_a_project_is_created_once(db, now):
    with pytest.raises(Refused, match="There is a project legal-llm already"):
        service.create(db, NewProject("legal-llm", "T", "O"), by=BY, now=now)


def test_an_accepted_project_has_an_account_there_and_nowhere_else(db, now):
    service.decide(db, Verdict("juelich", "legal-llm", account="legal"), by=BY, now=now)
    assert service.account_at(db, "legal-llm", "juelich") == "legal"
    assert service.account_at(db, "legal-llm", "rwth") is None
    assert service.accepted_sites(db, "legal-llm") == {"juelich": "legal"}
    assert service.accounts_of_site(db, "juelich") == {"legal": "legal-llm"}


def test_two_projects_never_share_an_account_at_a_site(db, now):
    service.decide(db, Verdict("juelich", "legal-llm", account="llm"), by=BY, now=now)
    with pytest.raises(Refused, match="Another project has the account llm at juelich"):
        service.decide(db, Verdict("juelich", "bio-llm", account="llm"), by=BY, now=now)
    service.decide(db, Verdict("rwth", "bio-llm", account="llm"), by=BY, now=now)


def test_a_refusal_takes_the_account_away_and_keeps_the_reason(db, now):
    service.decide(db, Verdict("juelich", "legal-llm", account="legal"), by=BY, now=now)
    service.decide(db, Verdict("juelich", "legal-llm", refused="Export rules."), by=BY, now=now)
    assert service.accepted_sites(db, "legal-llm") == {}
    (decision,) = service.decisions_of_project(db, "legal-llm")
    assert (decision.account, decision.refused) == (None, "Export rules.")
    service.decide(db, Verdict("juelich", "bio-llm", account="legal"), by=BY, now=now)


def test_a_decision_wakes_the_sites_agent(db, now):
    before = sites.order_revision(db, "juelich")
    service.decide(db, Verdict("juelich", "legal-llm", account="legal"), by=BY, now=now)
    assert sites.order_revision(db, "juelich") > before


@pytest.mark.parametrize(
    "verdict", [Verdict("nowhere", "legal-llm", account="a"), Verdict("rwth", "none", account="a")]
)
def test_a_decision_about_what_is_not_there_is_not_found(db, now, verdict):
    with pytest.raises(NotFound):
        service.decide(db, verdict, by=BY, now=now)


@pytest.mark.parametrize(
    ("membership", "may"),
    [
        (Membership(Role.RESEARCHER, "legal-llm"), True),
        (Membership(Role.PI, "legal-llm"), True),
        (Membership(Role.OPERATOR), True),
        (Membership(Role.FUNDER), True),
        (Membership(Role.REVIEWER), True),
        (Membership(Role.SITE_ADMIN, "rwth"), True),
        (Membership(Role.PI, "bio-llm"), False),
    ],
)
def test_a_project_is_visible_to_members_readers_and_sites(db, membership, may):
    assert service.may_see(db, caller(membership), "legal-llm") is may


def test_a_member_is_one_thing_at_a_time(db, now):
    service.put_member(db, "legal-llm", username="rita", role=Role.RESEARCHER, by=BY, now=now)
    service.put_member(db, "legal-llm", username="rita", role=Role.PI, by=BY, now=now)
    assert service.members(db, "legal-llm") == [("rita", Role.PI)]


def test_taking_somebody_out_leaves_what_he_is_elsewhere_even_under_the_same_name(db, now):
    service.create(db, NewProject("juelich", "T", "O"), by=BY, now=now)
    service.put_member(db, "juelich", username="rita", role=Role.PI, by=BY, now=now)
    service.access.grant(db, username="rita", role=Role.SITE_ADMIN, scope="juelich", by="test", now=now)
    service.remove_member(db, "juelich", username="rita", by=BY, now=now)
    assert service.members(db, "juelich") == []
    with pytest.raises(NotFound):
        service.remove_member(db, "juelich", username="rita", by=BY, now=now)
    service.access.revoke_from(db, username="rita", scope="juelich", by="test", now=now)
