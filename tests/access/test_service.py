"""Who becomes a caller, which agent is heard, and does the audit trail keep what was done?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import AgentCaller, Forbidden, Membership, NotSignedIn, Role
from cesai.access.tables import AuditRow, MembershipRow
from cesai.access.tokens import Identity
from cesai.contract.messages import EnrolRequest
from cesai.db.session import unit_of_work
from cesai.kernel.errors import NotFound, OnRecord, Refused, Stale
from tests.acting import agent_token


def identity(username: str = "rita", **changes) -> Identity:
    plain = {"subject": f"s-{username}", "name": username.title(), "roles": frozenset(), "groups": frozenset()}
    return Identity(username=username, **(plain | changes))


def actions(db: Session) -> list[str]:
    return list(db.scalars(select(AuditRow.action).order_by(AuditRow.id)))


def test_groups_count_at_the_first_login_only(db, now):
    first = access.sign_in(db, identity(groups=frozenset({"/projects/legal-llm/leads"})), now=now)
    assert first.memberships == {Membership(Role.PI, "legal-llm")}
    later = access.sign_in(db, identity(roles=frozenset({"operator"})), now=now)
    assert later == first
    assert actions(db) == ["access.first-login"]


def test_what_was_granted_before_the_first_login_is_kept(db, now):
    access.grant(db, username="rita", role=Role.REVIEWER, scope=None, by="test", now=now)
    caller = access.sign_in(db, identity(roles=frozenset({"funder"})), now=now)
    assert caller.memberships == {Membership(Role.REVIEWER), Membership(Role.FUNDER)}


def test_a_name_that_belongs_to_another_account_is_not_given_away(db, now):
    access.grant(db, username="rita", role=Role.OPERATOR, scope=None, by="test", now=now)
    access.sign_in(db, identity(), now=now)
    with pytest.raises(Forbidden, match="another account"):
        access.sign_in(db, identity(subject="somebody-else"), now=now)


def test_a_grant_made_twice_is_one(db, now):
    first, _ = access.grant(db, username="rita", role=Role.PI, scope="legal-llm", by="test", now=now)
    second, _ = access.grant(db, username="rita", role=Role.PI, scope="legal-llm", by="test", now=now)
    assert first.id == second.id
    assert actions(db) == ["access.grant"]


def test_an_unscoped_role_made_twice_is_one(db, now):
    for _ in range(2):
        access.grant(db, username="rita", role=Role.FUNDER, scope=None, by="test", now=now)
    assert len(list(db.scalars(select(MembershipRow)))) == 1


def test_members_are_told_by_name_and_taken_out(db, now):
    for name, role in (("vera", Role.PI), ("rita", Role.RESEARCHER)):
        access.grant(db, username=name, role=role, scope="legal-llm", by="test", now=now)
    access.grant(db, username="rita", role=Role.RESEARCHER, scope="speech", by="test", now=now)
    assert access.members_of(db, "legal-llm") == [("rita", Role.RESEARCHER), ("vera", Role.PI)]
    access.revoke_from(db, username="rita", scope="legal-llm", by="test", now=now)
    assert access.members_of(db, "legal-llm") == [("vera", Role.PI)]
    assert access.projects_of(db, access.sign_in(db, identity(), now=now).principal_id) == {"speech"}
    with pytest.raises(NotFound):
        access.revoke_from(db, username="rita", scope="legal-llm", by="test", now=now)


@pytest.mark.parametrize("change", ["UPDATE audit_entry SET action = 'x'", "DELETE FROM audit_entry"])
def test_the_audit_trail_cannot_be_changed(db, now, change):
    access.audit(db, actor="test", action="a", subject="s", details={}, now=now)
    with pytest.raises(IntegrityError, match="only ever added"), db.begin_nested():
        db.execute(text(change))


def test_the_audit_trail_cannot_be_emptied(db):
    with pytest.raises(IntegrityError, match="only ever added"), db.begin_nested():
        db.execute(text("TRUNCATE audit_entry"))


def test_the_audit_trail_names_people_and_agents(db, now):
    caller = access.sign_in(db, identity(), now=now)
    agent = AgentCaller(agent_id=uuid4(), site_id="juelich")
    for actor in (caller, agent, "the hub"):
        access.audit(db, actor=actor, action="x", subject="s", details={"n": 1}, now=now)
    rows = db.execute(select(AuditRow.actor, AuditRow.actor_id).where(AuditRow.action == "x"))
    assert {tuple(row) for row in rows} == {
        ("rita", caller.principal_id),
        ("agent of juelich", agent.agent_id),
        ("the hub", None),
    }


KEY = ECKey.generate_key("P-256")


def request(token: str, **changes) -> EnrolRequest:
    plain = {"instance_id": "i1", "agent_version": "0.1.0", "public_key": KEY.as_dict(private=False)}
    return EnrolRequest(token=token, **(plain | changes))


def enrolled(db: Session, now, site: str = "juelich") -> AgentCaller:
    token = access.make_enrolment(db, site, by="test", now=now)
    reply = access.enrol(db, request(token), now=now)
    return access.agent(db, agent_token(reply.agent_id, KEY, now), now=now)


def test_an_agent_enrols_once_with_its_token(db, now):
    token = access.make_enrolment(db, "juelich", by="test", now=now)
    reply = access.enrol(db, request(token), now=now)
    assert (reply.site_id, reply.audience) == ("juelich", "cesai-hub")
    with pytest.raises(NotSignedIn):
        access.enrol(db, request(token), now=now)


def test_an_enrolment_token_lasts_an_hour_and_is_kept_hashed(db, now):
    token = access.make_enrolment(db, "juelich", by="test", now=now)
    kept = db.execute(text("SELECT token_hash FROM agent_enrolment")).scalar_one()
    assert kept not in token
    assert token not in kept
    with pytest.raises(NotSignedIn):
        access.enrol(db, request(token), now=now + timedelta(hours=1))
    with pytest.raises(NotSignedIn):
        access.enrol(db, request("cesai-enrol-guessed-guessed"), now=now)


def test_a_token_is_not_used_up_by_a_key_of_no_use(db, now):
    token = access.make_enrolment(db, "juelich", by="test", now=now)
    with pytest.raises(Refused, match="public JWK"):
        access.enrol(db, request(token, public_key={"kty": "oct", "k": "AAAA"}), now=now)
    assert access.enrol(db, request(token), now=now)


def test_an_agent_speaks_for_its_own_site_alone(db, now):
    juelich, rwth = enrolled(db, now), enrolled(db, now, "rwth")
    assert (juelich.site_id, rwth.site_id) == ("juelich", "rwth")


def test_a_token_signed_by_another_agents_key_is_not_believed(db, now):
    juelich = enrolled(db, now)
    with pytest.raises(NotSignedIn):
        access.agent(db, agent_token(str(juelich.agent_id), ECKey.generate_key("P-256"), now), now=now)


def test_an_unknown_agent_is_not_believed(db, now):
    with pytest.raises(NotSignedIn, match="not enrolled"):
        access.agent(db, agent_token(str(uuid4()), KEY, now), now=now)


def test_a_new_enrolment_takes_the_place_of_the_old_agent(db, now):
    old = enrolled(db, now)
    enrolled(db, now)
    with pytest.raises(NotSignedIn, match="place"):
        access.agent(db, agent_token(str(old.agent_id), KEY, now), now=now)
    with pytest.raises(NotSignedIn):
        access.accept_sequence(db, old, instance_id="i1", sequence=1, now=now)


def test_an_agent_is_heard_in_order(db, now):
    agent = enrolled(db, now)
    access.accept_sequence(db, agent, instance_id="i1", sequence=1, now=now)
    access.accept_sequence(db, agent, instance_id="i1", sequence=5, now=now)
    for old in (5, 4):
        with pytest.raises(Stale):
            access.accept_sequence(db, agent, instance_id="i1", sequence=old, now=now)


def test_a_clone_is_refused_until_an_operator_resets_the_agent(db, now):
    agent = enrolled(db, now)
    access.accept_sequence(db, agent, instance_id="i1", sequence=7, now=now)
    with pytest.raises(OnRecord, match="operator"):
        access.accept_sequence(db, agent, instance_id="i2", sequence=8, now=now)
    access.reset_agent(db, "juelich", by="test", now=now)
    access.accept_sequence(db, agent, instance_id="i2", sequence=1, now=now)
    with pytest.raises(OnRecord):
        access.accept_sequence(db, agent, instance_id="i1", sequence=9, now=now)
    assert "agent.second-instance" in actions(db)
    with pytest.raises(NotFound):
        access.reset_agent(db, "nowhere", by="test", now=now)


def test_a_clone_is_on_record_although_its_message_is_refused(committed_engine, now):
    site = f"s{uuid4().hex[:12]}"
    with unit_of_work(committed_engine) as db:
        agent = enrolled(db, now, site)
    with pytest.raises(OnRecord), unit_of_work(committed_engine) as db:
        access.accept_sequence(db, agent, instance_id="clone", sequence=1, now=now)
    with unit_of_work(committed_engine) as db:
        seen = db.scalars(select(AuditRow).where(AuditRow.subject == site, AuditRow.action == "agent.second-instance"))
        assert [row.details for row in seen] == [{"known": "i1", "second": "clone"}]


def test_two_first_logins_at_once_make_one_person(committed_engine, now):
    name = f"u{uuid4().hex[:12]}"

    def sign_in(_number: int):
        with unit_of_work(committed_engine) as db:
            return access.sign_in(db, identity(name, roles=frozenset({"funder"})), now=now)

    with ThreadPoolExecutor(8) as pool:
        callers = list(pool.map(sign_in, range(8)))
    assert len({caller.principal_id for caller in callers}) == 1
    assert all(caller.memberships == {Membership(Role.FUNDER)} for caller in callers)


def test_one_token_enrols_one_agent_however_many_try_at_once(committed_engine, now):
    site = f"s{uuid4().hex[:12]}"
    with unit_of_work(committed_engine) as db:
        token = access.make_enrolment(db, site, by="test", now=now)

    def enrol(_number: int) -> bool:
        try:
            with unit_of_work(committed_engine) as db:
                access.enrol(db, request(token), now=now)
        except NotSignedIn:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(enrol, range(8))) == 1
