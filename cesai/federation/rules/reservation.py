"""How much is set aside for an attempt, and until when?"""

from __future__ import annotations

from datetime import datetime, timedelta

from cesai.kernel.amounts import GpuMilliseconds

MINUTE_S = 60


def charged_gpus(*, nodes: int, gpus_per_node: int, node_gpus: int, is_exclusive: bool) -> int:
    """GPUs that the site charges: those asked for, or whole nodes where a node is never shared."""
    return nodes * (max(gpus_per_node, node_gpus) if is_exclusive else gpus_per_node)


def reservation(*, charged: int, walltime_minutes: int, margin_minutes: int) -> GpuMilliseconds:
    """The most that an attempt can use.

    The margin covers what a scheduler adds to a wall time (KillWait, OverTimeLimit, its own slack): a limit of 60 s
    was measured to run 61 to 84 s.
    """
    return GpuMilliseconds.of(gpus=charged, seconds=(walltime_minutes + margin_minutes) * MINUTE_S)


def latest_end(placed_at: datetime, *, patience_minutes: int, walltime_minutes: int, margin_minutes: int) -> datetime:
    """The instant by which an attempt has ended: it waits as long as the site's patience, then runs out its time."""
    return placed_at + timedelta(minutes=patience_minutes + walltime_minutes + margin_minutes)
