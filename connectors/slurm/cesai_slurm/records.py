"""What does the contract's reader get to see of a row?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cesai.contract.connector import FINAL, JobRecord, Launch, SiteState
from cesai_slurm.rows import HistoryRow, QueueRow
from cesai_slurm.states import site_state

_NOT_STARTED = frozenset({SiteState.HELD, SiteState.PENDING, SiteState.IMPOSSIBLE})


def of_queue(row: QueueRow) -> JobRecord:
    """A job in the scheduler's own memory."""
    state = site_state(row.state, row.reason)
    return JobRecord(
        marker=row.name,
        external_id=row.external_id,
        submit_time=row.submit_time,
        restart_count=row.restart_count,
        state=state,
        native_state=row.state,
        reason="" if row.reason == "None" else row.reason,
        nodes=row.nodes,
        gpus=row.gpus.count,
        walltime_minutes=row.walltime_minutes,
        tasks=row.tasks,
        # A waiting job has an expected start and a running one an expected end: neither has happened.
        started_at=None if state in _NOT_STARTED else row.started_at,
        ended_at=row.ended_at if state in FINAL else None,
        exit_code=row.exit_code if state in FINAL else None,
        from_accounting=False,
    )


def of_history(rows: Sequence[HistoryRow]) -> tuple[JobRecord, ...]:
    """Jobs that only accounting knows, each one's latest launch first; accounting of 22.05 counts no restarts."""
    ordered = sorted(rows, key=lambda row: row.submit_time)
    seen: dict[tuple[str, str], int] = {}
    records = []
    for row in ordered:
        key = (row.name, row.external_id)
        records.append(_of_history(row, restart_count=seen.get(key, 0)))
        seen[key] = seen.get(key, 0) + 1
    return tuple(reversed(records))


def _of_history(row: HistoryRow, *, restart_count: int) -> JobRecord:
    state = site_state(row.state, row.reason)
    is_final = state in FINAL
    return JobRecord(
        marker=row.name,
        external_id=row.external_id,
        submit_time=row.submit_time,
        restart_count=restart_count,
        state=state,
        native_state=row.state,
        reason="" if row.reason == "None" else row.reason,
        nodes=row.nodes,
        gpus=row.gpus.count,
        walltime_minutes=row.walltime_minutes,
        tasks=1,
        started_at=row.started_at,
        ended_at=row.ended_at if is_final else None,
        exit_code=row.exit_code if is_final else None,
        from_accounting=True,
    )


def launches(rows: Iterable[HistoryRow]) -> tuple[Launch, ...]:
    """Rows of accounting as usage, in the order of their submission."""
    return tuple(
        Launch(
            name=row.name,
            external_id=row.external_id,
            submit_time=row.submit_time,
            account=row.account,
            partition=row.partition,
            native_state=row.state,
            gres_type=row.gpus.gres_type,
            gpus=row.gpus.count,
            started_at=row.started_at,
            ended_at=row.ended_at,
            elapsed_s=row.elapsed_s,
        )
        for row in sorted(rows, key=lambda row: (row.submit_time, row.external_id))
    )
