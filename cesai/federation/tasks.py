"""What does the hub do about jobs by itself?"""

from __future__ import annotations

from celery import shared_task

from cesai.db.session import background_work
from cesai.federation import service
from cesai.kernel import crash
from cesai.kernel.crash import CrashPoint


@shared_task(name="federation.run_round", ignore_result=True)  # type: ignore[untyped-decorator]  # celery has no types
def run_round() -> None:
    """Give queued jobs their places."""
    with background_work() as (db, now):
        placed = service.run_round(db, now)
    if placed:
        crash.reach(CrashPoint.HUB_PLACED)


@shared_task(name="federation.sweep", ignore_result=True)  # type: ignore[untyped-decorator]  # celery has no types
def sweep() -> None:
    """Look at attempts whose time has come."""
    with background_work() as (db, now):
        service.sweep(db, now)
