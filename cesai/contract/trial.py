"""What does the conformance suite need of a site, and how does it wait for what should come?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from unittest import SkipTest

from cesai.contract.connector import FINAL, FolderReading, JobRecord, KeepsFolders, RunsJobs, SiteState, SiteUnavailable
from cesai.contract.messages import AttemptOrder
from cesai.kernel.clock import SystemClock
from cesai.kernel.ids import marker, new_id

Found = TypeVar("Found")
_PAUSE_S = 0.1
_LOG_BYTES = 256 * 1024


def claim(*, holds: bool, sentence: str) -> None:
    """Say what was promised, when it does not hold.

    Raises:
        AssertionError: it does not.
    """
    if not holds:
        raise AssertionError(sentence)


@dataclass(slots=True)
class Trial:
    """A connector at a real site, and orders that fit there."""

    connector: object
    order: AttemptOrder
    """One that can start at once when the site is idle; its marker, script and environment are replaced."""
    full: AttemptOrder | None = None
    """One that takes every GPU of the partition; None: nothing can be made to wait."""
    patience_s: float = 60
    since: datetime = field(default_factory=lambda: SystemClock().now() - timedelta(minutes=1))
    orders: list[AttemptOrder] = field(default_factory=list)

    @property
    def runs(self) -> RunsJobs:
        """The connector as one that runs jobs."""
        if not isinstance(self.connector, RunsJobs):
            msg = "this connector runs no jobs"
            raise SkipTest(msg)
        return self.connector

    @property
    def folders(self) -> KeepsFolders:
        """The connector as one that keeps folders."""
        if not isinstance(self.connector, KeepsFolders):
            msg = "this connector keeps no folders"
            raise SkipTest(msg)
        return self.connector

    def make(self, script: str, **changes: object) -> AttemptOrder:
        """A fresh order of this script."""
        return self._fresh(self.order, {"script": script, "environment": {}, **changes})

    def fill(self) -> AttemptOrder:
        """A fresh order that takes every GPU until it is cancelled."""
        if self.full is None:
            msg = "the trial has no order that fills the partition"
            raise SkipTest(msg)
        return self._fresh(self.full, {"script": "#!/bin/sh\nexec sleep 120\n"})

    def _fresh(self, order: AttemptOrder, changes: dict[str, object]) -> AttemptOrder:
        fresh = {"marker": marker(new_id(), 1), "attempt_id": str(new_id()), "ordered_at": SystemClock().now()}
        made = order.model_copy(update={**fresh, **changes})
        self.orders.append(made)
        return made

    def hold(self, order: AttemptOrder) -> str:
        """Prepare and submit; the id that was told."""
        self.runs.prepare(order)
        return self.runs.submit(order)

    def start(self, order: AttemptOrder) -> str:
        """Prepare, submit and release."""
        external_id = self.hold(order)
        self.runs.release([external_id])
        return external_id

    def run(self, script: str, **changes: object) -> tuple[AttemptOrder, JobRecord]:
        """A job of this script, from its submission to its end."""
        order = self.make(script, **changes)
        self.start(order)
        return order, self.end(order)

    def look(self, order: AttemptOrder) -> tuple[JobRecord, ...]:
        """What the site has of this order."""
        return self.runs.observe([order.marker], self.since).of(order.marker)

    def job(self, order: AttemptOrder) -> JobRecord:
        """The one job of this order.

        Raises:
            AssertionError: there is none, or several.
        """
        found = self.until(lambda: self.look(order), what="the job is found by its marker")
        claim(holds=len(found) == 1, sentence=f"one submission is one job, not {found}")
        return found[0]

    def reach(self, order: AttemptOrder, states: Sequence[SiteState] | frozenset[SiteState]) -> tuple[JobRecord, ...]:
        """All jobs of this order, as soon as each is in one of these states."""
        seen: list[JobRecord] = []

        def look() -> tuple[JobRecord, ...]:
            seen[:] = self.look(order)
            return tuple(seen) if all(job.state in states for job in seen) else ()

        wanted = ", ".join(states)
        return self.until(look, what=f"the job is {wanted}", else_shown=lambda: seen)

    def end(self, order: AttemptOrder) -> JobRecord:
        """The one job of this order, as soon as it is over."""
        return self.reach(order, FINAL)[0]

    def fence(self, order: AttemptOrder) -> FolderReading:
        """The attempt's folder, as soon as a launch holds the fence and its script is on its way."""

        def look() -> FolderReading | None:
            reading = self.folders.read_folder(order.marker)
            return reading if reading.stamps else None

        return self.until(look, what="the start fence is seen")

    def log(self, order: AttemptOrder) -> bytes:
        """The whole log, as far as it is there."""
        return self.folders.read_log(order.marker, offset=0, limit=_LOG_BYTES)

    def await_log(self, order: AttemptOrder, wanted: bytes) -> bytes:
        """The log, as soon as these bytes are in it."""
        return self.until(
            lambda: text if wanted in (text := self.log(order)) else b"",
            what=f"the log holds {wanted!r}",
            else_shown=lambda: self.log(order),
        )

    def until(
        self, look: Callable[[], Found | None], *, what: str, else_shown: Callable[[], object] | None = None
    ) -> Found:
        """The first answer that is not empty.

        Raises:
            AssertionError: none came in time.
        """
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(_PAUSE_S)
        seen = f"; last seen: {else_shown()}" if else_shown else ""
        msg = f"within {self.patience_s:g} s it did not come to pass that {what}{seen}"
        raise AssertionError(msg)

    def clean_up(self) -> None:
        """End every job that the trial began."""
        if not isinstance(self.connector, RunsJobs) or not self.orders:
            return
        seen = self.connector.observe([order.marker for order in self.orders], self.since)
        open_ids = [job.external_id for job in seen.jobs if job.state not in FINAL]
        try:
            self.connector.cancel(open_ids)
        except SiteUnavailable as error:
            msg = f"the trial's jobs {open_ids} could not be cancelled: {error}"
            raise AssertionError(msg) from error
