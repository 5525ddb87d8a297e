"""What does a site's agent say, and what should it hold?

Two transactions of one request: `hear` takes in what the agent holds, `answer` says what it should hold. Both are
level-triggered: a message or an answer that gets lost is simply sent again, whole.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import AgentCaller
from cesai.contract.messages import AttemptOrder, AttemptReport, SyncReply, SyncRequest, Wish
from cesai.federation import store
from cesai.federation.service import hearing, logs, settling, usage
from cesai.federation.service.hearing import Hearing
from cesai.federation.tables import Attempt
from cesai.kernel.states import AttemptState
from cesai.projects import service as projects
from cesai.sites import service as sites


def hear(db: Session, agent: AgentCaller, request: SyncRequest, *, now: datetime) -> bool:
    """Take in everything that an agent says of its own site.

    Returns:
        Whether anything of it was new; then the agent is answered at once.

    Raises:
        Refused: a second instance of this agent speaks.
        Stale: the sequence is not newer than the last.
    """
    access.accept_sequence(db, agent, instance_id=request.instance_id, sequence=request.sequence, now=now)
    sites.record_contact(db, agent.site_id, request=request, now=now)
    unheard = _unheard(db, agent.site_id, request)
    told = _hearing(db, agent, request, unheard=unheard, now=now)
    is_new_usage, touched = usage.take_usage(db, told, request.usage)
    changed = hearing.take_reports(db, told, unheard)
    grown = logs.take_logs(db, told, request.logs)
    for attempt_id, attempt in told.attempts.items():
        if attempt_id in touched | changed:
            settling.settle(db, told.job(attempt), attempt, now=now)
    return is_new_usage or bool(changed or grown)


def _hearing(
    db: Session, agent: AgentCaller, request: SyncRequest, *, unheard: Collection[AttemptReport], now: datetime
) -> Hearing:
    ids = _ids(
        [report.attempt_id for report in unheard]
        + [record.attempt_id for record in request.usage]
        + [part.attempt_id for part in request.logs]
    )
    jobs = store.lock_jobs(db, store.jobs_of_attempts(db, agent.site_id, ids)) if ids else {}
    attempts = store.attempts_at(db, agent.site_id, ids) if ids else {}
    return Hearing(
        site_id=agent.site_id,
        instance_id=hearing.clean(request.instance_id) or "",
        now=now,
        skew=request.clock - now,
        jobs=jobs,
        attempts=attempts,
    )


def _unheard(db: Session, site_id: str, request: SyncRequest) -> list[AttemptReport]:
    """Reports that may say something new: an agent repeats all of them in every sync, and most are known."""
    heard = store.heard_sequences(db, site_id, _ids([report.attempt_id for report in request.attempts]))
    instance_id = hearing.clean(request.instance_id)
    return [
        report
        for report in request.attempts
        if heard.get(hearing.read_id(report.attempt_id)) != (instance_id, report.sequence)
    ]


def _ids(texts: Collection[str | None]) -> set[UUID]:
    return {read for text in texts if (read := hearing.read_id(text))}


def order_revision(db: Session, site_id: str) -> int:
    """A number that has changed whenever the answer may have; the long poll watches it."""
    return sites.order_revision(db, site_id)


def answer(db: Session, site_id: str, request: SyncRequest, *, now: datetime) -> SyncReply:
    """Everything that the site's agent should hold now."""
    # The revision is read first: what changes while the rest is read makes the next question return at once.
    revision = sites.order_revision(db, site_id)
    reported = store.attempts_at(db, site_id, _ids([report.attempt_id for report in request.attempts]))
    keys = [(hearing.clean(record.key) or "", record.revision) for record in request.usage]
    return SyncReply(
        hub_time=now,
        revision=revision,
        orders=tuple(_order(attempt) for attempt in store.hand_out(db, site_id, now)),
        settled=tuple(str(one.id) for one in reported.values() if _is_forgettable(one, now)),
        usage_booked=tuple(store.stored_usage(db, site_id, keys)) if keys else (),
        log_wants=logs.wants(db, site_id, now=now),
        accounts=tuple(sorted(projects.accounts_of_site(db, site_id))),
    )


def _order(attempt: Attempt) -> AttemptOrder:
    # An attempt that the hub has given up is still owed by its site: it should end there.
    is_to_end = attempt.is_cancel_ordered or attempt.state == AttemptState.ENDED
    return AttemptOrder.model_validate(attempt.order | {"wish": Wish.CANCEL if is_to_end else Wish.RUN})


def _is_forgettable(attempt: Attempt, now: datetime) -> bool:
    return not attempt.is_owed and logs.is_forgettable(attempt, now)
