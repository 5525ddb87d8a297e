"""Which work of allocations goes on in the background?"""

from __future__ import annotations

import logging

from celery import shared_task

from cesai.allocations import service
from cesai.db.session import background_work

LOG = logging.getLogger(__name__)


@shared_task(name="allocations.verify", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def verify() -> None:
    """Tell the log which sentence of the ledger does not hold; due every five minutes."""
    with background_work() as (db, _now):
        for check in service.broken(db):
            LOG.error("the ledger does not hold: %s (%s)", check.name, check.detail)
