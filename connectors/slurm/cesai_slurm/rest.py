"""How is Slurm spoken to through slurmrestd?"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from cesai.contract.connector import SiteUnavailable, SubmitRefused
from cesai.kernel.clock import SystemClock
from cesai_slurm import refusals
from cesai_slurm.cli import Commands
from cesai_slurm.dialects.dialect import Dialect
from cesai_slurm.dialects.v0038 import V0038
from cesai_slurm.dialects.v0042 import V0042
from cesai_slurm.rows import About, HistoryRow, NodeRow, Question, QueueRow, Submission
from cesai_slurm.settings import RestSettings, Settings
from cesai_slurm.tokens import Tokens

# The newest first.
DIALECTS: tuple[Dialect, ...] = (V0042(), V0038())
_SERVED = re.compile(r"/slurm/(v[0-9.]+)/")

_UNKNOWN_JOB, _COMPLETING, _FINISHED = 2017, 2021, 2084
_NOTHING_FOUND = 9003
_NAMES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of an answer's `errors`."""

    number: int | None
    text: str


def faults(body: Mapping[str, Any]) -> tuple[Fault, ...]:
    """What went wrong. The HTTP status alone says neither yes nor no."""
    found = body.get("errors")
    if not isinstance(found, list):
        msg = "slurmrestd's answer does not say whether there were errors"
        raise SiteUnavailable(msg)
    return tuple(_fault(one) for one in found if isinstance(one, Mapping))


def _fault(one: Mapping[str, Any]) -> Fault:
    # 22.05 writes error_code when it submits and error_number elsewhere.
    number = next((one[key] for key in ("error_number", "error_code", "errno") if isinstance(one.get(key), int)), None)
    text = str(one.get("error") or one.get("description") or "no word")
    return Fault(number, text)


def read_body(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON table of an answer.

    Raises:
        SiteUnavailable: it is none, or only half of one.
    """
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        shown = response.text[:120].replace("\n", " ")
        msg = f"slurmrestd answered {response.status_code} with no JSON: {shown!r}"
        raise SiteUnavailable(msg) from None
    if not isinstance(body, Mapping):
        msg = "slurmrestd's answer is no table"
        raise SiteUnavailable(msg)
    if response.is_error and not body.get("errors"):
        msg = f"slurmrestd, or something before it, answered {response.status_code} and named no error"
        raise SiteUnavailable(msg)
    return body


def read_submitted(body: Mapping[str, Any]) -> str:
    """The id that was told.

    Beside an id the errors are remarks: 22.05 tells of the hold there, and of a time limit that no partition allows.

    Raises:
        SubmitRefused: a clear no.
        SiteUnavailable: anything else.
    """
    job_id = body.get("job_id")
    if isinstance(job_id, int) and not isinstance(job_id, bool) and job_id > 0:
        return str(job_id)
    found = faults(body)
    for fault in found:
        sentence = refusals.sentence(refusals.REFUSALS.get(fault.number or 0, fault.text))
        if sentence:
            raise SubmitRefused(sentence)
    msg = f"slurmrestd gave no job id: {'; '.join(fault.text for fault in found) or job_id!r}"
    raise SiteUnavailable(msg)


def choose_dialect(document: Mapping[str, Any]) -> Dialect:
    """The newest dialect that both sides speak, from slurmrestd's own OpenAPI document.

    Raises:
        SiteUnavailable: there is none.
    """
    paths = document.get("paths")
    served = {match[1] for path in (paths or ()) if (match := _SERVED.match(path))}
    for dialect in DIALECTS:
        if dialect.version in served:
            return dialect
    ours = ", ".join(dialect.version for dialect in DIALECTS)
    told = ", ".join(sorted(served)) or "nothing"
    msg = f"slurmrestd serves {told}; this connector speaks {ours}"
    raise SiteUnavailable(msg)


@dataclass(slots=True)
class RestBackend:
    """slurmrestd, in the dialect that it tells by itself."""

    settings: Settings
    tokens: Tokens
    user: str
    client: httpx.Client
    _dialect: Dialect | None = field(default=None)

    @classmethod
    def of(cls, settings: Settings, commands: Commands) -> RestBackend:
        """A back end from settings whose `rest` table is there."""
        rest = settings.rest
        if rest is None:
            msg = "[connector] rest: is missing"
            raise ValueError(msg)
        tokens = Tokens(rest, commands, SystemClock())
        return cls(settings, tokens, rest.user, _client(rest, timeout_s=settings.timeout_s))

    @property
    def name(self) -> str:
        """What the site's page shows."""
        return "rest"

    def about(self) -> About:
        """Version and cluster, as the answers' own words tell them."""
        dialect = self.dialect()
        body = self._ask("GET", dialect.ping_path)
        meta = body.get("meta")
        slurm = (meta.get("slurm") or meta.get("Slurm")) if isinstance(meta, Mapping) else None
        told = slurm if isinstance(slurm, Mapping) else {}
        return About(version=str(told.get("release", "unknown")), cluster=told.get("cluster"), dialect=dialect.version)

    def dialect(self) -> Dialect:
        """The dialect; asked for once, and again after an answer that could not be used."""
        if self._dialect is None:
            # 22.05 has its document at /openapi (and /openapi/v3), newer ones at /openapi/v3 alone.
            self._dialect = choose_dialect(self._send("GET", "/openapi/v3"))
        return self._dialect

    def submit(self, submission: Submission) -> str:
        """Submit, held."""
        dialect = self.dialect()
        body = dialect.submission(submission, search_path=self.settings.search_path)
        answer = self._send("POST", f"/slurm/{dialect.version}/job/submit", body=body)
        return read_submitted(answer)

    def release(self, external_ids: Sequence[str]) -> None:
        """Let held jobs go."""
        for job in external_ids:
            self._ask("POST", self._job_path(job), body={"hold": False}, harmless={_FINISHED, _COMPLETING})

    def cancel(self, external_ids: Sequence[str]) -> None:
        """Ask for their end; what is unknown or over needs none."""
        for job in external_ids:
            answer = self._ask("DELETE", self._job_path(job), harmless={_UNKNOWN_JOB, _FINISHED, _COMPLETING})
            _check_kill(answer)

    def _job_path(self, external_id: str) -> str:
        return f"/slurm/{self.dialect().version}/job/{external_id}"

    def queue(self) -> tuple[QueueRow, ...]:
        """All jobs in slurmctld's memory."""
        dialect = self.dialect()
        return dialect.read_queue(self._ask("GET", dialect.queue_path))

    def history(self, question: Question) -> tuple[HistoryRow, ...]:
        """Rows of accounting, each once."""
        dialect = self.dialect()
        rows: dict[tuple[str, object, object, str], HistoryRow] = {}
        for part in _parts(question):
            for query in dialect.questions(part):
                body = self._ask("GET", dialect.history_path, query=query, harmless={_NOTHING_FOUND})
                for row in dialect.read_history(body if "jobs" in body else {**body, "jobs": []}):
                    rows[row.external_id, row.submit_time, row.started_at, row.state] = row
        return tuple(rows.values())

    def nodes(self) -> tuple[NodeRow, ...]:
        """Each node once per partition."""
        dialect = self.dialect()
        nodes, partitions = self._ask("GET", dialect.nodes_path), self._ask("GET", dialect.partitions_path)
        return dialect.read_nodes(nodes, partitions, exclusive=self.settings.exclusive_partitions)

    def configuration(self) -> Mapping[str, str] | None:
        """Slurmrestd does not tell slurmctld's settings."""
        return None

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        harmless: Collection[int] = (),
    ) -> Mapping[str, Any]:
        answer = self._send(method, path, query=query, body=body)
        bad = [fault for fault in faults(answer) if fault.number not in harmless]
        if bad:
            # 22.05 calls a refused token "Unspecified error", so every error may be one; the next question asks anew.
            self._doubt()
            msg = f"slurmrestd: {'; '.join(fault.text for fault in bad)[:400]}"
            raise SiteUnavailable(msg)
        return answer

    def _send(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        headers = {"X-SLURM-USER-NAME": self.user}
        if token := self.tokens.token():
            headers["X-SLURM-USER-TOKEN"] = token
        try:
            response = self.client.request(method, path, params=query, json=body, headers=headers)
            return read_body(response)
        except httpx.HTTPError as error:
            self._doubt()
            raise SiteUnavailable(f"slurmrestd gave no answer: {type(error).__name__} {error}".strip()) from None
        except SiteUnavailable:
            self._doubt()
            raise

    def _doubt(self) -> None:
        self.tokens.forget()
        self._dialect = None


def _client(rest: RestSettings, *, timeout_s: float) -> httpx.Client:
    # No kept connections: one that slurmrestd closed meanwhile would make a submission's fate unknown for nothing.
    limits = httpx.Limits(max_keepalive_connections=0)
    if rest.url.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=rest.url.removeprefix("unix:"), limits=limits)
        return httpx.Client(base_url="http://localhost", transport=transport, timeout=timeout_s, trust_env=False)
    verify: ssl.SSLContext | bool = ssl.create_default_context() if rest.url.startswith("https:") else False
    return httpx.Client(base_url=rest.url, limits=limits, timeout=timeout_s, trust_env=False, verify=verify)


def _parts(question: Question) -> Sequence[Question]:
    """A question for some hundred names at a time: they travel in the URL."""
    if len(question.names) <= _NAMES_AT_ONCE:
        return (question,)
    return [
        Question(
            since=question.since,
            until=question.until,
            names=question.names[start : start + _NAMES_AT_ONCE],
            accounts=question.accounts,
        )
        for start in range(0, len(question.names), _NAMES_AT_ONCE)
    ]


def _check_kill(answer: Mapping[str, Any]) -> None:
    """24.11 tells a refused kill beside a good status.

    Raises:
        SiteUnavailable: it was refused.
    """
    for one in answer.get("status") or ():
        fault = one.get("error") if isinstance(one, Mapping) else None
        code = fault.get("code") if isinstance(fault, Mapping) else None
        if code not in {None, 0, _UNKNOWN_JOB, _FINISHED, _COMPLETING}:
            msg = f"slurmrestd: {fault.get('string') if isinstance(fault, Mapping) else fault}"
            raise SiteUnavailable(msg)
