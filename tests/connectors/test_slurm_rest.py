"""Is an answer of slurmrestd believed only when it is whole, and a token used only while it is good?"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cesai.contract.connector import SiteUnavailable, SubmitRefused
from cesai_slurm.connector import connect
from cesai_slurm.tokens import expires_at

RECORDED = Path(__file__).parent / "recorded" / "slurm-22.05"
SINCE = datetime(2026, 11, 25, tzinfo=UTC)


@dataclass
class Rest:
    """A server that answers what slurmrestd answered once, or worse."""

    url: str = ""
    answers: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    cut_at: int | None = None
    delay_s: float = 0
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def answer(self, path):
        found = [body for start, body in self.answers.items() if path.startswith(start)]
        return found[0] if found else json.dumps({"errors": [], "meta": "x" * 6_000}).encode()


def handler_of(rest):
    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            rest.seen.append((self.command, self.path, self.headers.get("X-SLURM-USER-TOKEN", "")))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(rest.delay_s)
            body = rest.answer(self.path)
            self.send_response(200 if self.path.startswith("/openapi") else rest.status)
            self.send_header("Content-Length", str(len(body)))
            is_cut = rest.cut_at is not None and not self.path.startswith("/openapi")
            with suppress(ConnectionError):  # who waited too long has gone
                self.end_headers()
                self.wfile.write(body[: rest.cut_at] if is_cut else body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815  http.server calls them by these names

        def log_message(self, *_):
            """Say nothing."""

    return Handler


@pytest.fixture
def rest() -> Iterator[Rest]:
    rest = Rest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(rest))
    rest.url = f"http://127.0.0.1:{server.server_address[1]}"
    for path, name in (
        ("/openapi", "openapi_paths"),
        ("/slurm/v0.0.38/jobs", "jobs"),
        ("/slurmdb/v0.0.38/jobs", "history"),
        ("/slurm/v0.0.38/nodes", "nodes"),
        ("/slurm/v0.0.38/partitions", "partitions"),
        ("/slurm/v0.0.38/ping", "ping"),
        ("/slurm/v0.0.38/job/submit", "submit_held"),
    ):
        rest.answers[path] = (RECORDED / f"{name}.json").read_bytes()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield rest
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("SLURM_JWT=one.two.three\n")
    return path


@pytest.fixture
def connector(rest, tmp_path, token_file):
    table = {"url": rest.url, "user": "me", "token_file": str(token_file)}
    made = connect({"backend": "rest", "cluster": "juelich", "base": str(tmp_path), "timeout_s": 2, "rest": table})
    yield made
    made.backend.client.close()


def test_a_whole_answer_is_an_observation(connector):
    seen = connector.observe(["0192a7b3c4d5e6f708192a3b4c5d6e04-a1"], SINCE)
    assert (seen.queue_answered, seen.accounting_answered) == (True, True)
    assert [job.native_state for job in seen.jobs] == ["RUNNING"]


@pytest.mark.parametrize("cut_at", [0, 1, 100, 5_000])
def test_an_answer_cut_in_the_middle_proves_nothing(connector, rest, cut_at):
    rest.cut_at = cut_at
    seen = connector.observe(["0192a7b3c4d5e6f708192a3b4c5d6e04-a1"], SINCE)
    assert (seen.queue_answered, seen.accounting_answered, seen.jobs) == (False, False, ())
    for ask in (connector.capacity, lambda: connector.usage(["proj1"], SINCE), lambda: connector.release(["1"])):
        with pytest.raises(SiteUnavailable):
            ask()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Unable to parse query.",
        b"[]",
        b'{"errors": "all of them"}',
        b'{"errors": []}',
        b'{"jobs": null, "errors": []}',
        b'{"jobs": [{"job_id": "7"}], "errors": []}',
        b'{"jobs": [], "errors": [{"error": "Unspecified error", "error_number": -1}]}',
        b"[" * 200_000,
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_proves_nothing(connector, rest, body):
    rest.answers["/slurm/v0.0.38/jobs"] = body
    assert not connector.observe([], SINCE).queue_answered


def test_an_answer_that_does_not_come_proves_nothing(connector, rest):
    connector.observe([], SINCE)
    rest.delay_s = 3
    assert not connector.observe([], SINCE).queue_answered


def test_accounting_that_is_down_says_so_with_a_good_status(connector, rest):
    rest.answers["/slurmdb/v0.0.38/jobs"] = json.dumps(
        {"jobs": [], "errors": [{"error_number": 7000, "error": "Unable to connect to database"}]}
    ).encode()
    seen = connector.observe([], SINCE)
    assert (seen.queue_answered, seen.accounting_answered) == (True, False)


def test_accounting_that_found_nothing_has_answered(connector, rest):
    rest.answers["/slurmdb/v0.0.38/jobs"] = (RECORDED / "history_nothing.json").read_bytes()
    assert connector.observe([], SINCE).accounting_answered
    assert connector.usage(["nobody"], SINCE) == ()


@pytest.mark.parametrize(
    "body",
    [
        b'{"errors": [], "job_id": 0}',
        b'{"errors": [{"error_code": -1, "error": "Socket timed out on send/recv operation"}]}',
        b'{"job_id": tr',
    ],
)
def test_a_submission_without_a_clear_word_may_have_gone_in(connector, rest, order, body):
    rest.answers["/slurm/v0.0.38/job/submit"] = body
    with pytest.raises(SiteUnavailable):
        connector.submit(order())


def test_a_submission_that_is_refused_is_a_refusal_whatever_the_status(connector, rest, order):
    rest.answers["/slurm/v0.0.38/job/submit"] = (RECORDED / "submit_bad_account.json").read_bytes()
    rest.status = 500
    with pytest.raises(SubmitRefused, match="Invalid account"):
        connector.submit(order())


@pytest.mark.parametrize("body", [b"{}", b'{"errors": []}', b"<html>502 Bad Gateway</html>"])
def test_a_bad_status_that_names_no_error_is_no_release(connector, rest, body):
    rest.answers["/slurm/v0.0.38/job/7"], rest.status = body, 502
    for ask in (connector.release, connector.cancel):
        with pytest.raises(SiteUnavailable):
            ask(["7"])


def test_a_job_that_is_unknown_needs_no_cancelling_but_is_not_released(connector, rest):
    rest.status = 500
    rest.answers["/slurm/v0.0.38/job/999999"] = (RECORDED / "cancel_unknown.json").read_bytes()
    connector.cancel(["999999"])
    with pytest.raises(SiteUnavailable, match="Invalid job id"):
        connector.release(["999999"])


def test_a_token_is_read_again_after_a_refusal(connector, rest, token_file):
    connector.observe([], SINCE)
    token_file.write_text("four.five.six")
    connector.observe([], SINCE)
    assert rest.seen[-1][2] == "one.two.three"
    rest.answers["/slurm/v0.0.38/jobs"] = (RECORDED / "bad_token.txt").read_bytes()
    connector.observe([], SINCE)
    connector.observe([], SINCE)
    assert rest.seen[-1][2] == "four.five.six"


def test_a_token_is_read_again_before_it_expires(connector, rest, token_file):
    soon = datetime.now(UTC) + timedelta(seconds=30)
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(soon.timestamp())}).encode()).decode().rstrip("=")
    token_file.write_text(f"head.{claims}.sign")
    connector.observe([], SINCE)
    token_file.write_text("four.five.six")
    connector.observe([], SINCE)
    assert rest.seen[-1][2] == "four.five.six"


@pytest.mark.parametrize("token", ["", "a.b", "a.!!!.c", "a.e30.c", "a.W10.c"])
def test_a_token_without_a_readable_end_has_none(token):
    assert expires_at(token) is None


def test_a_token_file_that_is_not_there_is_the_sites_trouble(connector, token_file):
    token_file.unlink()
    assert not connector.observe([], SINCE).queue_answered


def test_a_site_without_slurmrestd_proves_nothing_and_examines_itself_all_the_same(tmp_path, token_file):
    table = {"url": "http://127.0.0.1:9", "user": "me", "token_file": str(token_file)}
    connector = connect({"backend": "rest", "cluster": "juelich", "base": str(tmp_path), "rest": table})
    assert not connector.observe([], SINCE).queue_answered
    findings = {finding.name: finding for finding in connector.examine()}
    assert findings["scheduler"].is_ok is False
    assert findings["scheduler"].mend
    connector.backend.client.close()
