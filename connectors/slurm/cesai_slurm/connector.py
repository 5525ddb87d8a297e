"""How does an agent get hold of a Slurm cluster?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cesai.contract.connector import Finding, FolderReading, JobRecord, Launch, Observation, SiteUnavailable
from cesai.contract.messages import AttemptOrder, CapacitySnapshot
from cesai.kernel.clock import Clock, SystemClock
from cesai_slurm import capacity, epoch, examine, orders, records
from cesai_slurm.backend import Backend
from cesai_slurm.cli import CliBackend, Commands
from cesai_slurm.folders import Folders
from cesai_slurm.rest import RestBackend
from cesai_slurm.rows import Question
from cesai_slurm.settings import BackendName, Settings, read_settings

# Asked for when every marker was found in the queue: whether accounting answers is told all the same.
_NOBODY = "cesai-nobody-00000000000000"
# The site's clock may be ahead of ours.
_CLOCK_SLACK = timedelta(days=1)


def connect(settings: Mapping[str, object]) -> SlurmConnector:
    """A connector from the `[connector]` table of agent.toml.

    Raises:
        ValueError: a setting is missing, unknown or malformed; the sentence names it.
    """
    return assemble(read_settings(settings))


def assemble(settings: Settings, *, prefix: Sequence[str] = ()) -> SlurmConnector:
    """A connector whose commands run behind these words, as another account than the agent's."""
    commands = Commands(settings, tuple(prefix))
    backend: Backend = CliBackend(settings, commands)
    if settings.backend is BackendName.REST:
        backend = RestBackend.of(settings, commands)
    return SlurmConnector(settings, backend, Folders(settings), commands, SystemClock())


@dataclass(frozen=True, slots=True)
class SlurmConnector:
    """All abilities of the contract, on one back end."""

    settings: Settings
    backend: Backend
    folders: Folders
    commands: Commands
    clock: Clock

    def prepare(self, order: AttemptOrder) -> None:
        """Write the attempt's folder."""
        orders.refuse_unfit(order, self.settings)
        self.folders.prepare(order)

    def submit(self, order: AttemptOrder) -> str:
        """Submit, held, under the order's marker."""
        orders.refuse_unfit(order, self.settings)
        return self.backend.submit(orders.submission(order, self.settings))

    def observe(self, markers: Sequence[str], since: datetime) -> Observation:
        """Queue first, then accounting for what the queue does not have."""
        wanted = frozenset(markers)
        now = self.clock.now()
        queue = self._queue(wanted)
        found = {job.marker for job in queue or ()}
        history = self._history(sorted(wanted - found), since)
        return Observation(
            taken_at=now,
            queue_answered=queue is not None,
            accounting_answered=history is not None,
            jobs=(*(queue or ()), *(history or ())),
        )

    def _queue(self, wanted: frozenset[str]) -> tuple[JobRecord, ...] | None:
        try:
            rows = self.backend.queue()
        except SiteUnavailable:
            return None
        return tuple(records.of_queue(row) for row in rows if row.name in wanted)

    def _history(self, markers: Sequence[str], since: datetime) -> tuple[JobRecord, ...] | None:
        until = self.clock.now() + _CLOCK_SLACK
        question = Question(since=since, until=until, names=markers or [_NOBODY])
        try:
            rows = self.backend.history(question)
        except SiteUnavailable:
            return None
        # Slurm's own comparison ignores case.
        exact = frozenset(markers)
        return records.of_history([row for row in rows if row.name in exact])

    def release(self, external_ids: Sequence[str]) -> None:
        """Let held jobs run."""
        if external_ids:
            self.backend.release(external_ids)

    def cancel(self, external_ids: Sequence[str]) -> None:
        """Ask for the end of these jobs."""
        if external_ids:
            self.backend.cancel(external_ids)

    def read_folder(self, marker: str) -> FolderReading:
        """Fence, stamps and tombstone of one attempt."""
        return self.folders.read(marker)

    def bury(self, marker: str) -> bool:
        """Set the tombstone, unless a launch already holds the fence."""
        return self.folders.bury(marker)

    def read_log(self, marker: str, *, offset: int, limit: int) -> bytes:
        """Bytes of the attempt's log."""
        return self.folders.read_log(marker, offset=offset, limit=limit)

    def capacity(self) -> CapacitySnapshot:
        """What the cluster has and what it is doing."""
        return capacity.snapshot(
            about=self.backend.about(),
            backend=self.backend.name,
            cluster=self.settings.cluster,
            nodes=self.backend.nodes(),
            queue=self.backend.queue(),
            now=self.clock.now(),
        )

    def usage(self, accounts: Sequence[str], since: datetime) -> tuple[Launch, ...]:
        """Every launch under these accounts since then."""
        if not accounts:
            return ()
        until = self.clock.now() + _CLOCK_SLACK
        return records.launches(self.backend.history(Question(since=since, until=until, accounts=accounts)))

    def examine(self) -> tuple[Finding, ...]:
        """What is missing at the site and how to mend it."""
        return examine.findings(self.settings, self.backend, self.commands, now=self.clock.now)

    def cluster_identity(self) -> str:
        """One life of the cluster's job ids."""
        return epoch.identity(self.settings, self.backend)
