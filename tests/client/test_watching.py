"""Is a job's way told in words, and its log written byte for byte?"""

import base64
import io
from datetime import UTC, datetime

import pytest

from cesai.client.answers import Attempt, Job, LogPart
from cesai.client.exits import Exit, NotReached, of_job
from cesai.client.finding import find_job, short
from cesai.client.texts import LANGUAGES, SENTENCES, Texts, language_of
from cesai.client.watching import LOG_PATIENCE_S, Watcher, progress
from cesai.kernel.errors import CesaiError, NotFound

ID = "019aa0f0-1111-7000-8000-0000000000aa"


def job(state, *sites, **more):
    attempts = tuple(Attempt(id=f"t{n}", number=n, site=site, state="RUNNING") for n, site in enumerate(sites, 1))
    return Job(id=ID, name="a", project="p", state=state, attempts=attempts, **more)


class Hub:
    """Jobs that go through these states, and logs that come in these parts."""

    def __init__(self, states=(), logs=None):
        self.states = list(states)
        self.logs = logs or {}
        self.now = 0.0

    def show(self, _id):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def log(self, _id, *, attempt, offset):
        text, is_end = self.logs[attempt]
        part = text[offset : offset + 4]
        return LogPart(
            offset=offset,
            base64=base64.b64encode(part).decode(),
            next_offset=offset + len(part),
            is_end=is_end and offset + len(part) >= len(text),
        )

    def sleep(self, seconds):
        self.now += seconds

    def watcher(self, said):
        return Watcher(self, Texts(), say=said.append, sleep=self.sleep, clock=lambda: self.now)


def test_every_change_is_said_once():
    said = []
    states = [
        job("QUEUED", waiting_reason="no free H100"),
        job("QUEUED", waiting_reason="no free H100"),
        job("PLACED", "juelich"),
        job("RUNNING", "juelich"),
        job("RUNNING", "juelich"),
        job("SUCCEEDED", "juelich"),
    ]
    assert Hub(states).watcher(said).wait(ID).state == "SUCCEEDED"
    assert [line[9:] for line in said] == [
        "a: waits: no free H100",
        "a: placed at juelich (attempt 1)",
        "a: runs at juelich (attempt 1)",
        "a: succeeded",
    ]


def test_waiting_outlasts_a_hub_that_is_renewed():
    said = []
    hub = Hub([job("RUNNING", "juelich"), *[NotReached("away")] * 20, job("FAILED", "juelich", cause="script failed")])
    assert hub.watcher(said).wait(ID).state == "FAILED"
    assert said[1:2] == ["away"]
    assert said[2].endswith("failed: script failed")


def test_waiting_ends_when_the_hub_stays_away():
    with pytest.raises(NotReached):
        Hub([NotReached("away")]).watcher([]).wait(ID)


@pytest.mark.parametrize(("state", "number"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELLED", 7)])
def test_the_exit_code_tells_how_the_job_ended(state, number):
    assert of_job(state) == Exit(number)


def test_a_wished_cancel_is_told_before_its_proof():
    assert progress(job("RUNNING", "juelich", cancel_wished_at=datetime.now(UTC)), Texts("de")) == "wird abgebrochen"


def test_a_log_is_followed_over_attempts_to_its_last_byte():
    said, out = [], io.BytesIO()
    states = [
        job("QUEUED"),
        job("RUNNING", "juelich"),
        job("RUNNING", "juelich", "rwth"),
        job("SUCCEEDED", "juelich", "rwth"),
    ]
    logs = {1: (b"first \xff\n", True), 2: (b"second\x00\n", True)}
    assert Hub(states, logs).watcher(said).follow(ID, out).state == "SUCCEEDED"
    assert out.getvalue() == b"first \xff\nsecond\x00\n"
    assert "--- attempt 2 at rwth ---" in said


def test_a_log_of_one_attempt_ends_with_that_attempt():
    out = io.BytesIO()
    hub = Hub([job("RUNNING", "juelich", "rwth")], {1: (b"first", True)})
    hub.watcher([]).follow(ID, out, attempt=1)
    assert out.getvalue() == b"first"


def test_a_site_that_owes_the_rest_of_a_log_is_not_waited_for_forever():
    said, out = [], io.BytesIO()
    hub = Hub([job("FAILED", "rwth")], {1: (b"so far", False)})
    hub.watcher(said).follow(ID, out)
    assert out.getvalue() == b"so far"
    assert "rwth has not sent the rest" in said[-1]
    assert hub.now >= LOG_PATIENCE_S


def test_a_running_jobs_log_is_written_as_far_as_it_is_there():
    out = io.BytesIO()
    hub = Hub([job("RUNNING", "rwth")], {1: (b"so far", False)})
    assert hub.watcher([]).write_log(ID, out)
    assert out.getvalue() == b"so far"


class Chatty(Hub):
    """A job that writes a byte a second, for ever."""

    def log(self, _id, *, attempt, offset):
        self.logs[attempt] = (b"." * int(self.now), False)
        return super().log(_id, attempt=attempt, offset=offset)


def test_a_running_job_that_never_falls_silent_does_not_hold_the_shell():
    hub = Chatty([job("RUNNING", "rwth")])
    assert hub.watcher([]).write_log(ID, io.BytesIO())
    assert hub.now < LOG_PATIENCE_S


def test_a_job_without_an_attempt_has_no_log():
    assert not Hub([job("QUEUED")]).watcher([]).write_log(ID, io.BytesIO())


class Listed:
    """Jobs of these ids, newest first."""

    def __init__(self, *ids):
        self.ids = ids

    def list(self):
        return iter([Job(id=each, name="a", project="p", state="QUEUED") for each in self.ids])


OTHER = "019aa0f0-2222-7000-8000-0000000000bb"


@pytest.mark.parametrize("part", [ID, ID.upper(), ID.replace("-", ""), short(ID), "0000aa", "019aa0f01", "019aa0f0-11"])
def test_a_job_is_named_by_its_id_or_a_part_of_it(part):
    assert find_job(Listed(OTHER, ID), part, Texts()) == ID


@pytest.mark.parametrize(
    ("part", "said"), [("0aa", "too short"), ("019aa0f0", "several jobs"), ("ffffff", "None of your newest 2 jobs")]
)
def test_a_part_that_names_no_job_or_several_is_refused(part, said):
    with pytest.raises(CesaiError, match=said) as caught:
        find_job(Listed(OTHER, ID), part, Texts())
    assert isinstance(caught.value, NotFound) == ("None of" in said)


@pytest.mark.parametrize("key", SENTENCES)
def test_both_languages_say_the_same_things(key):
    english, german = SENTENCES[key]
    names = [sorted(_fields(text)) for text in (english, german)]
    assert names[0] == names[1]
    assert english != german


def _fields(text):
    return {part.split("}")[0].split("!")[0] for part in text.split("{")[1:]}


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "de"),
        ({"LC_ALL": "C.UTF-8", "LANG": "de_DE.UTF-8"}, "en"),
        ({"CESAI_LANG": "de", "LC_ALL": "C"}, "de"),
    ],
)
def test_the_language_is_the_one_of_the_environment(environment, language):
    assert language_of(environment) == language


def test_amounts_carry_their_unit_in_the_readers_own_way():
    assert Texts("en").hours(3_600_000 * 1234 + 1_800_000) == "1,234.50 GPU-h"
    assert Texts("de").hours(3_600_000 * 1234 + 1_800_000) == "1.234,50 GPU-h"
    assert Texts("en").hours(4_000) == "0.0011 GPU-h"
    assert [Texts().span(seconds) for seconds in (None, 5, 90, 3600, 93_600)] == [
        "–",
        "5 s",
        "1 min 30 s",
        "1 h",
        "1 d 2 h",
    ]
    assert len(LANGUAGES) == 2
