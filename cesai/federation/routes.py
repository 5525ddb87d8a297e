"""How do people and agents speak about jobs with the hub?"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import BackgroundTasks, Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from cesai.access.callers import Anyone, Operator, SignedIn, SiteAgent, guarded_router
from cesai.access.rules import AgentCaller
from cesai.contract.jobs import JobFile, JobFileError, json_schema, read_job
from cesai.contract.messages import SyncReply, SyncRequest
from cesai.db.idempotency import Once
from cesai.db.paging import Page, PageParams
from cesai.db.session import Db, Now, Wake, unit_of_work
from cesai.federation import service
from cesai.federation.rules import plan
from cesai.federation.rules.wire import Policy, Snapshot, WireError, parse_now
from cesai.federation.schemas import CancelIn, EventOut, JobOut, LogOut, WhyOut
from cesai.kernel import crash
from cesai.kernel.crash import CrashPoint
from cesai.kernel.states import JobState

JOB_BYTES = 2 * 1024 * 1024
PLAN_BYTES = 8 * 1024 * 1024
SYNC_BYTES = 8 * 1024 * 1024
LOOK_EVERY_S = 1.0
ROUND = "federation.run_round"

router = guarded_router(tags=["federation"])
agent_router = guarded_router(prefix="/agent/v1", tags=["federation"])


async def _body(request: Request, limit: int) -> bytes:
    """The body, refused before it is read when it is too large."""
    length = request.headers.get("content-length")
    if length is None or not length.isdecimal():
        raise HTTPException(411, "Send a Content-Length header.")
    if int(length) > limit:
        raise HTTPException(413, f"The body may have {limit // 1024 // 1024} MiB at the most.")
    return await request.body()


def _invalid(faults: tuple[tuple[str, str], ...]) -> RequestValidationError:
    return RequestValidationError(
        [
            {"type": "value_error", "loc": ("body", *place.split(".")), "msg": sentence, "input": None}
            for place, sentence in faults
        ]
    )


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _invalid((("", "is no JSON"),)) from None


async def _job_bytes(request: Request) -> bytes:
    return await _body(request, JOB_BYTES)


# A body is received before the transaction begins, so that a slow client holds no connection to the database, and
# understood after it is known who sends it.
JobBytes = Annotated[bytes, Depends(_job_bytes)]


def _job_file(body: JobBytes) -> JobFile:
    try:
        return read_job(_parsed(body))
    except JobFileError as error:
        raise _invalid(error.faults) from None


def _committed() -> Iterator[None]:
    """Stands before the transaction among a route's parameters, so it goes on after the commit, before the answer."""
    crash.reach(CrashPoint.HUB_SUBMIT_RECEIVED)
    yield
    crash.reach(CrashPoint.HUB_SUBMIT_COMMITTED)


_JOB_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": json_schema()}}}}


@router.get("/schemas/job")
def job_schema(caller: Anyone) -> dict[str, Any]:
    """Tell what a job file may say, as JSON Schema."""
    return json_schema()


@router.post("/jobs", status_code=201, response_model=JobOut, openapi_extra=_JOB_BODY)
def submit(
    committed: Annotated[None, Depends(_committed, scope="function")],
    body: JobBytes,
    caller: SignedIn,
    file: Annotated[JobFile, Depends(_job_file)],
    db: Db,
    once: Once,
    now: Now,
    wake: Wake,
    background: BackgroundTasks,
) -> Response:
    """Submit a job; the body is what a job file says."""
    background.add_task(wake, ROUND)
    return once(lambda: JobOut.of(service.submit(db, file, by=caller, now=now)))


@router.get("/jobs")
def list_jobs(
    caller: SignedIn,
    db: Db,
    page: PageParams,
    project: Annotated[str | None, Query(max_length=64)] = None,
    state: JobState | None = None,
    site: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[JobOut]:
    """List the jobs that the caller may see, newest first."""
    wanted = service.JobFilter(project_id=project, state=state, site_id=site)
    return Page[JobOut].of(service.jobs(db, page, wanted, by=caller), JobOut.of)


@router.get("/jobs/{job_id}")
def show_job(job_id: UUID, caller: SignedIn, db: Db) -> JobOut:
    """Show a job with its attempts."""
    return JobOut.of(service.job(db, job_id, by=caller))


@router.get("/jobs/{job_id}/events")
def list_events(job_id: UUID, caller: SignedIn, db: Db) -> list[EventOut]:
    """List what happened to a job, in order."""
    return [EventOut.of(event) for event in service.events(db, job_id, by=caller)]


@router.get("/jobs/{job_id}/why")
def why(job_id: UUID, caller: SignedIn, db: Db, now: Now) -> WhyOut:
    """Tell why a job waits, and where it could run."""
    return WhyOut.model_validate(service.why(db, job_id, by=caller, now=now))


@router.get("/jobs/{job_id}/logs")
def read_log(
    job_id: UUID,
    caller: SignedIn,
    db: Db,
    now: Now,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31, description="Its number; the newest by default")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**62)] = 0,
) -> LogOut:
    """Read what is here of a log; the site is asked for the rest, so ask again."""
    part = service.read_log(db, job_id, number=attempt, offset=offset, by=caller, now=now)
    return LogOut(
        attempt=part.attempt,
        offset=part.offset,
        base64=base64.b64encode(part.content).decode(),
        next_offset=part.offset + len(part.content),
        is_end=part.is_end,
    )


@router.post("/jobs/{job_id}/cancel", response_model=JobOut)
def cancel(job_id: UUID, caller: SignedIn, db: Db, once: Once, now: Now, body: CancelIn | None = None) -> Response:
    """Wish a job to end; it has ended when its site has read back a final state."""
    reason = body.reason if body else None
    return once(lambda: JobOut.of(service.cancel(db, job_id, reason, by=caller, now=now)))


async def _plan_bytes(request: Request) -> bytes:
    return await _body(request, PLAN_BYTES)


PlanBytes = Annotated[bytes, Depends(_plan_bytes)]


def _question(body: PlanBytes) -> tuple[Snapshot, float]:
    content = _parsed(body)
    try:
        return Snapshot.parse(content), parse_now(content)
    except WireError as error:
        raise _invalid(((error.path, error.sentence),)) from None


@router.post("/placement/plan")
def plan_placement(
    body: PlanBytes, caller: Operator, question: Annotated[tuple[Snapshot, float], Depends(_question)]
) -> dict[str, Any]:
    """Ask what the hub would do in this situation. Nothing is kept: the same question has the same answer."""
    snapshot, now = question
    return plan(snapshot, Policy.with_moves(), now).as_wire()


async def _said(request: Request) -> SyncRequest:
    crash.reach(CrashPoint.HUB_SYNC_RECEIVED)
    try:
        return SyncRequest.model_validate_json(await _body(request, SYNC_BYTES))
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False)) from None


@agent_router.post("/sync", response_model=SyncReply)
async def sync(
    request: Request, agent: SiteAgent, said: Annotated[SyncRequest, Depends(_said)], wake: Wake
) -> Response:
    """Take in all that an agent holds and answer with all that it should hold.

    Two short transactions; between them an agent that brought nothing new waits, without one, for its orders to change.
    """
    if await run_in_threadpool(_hear, request, agent, said):
        await run_in_threadpool(wake, ROUND)
    elif not await _is_still_there(request, agent, said):
        return Response(status_code=204)
    reply = await run_in_threadpool(_answer, request, agent, said)
    return Response(reply.model_dump_json(), media_type="application/json")


def _hear(request: Request, agent: AgentCaller, said: SyncRequest) -> bool:
    with unit_of_work(request.app.state.engine) as db:
        is_news = service.hear(db, agent, said, now=request.app.state.clock.now())
    crash.reach(CrashPoint.HUB_REPORT_COMMITTED)
    return is_news


async def _is_still_there(request: Request, agent: AgentCaller, said: SyncRequest) -> bool:
    """Wait for a change, or as long as the agent wishes; False when it has hung up, and so cannot hold any order."""
    loop = asyncio.get_running_loop()
    until = loop.time() + said.wait_seconds
    while loop.time() < until and not request.app.state.is_stopping():
        if await request.is_disconnected():
            return False
        if await run_in_threadpool(_revision, request, agent) != said.seen_revision:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    return True


def _revision(request: Request, agent: AgentCaller) -> int:
    with unit_of_work(request.app.state.engine) as db:
        return service.order_revision(db, agent.site_id)


def _answer(request: Request, agent: AgentCaller, said: SyncRequest) -> SyncReply:
    with unit_of_work(request.app.state.engine) as db:
        return service.answer(db, agent.site_id, said, now=request.app.state.clock.now())
