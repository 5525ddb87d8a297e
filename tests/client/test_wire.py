"""Does one wish reach the hub once, and does every no come out as the right error?"""

import httpx
import pytest

from cesai.client.exits import BadInput, Exit, NoAccess, NotReached, SignInNeeded, of_error
from cesai.client.texts import Texts
from cesai.client.wire import FixedToken, Wire
from cesai.kernel.errors import NotFound, Refused, Stale

HUB = "https://hub.example"


class Line:
    """A hub that gives these answers in turn and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.slept = []

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wire(self, keys=None):
        client = httpx.Client(transport=httpx.MockTransport(self))
        return Wire(HUB, client=client, keys=keys, texts=Texts(), sleep=self.slept.append)

    @property
    def keys(self):
        return [request.headers.get("Idempotency-Key") for request in self.asked]


def problem(status, detail="No, because.", **more):
    return httpx.Response(status, json={"type": "urn:cesai:x", "status": status, "detail": detail, **more})


def ok(body):
    return httpx.Response(200, json=body)


LOST = httpx.ReadTimeout("")


@pytest.mark.parametrize("trouble", [LOST, httpx.ConnectError("refused"), httpx.RemoteProtocolError("cut")])
def test_a_lost_answer_is_asked_for_again_with_the_same_key(trouble):
    line = Line(trouble, trouble, ok({"id": 1}))
    assert line.wire().post("/jobs", {}) == {"id": 1}
    assert len(line.asked) == 3
    assert len(set(line.keys)) == 1
    assert line.keys[0]


def test_another_wish_has_another_key():
    line = Line(ok({}), ok({}))
    wire = line.wire()
    wire.post("/jobs", {})
    wire.post("/jobs", {})
    assert len(set(line.keys)) == 2


def test_a_key_that_was_given_is_sent():
    line = Line(ok({}))
    line.wire().post("/jobs", {}, key="nightly-7")
    assert line.keys == ["nightly-7"]


def test_a_request_that_is_being_answered_is_asked_again_when_the_hub_says():
    line = Line(httpx.Response(409, json={"detail": "x"}, headers={"Retry-After": "3"}), ok({"id": 1}))
    assert line.wire().post("/jobs", {}) == {"id": 1}
    assert line.slept == [3.0]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_hub_that_is_busy_is_asked_again(status):
    line = Line(httpx.Response(status), ok({}))
    assert line.wire().get("/me") == {}


def test_a_stale_request_is_not_sent_again():
    line = Line(problem(409))
    with pytest.raises(Stale, match="because"):
        line.wire().post("/jobs", {})
    assert len(line.asked) == 1


def test_a_hub_that_never_answers_is_not_reached_and_the_number_says_so():
    line = Line(*[httpx.ConnectError("Connection refused")] * 5)
    with pytest.raises(NotReached, match=r"https://hub.example is not reached: Connection refused") as caught:
        line.wire().get("/me")
    assert of_error(caught.value) == Exit.NOT_REACHED
    assert len(line.slept) == 4


@pytest.mark.parametrize(
    ("answer", "kind", "number"),
    [
        (problem(400), BadInput, 2),
        (problem(413), BadInput, 2),
        (problem(422, errors=[{"field": "nodes", "message": "too few"}]), BadInput, 2),
        (problem(422), Refused, 3),
        (problem(409), Stale, 3),
        (problem(404), NotFound, 4),
        (problem(403), NoAccess, 5),
        (problem(401), SignInNeeded, 5),
        (problem(500), NotReached, 6),
        (httpx.Response(500, text="<html>"), NotReached, 6),
        (httpx.Response(404, text="<html>nginx</html>"), NotReached, 6),
        (httpx.Response(200, text="<html>"), NotReached, 6),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example/"}), NotReached, 6),
    ],
)
def test_each_no_is_its_own_error_and_number(answer, kind, number):
    with pytest.raises(kind) as caught:
        Line(answer).wire().get("/x")
    assert of_error(caught.value) == number
    assert "Traceback" not in caught.value.sentence


def test_the_hubs_sentence_is_told_with_the_field_of_each_fault():
    answer = problem(422, "nodes: too few (and 1 more).", errors=[{"field": "nodes", "message": "too few"}])
    with pytest.raises(BadInput) as caught:
        Line(answer).wire().get("/x")
    assert caught.value.sentence.splitlines() == ["nodes: too few (and 1 more).", "  nodes: too few"]


def test_every_page_is_read_and_only_as_far_as_it_is_wanted():
    pages = [ok({"items": [1, 2], "next_cursor": "a b"}), ok({"items": [3], "next_cursor": None})]
    line = Line(*pages)
    found = line.wire().pages("/jobs", {"state": None, "project": "p"})
    assert next(found) == 1
    assert len(line.asked) == 1
    assert list(found) == [2, 3]
    assert line.asked[1].url.params["cursor"] == "a b"
    assert "state" not in line.asked[0].url.params


class Ring:
    """Two tokens: the first is spent."""

    def __init__(self):
        self.now = "old"

    def token(self):
        return self.now

    def renew(self, spent):
        assert spent == "old"
        self.now = "new"
        return self.now


def test_a_spent_token_is_renewed_once_and_the_wish_keeps_its_key():
    line = Line(problem(401), ok({"id": 1}))
    assert line.wire(Ring()).post("/jobs", {}) == {"id": 1}
    assert [request.headers["Authorization"] for request in line.asked] == ["Bearer old", "Bearer new"]
    assert len(set(line.keys)) == 1


def test_a_token_that_cannot_be_renewed_is_tried_once():
    line = Line(problem(401))
    with pytest.raises(SignInNeeded, match="cesai login"):
        line.wire(FixedToken("pipeline")).get("/me")
    assert len(line.asked) == 1
