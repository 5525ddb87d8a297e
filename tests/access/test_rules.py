"""Who may do what, by rules alone?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.access import rules
from cesai.access.rules import (
    AgentState,
    Caller,
    EnrolmentState,
    Forbidden,
    Membership,
    NotSignedIn,
    Role,
    membership,
)
from cesai.kernel.errors import NotFound, OnRecord, Refused, Stale

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SLUGS = st.sampled_from(["legal-llm", "speech", "juelich", "rwth"])
MEMBERSHIPS = st.builds(
    lambda role, scope: Membership(role, scope if rules.SCOPES[role] else None), st.sampled_from(Role), SLUGS
)


def caller(*memberships: Membership) -> Caller:
    return Caller(UUID(int=1), "rita", "Rita", frozenset(memberships))


def is_let_through(check, *args, **words) -> bool:
    try:
        check(*args, **words)
    except (Forbidden, NotFound):
        return False
    return True


@given(st.sets(MEMBERSHIPS), SLUGS)
def test_who_may_change_a_project_may_see_it(memberships, project):
    who = caller(*memberships)
    if is_let_through(rules.check_project_lead, who, project):
        assert rules.may_see_project(who, project)
        assert is_let_through(rules.check_project_member, who, project, is_reading=True)


@given(st.sets(MEMBERSHIPS), MEMBERSHIPS, SLUGS)
def test_one_more_role_never_takes_anything_away(memberships, more, scope):
    before, after = caller(*memberships), caller(*memberships, more)
    checks = [
        (rules.check_project_lead, (scope,), {}),
        (rules.check_project_member, (scope,), {"is_reading": False}),
        (rules.check_site_admin, (scope,), {}),
        (rules.check_role, (Role.FUNDER,), {}),
        (rules.check_role, (Role.OPERATOR,), {}),
    ]
    for check, args, words in checks:
        if is_let_through(check, before, *args, **words):
            assert is_let_through(check, after, *args, **words)


@given(st.sets(MEMBERSHIPS), SLUGS)
def test_a_role_elsewhere_opens_nothing_here(memberships, scope):
    strangers = {each for each in memberships if each.scope != scope and each.role not in rules.READERS}
    who = caller(*strangers)
    with pytest.raises(NotFound):
        rules.check_project_member(who, scope, is_reading=True)
    with pytest.raises(Forbidden):
        rules.check_site_admin(who, scope)


def test_what_somebody_may_not_see_reads_like_what_does_not_exist():
    with pytest.raises(NotFound) as hidden:
        rules.check_project_lead(caller(), "legal-llm")
    assert hidden.value.sentence == NotFound().sentence


def test_a_reader_of_every_project_may_not_write_in_it():
    with pytest.raises(Forbidden):
        rules.check_project_member(caller(Membership(Role.REVIEWER)), "legal-llm", is_reading=False)


@pytest.mark.parametrize(
    ("role", "scope"),
    [(Role.PI, None), (Role.PI, "Not A Slug"), (Role.SITE_ADMIN, ""), (Role.OPERATOR, "juelich")],
)
def test_a_role_needs_just_the_scope_that_suits_it(role, scope):
    with pytest.raises(Refused):
        membership(role, scope)


def test_a_token_seeds_what_its_words_mean_and_passes_over_the_rest():
    groups = [
        "/projects/legal-llm/members",
        "/projects/speech/leads",
        "/sites/rwth/admins",
        "/sites/rwth",
        "/projects//leads",
        "/projects/../leads",
        "/projects/UPPER/leads",
        "projects/x/leads",
        "/projects/legal-llm/leads/x",
    ]
    assert rules.seeds(["operator", "pi", "site-admin", "offline_access"], groups) == {
        Membership(Role.OPERATOR),
        Membership(Role.RESEARCHER, "legal-llm"),
        Membership(Role.PI, "speech"),
        Membership(Role.SITE_ADMIN, "rwth"),
    }


@given(st.lists(st.text()), st.lists(st.text()))
def test_no_text_in_a_token_makes_a_scoped_role_without_its_group(roles, groups):
    for each in rules.seeds(roles, groups):
        assert membership(each.role, each.scope) == each


@pytest.mark.parametrize(
    ("state", "instance", "sequence", "kind"),
    [
        (AgentState(None, 0), "a", 1, None),
        (AgentState("a", 4), "a", 5, None),
        (AgentState("a", 4), "a", 9, None),
        (AgentState("a", 4), "a", 4, Stale),
        (AgentState("a", 4), "a", 3, Stale),
        (AgentState("a", 4), "b", 5, OnRecord),
        (AgentState("a", 4), "b", 1, OnRecord),
    ],
)
def test_an_agent_is_heard_in_order_and_from_one_instance(state, instance, sequence, kind):
    refusal = rules.judge_sequence(state, instance_id=instance, sequence=sequence)
    assert type(refusal) is (kind or type(None))


@pytest.mark.parametrize(
    "enrolment",
    [
        None,
        EnrolmentState("juelich", NOW, None),
        EnrolmentState("juelich", NOW + timedelta(hours=1), NOW),
    ],
)
def test_wrong_old_and_used_tokens_are_refused_alike(enrolment):
    with pytest.raises(NotSignedIn) as refusal:
        rules.check_enrolment(enrolment, NOW)
    assert "new one" in refusal.value.sentence


def test_a_fresh_enrolment_counts():
    fresh = EnrolmentState("juelich", NOW + timedelta(seconds=1), None)
    assert rules.check_enrolment(fresh, NOW) is fresh
