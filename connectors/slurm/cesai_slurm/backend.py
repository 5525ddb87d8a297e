"""What must a way of speaking to Slurm be able to do?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cesai_slurm.rows import About, HistoryRow, NodeRow, Question, QueueRow, Submission


class Backend(Protocol):
    """Every method raises SiteUnavailable when there is no usable answer."""

    @property
    def name(self) -> str:
        """Either cli or rest."""
        ...

    def about(self) -> About:
        """Who answers."""
        ...

    def submit(self, submission: Submission) -> str:
        """Submit, held; the id that was told.

        Raises:
            SubmitRefused: a clear no.
        """
        ...

    def release(self, external_ids: Sequence[str]) -> None:
        """Let held jobs go."""
        ...

    def cancel(self, external_ids: Sequence[str]) -> None:
        """Ask for their end."""
        ...

    def queue(self) -> tuple[QueueRow, ...]:
        """All jobs in slurmctld's memory, finished ones included."""
        ...

    def history(self, question: Question) -> tuple[HistoryRow, ...]:
        """Rows of accounting: every launch of a requeued job is one; half-filled ones are left out."""
        ...

    def nodes(self) -> tuple[NodeRow, ...]:
        """Each node once per partition that it is in."""
        ...

    def configuration(self) -> Mapping[str, str] | None:
        """Slurmctld's settings, or None where this way does not tell them."""
        ...
