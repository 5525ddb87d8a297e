"""Is what the site accepted what was ordered?"""

from __future__ import annotations

from cesai.contract.connector import JobRecord, SiteState
from cesai.contract.messages import AttemptOrder

_RUNS = {SiteState.RUNNING, SiteState.SUSPENDED, SiteState.ENDING}


def mismatch(order: AttemptOrder, record: JobRecord) -> str | None:
    """What differs, as a sentence; None when GPUs, minutes, nodes and number of tasks are as ordered.

    The reservation is charged GPUs x minutes plus a margin; here the margin does not count.
    """
    ordered = order.nodes * order.gpus_per_node
    # A running job on whole nodes shows all their GPUs: that is what is charged.
    allowed = {ordered, order.charged_gpus} if record.state in _RUNS else {ordered}
    faults = []
    if record.tasks != 1:
        faults.append(f"{record.tasks} tasks instead of 1")
    if record.gpus not in allowed:
        faults.append(f"{record.gpus} GPUs instead of {ordered}")
    if record.walltime_minutes != order.walltime_minutes:
        faults.append(f"{record.walltime_minutes} minutes instead of {order.walltime_minutes}")
    if record.nodes is not None and record.nodes != order.nodes:
        faults.append(f"{record.nodes} nodes instead of {order.nodes}")
    if not faults:
        return None
    return f"The site accepted {', '.join(faults)}: it was taken back before it could start."
