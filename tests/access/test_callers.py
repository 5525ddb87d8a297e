"""Does a route without a policy not come into being, and does nobody hold a connection while keys are fetched?"""

from __future__ import annotations

import threading

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from cesai.access.callers import Anyone, Operator, SignedIn, UnguardedRoute, guarded_router
from cesai.access.tokens import KeysUnavailable
from cesai.db.session import Db
from cesai.hub.app import create_app
from cesai.hub.settings import Settings
from tests.acting import ISSUER, claims, issuer_keys, sign


def test_a_route_without_a_policy_does_not_come_into_being():
    router = guarded_router()
    with pytest.raises(UnguardedRoute, match="leak must have one parameter"):

        @router.get("/leak")
        def leak(db: Db) -> None:
            pass


def test_a_route_with_two_policies_does_not_come_into_being():
    router = guarded_router()
    with pytest.raises(UnguardedRoute, match="anyone, operator"):

        @router.get("/both")
        def both(first: Anyone, second: Operator) -> None:
            pass


def test_a_policy_that_is_named_only_in_a_string_or_hidden_in_a_default_is_none():
    router = guarded_router()
    with pytest.raises(UnguardedRoute):

        @router.get("/hidden")
        def hidden(caller: str = "SignedIn") -> None:
            pass


def test_a_route_with_one_policy_comes_into_being():
    router = guarded_router(prefix="/x", tags=["x"])

    @router.get("/fine")
    def fine(caller: SignedIn) -> None:
        pass

    assert [route.path for route in router.routes] == ["/x/fine"]


def test_nobody_holds_a_connection_while_keys_are_fetched(database_url, clock):
    engine = create_engine(database_url, pool_size=1, max_overflow=0)
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(10)
        return issuer_keys()

    app = create_app(Settings(issuer_url=ISSUER, _env_file=None), engine=engine, clock=clock, fetch_keys=slow)
    client = TestClient(app)
    token = sign(claims("nobody-yet", clock.now(), sub=None))
    asking = threading.Thread(
        target=client.get, args=("/api/v1/me",), kwargs={"headers": {"Authorization": f"Bearer {token}"}}
    )
    asking.start()
    assert begun.wait(10)
    assert engine.pool.checkedout() == 0
    assert TestClient(app).get("/api/v1/health").json()["database"] == "ok"
    go_on.set()
    asking.join(10)
    engine.dispose()


def test_a_silent_issuer_is_a_503_with_a_time_to_ask_again(api, clock):
    def silent():
        raise KeysUnavailable

    settings = Settings(issuer_url=ISSUER, _env_file=None)
    app = create_app(settings, engine=api.app.state.engine, clock=clock, fetch_keys=silent)
    token = sign(claims("rita", clock.now()))
    answer = TestClient(app).get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"


def test_an_agents_token_opens_no_door_of_people_and_the_other_way_round(api):
    agent, person = api.as_agent("juelich"), api.as_("operator")
    assert agent.get("/api/v1/me").status_code == 401
    assert person.post("/agent/v1/sync", json={}, key="").status_code == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eDp5", "Token x", "bearer\tx"])
def test_a_header_that_is_no_bearer_token_is_no_login(api, header):
    answer = api.anonymous.get("/api/v1/me", headers={"Authorization": header})
    assert answer.status_code == 401
