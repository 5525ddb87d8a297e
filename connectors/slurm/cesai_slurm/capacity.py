"""What has a cluster, and what is it doing? Rows in, one snapshot out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from cesai.contract.connector import SiteState
from cesai.contract.messages import CapacitySnapshot, PoolReport, QueuedWork, RunningWork
from cesai.kernel.ids import MARKER
from cesai_slurm.rows import About, NodeRow, QueueRow
from cesai_slurm.states import site_state

# Source: sinfo(1), NODE STATE CODES. A reserved node is up, but not for us.
_NOT_UP = frozenset(
    {
        *("DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "UNKNOWN", "FUTURE", "INVAL", "INVALID"),
        *("INVALID_REG", "NOT_RESPONDING", "NO_RESPOND", "MAINT", "MAINTENANCE", "REBOOT_ISSUED", "REBOOT_REQUESTED"),
        *("POWERING_DOWN", "RESERVED"),
    }
)
_BUSY = frozenset({"ALLOCATED", "MIXED", "COMPLETING"})
_NO_LIMIT_MINUTES = 366 * 24 * 60
_HOLDING = frozenset({SiteState.RUNNING, SiteState.SUSPENDED, SiteState.ENDING})


def pools(cluster: str, rows: Iterable[NodeRow]) -> tuple[PoolReport, ...]:
    """GPUs per partition and type."""
    members: dict[tuple[str, str | None], list[NodeRow]] = {}
    for row in rows:
        for gpus in row.gpus:
            if gpus.count:
                members.setdefault((row.partition, gpus.gres_type), []).append(row)
    ordered = sorted(members.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    return tuple(_pool(cluster, partition, gres_type, rows=found) for (partition, gres_type), found in ordered)


def _pool(cluster: str, partition: str, gres_type: str | None, *, rows: Sequence[NodeRow]) -> PoolReport:
    up = [row for row in rows if row.is_open and not row.states & _NOT_UP]
    first = rows[0]
    return PoolReport(
        cluster=cluster,
        partition=partition,
        gres_type=gres_type,
        features=tuple(sorted(frozenset.intersection(*(row.features for row in rows)))),
        nodes=len(rows),
        nodes_up=len(up),
        # Where nodes differ, what every one of them has: a job that fits this fits them all.
        gpus_per_node=min(_count(row, gres_type) for row in rows),
        gpus=sum(_count(row, gres_type) for row in rows),
        gpus_up=sum(_count(row, gres_type) for row in up),
        gpus_free=sum(_free(row, gres_type) for row in up),
        max_walltime_minutes=first.max_walltime_minutes,
        is_exclusive=first.is_exclusive,
    )


def _count(row: NodeRow, gres_type: str | None) -> int:
    return sum(gpus.count for gpus in row.gpus if gpus.gres_type == gres_type)


def _free(row: NodeRow, gres_type: str | None) -> int:
    if row.is_exclusive and row.states & _BUSY:
        return 0
    used = sum(gpus.count for gpus in row.used if gpus.gres_type == gres_type)
    return max(0, _count(row, gres_type) - used)


def running(rows: Iterable[QueueRow], now: datetime) -> tuple[RunningWork, ...]:
    """What holds GPUs now."""
    return tuple(
        RunningWork(
            partition=row.partition,
            gpus=row.gpus.count,
            ends_by=row.ended_at or now + timedelta(minutes=row.walltime_minutes or _NO_LIMIT_MINUTES),
            marker=_marker(row),
        )
        for row in rows
        if row.gpus.count and site_state(row.state, row.reason) in _HOLDING
    )


def queued(rows: Iterable[QueueRow]) -> tuple[QueuedWork, ...]:
    """What waits, in the scheduler's own order; what is held or can never run stands in nobody's way."""
    waiting = [row for row in rows if row.gpus.count and site_state(row.state, row.reason) is SiteState.PENDING]
    waiting.sort(key=lambda row: (-row.priority, row.submit_time is None, row.submit_time))
    return tuple(
        QueuedWork(
            partition=row.partition.partition(",")[0],
            gpus=row.gpus.count * row.tasks,
            walltime_minutes=row.walltime_minutes or _NO_LIMIT_MINUTES,
            marker=_marker(row),
        )
        for row in waiting
    )


def _marker(row: QueueRow) -> str | None:
    return row.name if MARKER.fullmatch(row.name) else None


def snapshot(
    *, about: About, backend: str, cluster: str, nodes: Sequence[NodeRow], queue: Sequence[QueueRow], now: datetime
) -> CapacitySnapshot:
    """All of it at one instant."""
    return CapacitySnapshot(
        taken_at=now,
        kind="slurm",
        backend=backend,
        dialect=about.dialect,
        scheduler_version=about.version,
        pools=pools(cluster, nodes),
        running=running(queue, now),
        queued=queued(queue),
    )
