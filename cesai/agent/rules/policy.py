"""May this order be carried out here, whatever the hub says?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cesai.contract.messages import AttemptOrder


@dataclass(frozen=True, slots=True)
class Policy:
    """What the site lets the hub order; empty and None: no limit of the site's own."""

    accounts: Collection[str] = ()
    clusters: Collection[str] = ()
    partitions: Collection[str] = ()
    gpus_per_job: int | None = None
    walltime_minutes: int | None = None


def refusal(order: AttemptOrder, policy: Policy) -> str | None:
    """Why the site does not take this order, for the researcher; None when it does."""
    for word, value, allowed in (
        ("account", order.account, policy.accounts),
        ("cluster", order.cluster, policy.clusters),
        ("partition", order.partition, policy.partitions),
    ):
        if allowed and value not in allowed:
            return f"This site does not take orders for {word} {value!r}; ask its admin to allow it in agent.toml."
    gpus = order.nodes * order.gpus_per_node
    if policy.gpus_per_job is not None and gpus > policy.gpus_per_job:
        return f"This site takes at most {policy.gpus_per_job} GPUs per job, this one asks for {gpus}."
    if policy.walltime_minutes is not None and order.walltime_minutes > policy.walltime_minutes:
        return f"This site takes at most {policy.walltime_minutes} minutes, this job asks for {order.walltime_minutes}."
    return None
