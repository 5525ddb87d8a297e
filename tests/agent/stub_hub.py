"""A hub that only keeps what it is told: does the agent say everything, once, in order, as itself?"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from cesai.contract.messages import (
    AttemptOrder,
    AttemptReport,
    EnrolReply,
    EnrolRequest,
    LogRange,
    LogWant,
    SyncReply,
    SyncRequest,
    UsageRecord,
    Wish,
)
from cesai.kernel.states import AttemptState, may_move

TOKEN = "one-time-token-of-the-admin"
AUDIENCE = "cesai-hub"


class Problem(Exception):
    """A no with its status, kind and sentence."""

    def __init__(self, status: int, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.sentence = status, kind, sentence


@dataclass
class StubHub:
    """Settles an attempt when it is told ended with its whole usage."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    public_key: dict[str, Any] | None = None
    agent_id: str = "agent-1"
    instance_id: str | None = None
    sequence: int = 0
    revision: int = 1
    orders: dict[str, AttemptOrder] = field(default_factory=dict)
    reports: dict[str, AttemptReport] = field(default_factory=dict)
    usage: dict[str, UsageRecord] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    wants: list[LogWant] = field(default_factory=list)
    logs: dict[str, bytes] = field(default_factory=dict)
    log_ends: set[str] = field(default_factory=set)
    accounts: tuple[str, ...] = ()
    requests: list[SyncRequest] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # what the agent must never do
    lose_answers: int = 0
    garbage_answers: int = 0
    longest_wait: float = 2.0
    fail: Problem | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def order(self, order: AttemptOrder) -> None:
        """Wish for an attempt."""
        with self.lock:
            self.orders[order.attempt_id] = order
            self.revision += 1

    def cancel(self, attempt_id: str) -> None:
        """Wish it gone."""
        self.order(self.orders[attempt_id].model_copy(update={"wish": Wish.CANCEL}))

    def want_log(self, attempt_id: str) -> None:
        """Somebody follows a log."""
        with self.lock:
            self.logs.setdefault(attempt_id, b"")
            self._renew_want(attempt_id)

    def _renew_want(self, attempt_id: str) -> None:
        self.wants = [want for want in self.wants if want.attempt_id != attempt_id]
        if attempt_id not in self.log_ends:
            self.wants.append(LogWant(attempt_id=attempt_id, offset=len(self.logs[attempt_id]), limit=7))
        self.revision += 1

    # What is asked

    def enrol(self, body: bytes) -> EnrolReply:
        """Take a public key for the token."""
        request = EnrolRequest.model_validate_json(body)
        if request.token != TOKEN or self.public_key is not None:
            raise Problem(422, "urn:cesai:refused", "The token is wrong or was used; ask for a new one.")
        assert "d" not in request.public_key, "the private key stays at the site"
        self.public_key, self.instance_id = request.public_key, request.instance_id
        return EnrolReply(site_id="fake", agent_id=self.agent_id, audience=AUDIENCE)

    def sync(self, body: bytes, authorization: str) -> SyncReply:
        """Hear what is held, say what should be."""
        request = SyncRequest.model_validate_json(body)
        self._check(request, authorization)
        with self.lock:
            self.requests.append(request)
            booked = self._hear(request)
        self._wait(request)
        with self.lock:
            if self.lose_answers:
                self.lose_answers -= 1
                raise ConnectionAbortedError
            return SyncReply(
                hub_time=self.clock(),
                revision=self.revision,
                orders=tuple(order for key, order in self.orders.items() if key not in self.settled),
                settled=tuple(self.settled),
                usage_booked=booked,
                log_wants=tuple(self.wants),
                accounts=self.accounts,
            )

    def _check(self, request: SyncRequest, authorization: str) -> None:
        if self.fail is not None:
            raise self.fail
        try:
            token = jwt.decode(authorization.removeprefix("Bearer "), ECKey.import_key(self.public_key or {}))
        except (JoseError, ValueError) as error:
            raise Problem(401, "urn:cesai:not-signed-in", "The token is not this agent's.") from error
        now = self.clock().timestamp()
        claims = token.claims
        if claims["aud"] != AUDIENCE or not now - 30 < claims["exp"] < now + 330 or claims["iat"] > now + 30:
            raise Problem(401, "urn:cesai:not-signed-in", "The token is too old or too new.")
        with self.lock:
            if request.instance_id != self.instance_id:
                raise Problem(
                    422, "urn:cesai:refused", "Another agent speaks for this site; an operator must reset it."
                )
            if request.sequence <= self.sequence:
                raise Problem(409, "urn:cesai:stale", "The hub has seen a later request.")
            self.sequence = request.sequence

    def _hear(self, request: SyncRequest) -> tuple[tuple[str, int], ...]:
        for report in request.attempts:
            self._hear_report(report)
        for record in request.usage:
            former = self.usage.get(record.key)
            if former is None or former.revision < record.revision:
                self.usage[record.key] = record
        for told in request.logs:
            self._hear_log(told)
        return tuple((record.key, record.revision) for record in request.usage)

    def _hear_report(self, report: AttemptReport) -> None:
        former = self.reports.get(report.attempt_id)
        if former is not None:
            if report.sequence < former.sequence:
                self.faults.append(f"an older report: {report}")
            if report.sequence == former.sequence and report != former:
                self.faults.append(f"two reports of one sequence: {report}")
            if not may_move(former.state, report.state):
                self.faults.append(f"a forbidden move: {former.state} -> {report.state}")
        self.reports[report.attempt_id] = report
        if report.state is AttemptState.ENDED and report.is_usage_complete and report.attempt_id not in self.settled:
            self.settled.add(report.attempt_id)
            self.revision += 1

    def _hear_log(self, told: LogRange) -> None:
        have = self.logs.setdefault(told.attempt_id, b"")
        if told.offset == len(have):
            self.logs[told.attempt_id] = have + base64.b64decode(told.base64)
        if told.is_end:
            self.log_ends.add(told.attempt_id)
        self._renew_want(told.attempt_id)

    def _wait(self, request: SyncRequest) -> None:
        until = time.monotonic() + min(request.wait_seconds, self.longest_wait)
        while self.revision == request.seen_revision and time.monotonic() < until:
            time.sleep(0.02)


@contextmanager
def serving(hub: StubHub) -> Iterator[str]:
    """The hub at an address of this machine."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                reply = hub.enrol(body) if self.path.endswith("enrol") else None
                reply = reply or hub.sync(body, self.headers.get("Authorization", ""))
                self._answer(200, reply.model_dump_json())
            except Problem as no:
                problem = {"type": no.kind, "title": "no", "status": no.status, "detail": no.sentence}
                self._answer(no.status, json.dumps(problem))
            except ConnectionError:
                self.close_connection = True

        def do_GET(self) -> None:
            self._answer(200, json.dumps({"status": "ok", "version": "stub"}))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(hub.clock().timestamp() if timestamp is None else timestamp)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # an agent that was killed

    server = Server(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def an_hour_ahead() -> datetime:
    """The clock of a hub whose site is an hour late."""
    return datetime.now(UTC) + timedelta(hours=1)
