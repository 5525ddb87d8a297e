"""Which work of sites goes on in the background?"""

from __future__ import annotations

from celery import shared_task

from cesai.db.session import background_work
from cesai.sites import service


@shared_task(name="sites.look", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def look() -> None:
    """See which sites fell silent; due several times a minute, else the hub takes itself to have been down."""
    with background_work() as (db, now):
        service.look(db, now=now)
