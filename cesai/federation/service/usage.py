"""How are a site's usage records taken in?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.allocations import service as allocations
from cesai.contract.messages import BY_STAMPS, UsageKind, UsageRecord
from cesai.federation import store, tables
from cesai.federation.rules import settling
from cesai.federation.service import moves
from cesai.federation.service.hearing import EVIDENCE_LIMIT, Hearing, clean
from cesai.federation.service.settling import as_usage
from cesai.federation.tables import Attempt
from cesai.projects import service as projects
from cesai.sites import service as sites
from cesai.sites.service import Pool

BATCH = 200
_NOT_OURS = "its account is none of the hub's"
_TOLD_BEFORE = "this launch was told for another attempt before"


def take_usage(db: Session, hearing: Hearing, records: Sequence[UsageRecord]) -> tuple[bool, set[UUID]]:
    """Keep each record that is new. What is nobody's attempt is booked as nobody's.

    Returns:
        Whether any was new, and the attempts whose cost may have changed.
    """
    if not records:
        return False, set()
    owners = store.owners(db, hearing.site_id, {clean(record.key) or "" for record in records})
    accounts = projects.accounts_of_site(db, hearing.site_id)
    touched: set[UUID] = set()
    is_news = False
    for record in records:
        values = _values(hearing, record, owners, accounts)
        owners.setdefault(values["key"], values["attempt_id"])
        if not store.put_usage(db, values):
            continue
        is_news = True
        if attempt := hearing.attempt(record.attempt_id):
            touched.add(attempt.id)
            _note_doubt(db, hearing, attempt, record, doubt=values["doubt"])
            _note_stamps(db, hearing, attempt, record)
    if is_news:
        book_strangers(db, store.unbooked_usage_at(db, hearing.site_id, set(owners)), now=hearing.now)
    return is_news, touched


def _values(
    hearing: Hearing, record: UsageRecord, owners: Mapping[str, UUID | None], accounts: Mapping[str, str]
) -> dict[str, Any]:
    key = clean(record.key) or ""
    attempt = hearing.attempt(record.attempt_id) if record.kind is not UsageKind.UNATTRIBUTED else None
    owner = attempt.id if attempt else None
    doubt = _doubt(record)
    if doubt is None and key in owners and owners[key] != owner:
        doubt = _TOLD_BEFORE
    if doubt is None and attempt is None and record.account not in accounts:
        doubt = _NOT_OURS
    return {
        "site_id": hearing.site_id,
        "key": key,
        "revision": record.revision,
        "attempt_id": owner,
        "kind": record.kind,
        "payload": json.loads(record.model_dump_json().replace("\\u0000", "\\ufffd")),
        "doubt": doubt,
        "is_unbooked": attempt is None and doubt is None,
        "received_at": hearing.now,
    }


def _doubt(record: UsageRecord) -> str | None:
    launch = settling.Launch(
        started_at=record.started_at,
        ended_at=record.ended_at,
        gpus=record.gpus,
        gpu_ms=record.gpu_ms,
        is_final=record.is_final,
    )
    return settling.doubt(launch)


def _note_doubt(db: Session, hearing: Hearing, attempt: Attempt, record: UsageRecord, *, doubt: str | None) -> None:
    if doubt is None or not record.is_final or store.count_events(db, attempt.id, "usage-doubted") >= EVIDENCE_LIMIT:
        return
    sentence = f"A usage record of {hearing.site_id} does not count: {doubt} (launch {clean(record.external_id)})."
    job = hearing.job(attempt)
    moves.note(db, job, "usage-doubted", sentence, actor=hearing.actor, now=hearing.now, attempt=attempt)


def _note_stamps(db: Session, hearing: Hearing, attempt: Attempt, record: UsageRecord) -> None:
    if record.state != BY_STAMPS or attempt.is_usage_flagged:
        return
    attempt.is_usage_flagged = True
    sentence = f"Accounting at {hearing.site_id} never told the end: the wrapper's stamps stand in."
    job = hearing.job(attempt)
    moves.note(db, job, "usage-by-stamps", sentence, actor=hearing.actor, now=hearing.now, attempt=attempt)


def book_strangers(db: Session, records: Iterable[tables.UsageRecord], *, now: datetime) -> None:
    """Book launches that ran under the hub's accounts without being anybody's attempt.

    One whose GPUs have no class yet waits until the site's admin has confirmed the mapping.
    """
    for record in sorted(records, key=lambda one: (one.site_id, one.key, one.revision)):
        told = UsageRecord.model_validate(record.payload)
        project_id = projects.accounts_of_site(db, record.site_id).get(told.account)
        gpu_class = class_of(sites.pools(db, record.site_id), told)
        if project_id and gpu_class:
            _book_stranger(db, record, project_id=project_id, gpu_class=gpu_class, now=now)


def _book_stranger(db: Session, record: tables.UsageRecord, *, project_id: str, gpu_class: str, now: datetime) -> None:
    allocations.book_unattributed(
        db,
        site_id=record.site_id,
        project_id=project_id,
        gpu_class=gpu_class,
        usage=[as_usage(record)],
        now=now,
    )
    store.mark_booked(db, record)


def class_of(pools: Iterable[Pool], told: UsageRecord) -> str | None:
    """The class of the GPUs that a launch used; a partition whose pools are all of one class says it alone."""
    there = [pool for pool in pools if (pool.cluster, pool.partition) == (told.cluster, told.partition)]
    exact = {pool.gpu_class for pool in there if pool.gres_type == told.gres_type}
    classes = exact or {pool.gpu_class for pool in there}
    return next(iter(classes)) if len(classes) == 1 else None
