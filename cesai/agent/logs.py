"""Which bytes of which logs is somebody at the hub waiting for?

Runs in a worker thread of its own with its own connector. A want is followed until the hub no longer names it.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cesai.agent.journal import Journal
from cesai.agent.rules import Phase
from cesai.contract.connector import KeepsFolders, SiteUnavailable
from cesai.contract.messages import LogRange, LogWant

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LogReader:
    """Reads ranges; remembers only which log was found at its end once already."""

    connector: object
    journal: Journal
    bytes_per_attempt: int

    def read(
        self, wants: Sequence[LogWant], seen_ends: Mapping[str, int]
    ) -> tuple[tuple[LogRange, ...], dict[str, int]]:
        """The ranges that are there now, and how often each log was seen at its end after the attempt's."""
        ranges: list[LogRange] = []
        ends: dict[str, int] = {}
        for want in wants:
            found = self._range(want)
            if found is not None:
                ranges.append(found)
            elif self._has_ended(want.attempt_id):
                ends[want.attempt_id] = seen_ends.get(want.attempt_id, 0) + 1
                # Twice: the last lines may come late through a shared file system.
                if ends[want.attempt_id] > 1:
                    ranges.append(_end(want))
        return tuple(ranges), ends

    def _range(self, want: LogWant) -> LogRange | None:
        entry = self.journal.find(want.attempt_id)
        if entry is None:
            return None  # its order is not written down yet
        if not isinstance(self.connector, KeepsFolders):
            return _end(want)
        limit = min(want.limit, self.bytes_per_attempt - want.offset)
        if limit <= 0:
            return _end(want)
        try:
            found = self.connector.read_log(entry.held.marker, offset=want.offset, limit=limit)
        except SiteUnavailable as error:
            log.warning("log not read: marker=%s: %s", entry.held.marker, error)
            return None
        if not found:
            return None
        text = base64.b64encode(found).decode()
        return LogRange(attempt_id=want.attempt_id, offset=want.offset, base64=text)

    def _has_ended(self, attempt_id: str) -> bool:
        entry = self.journal.find(attempt_id)
        return entry is not None and entry.held.phase is Phase.ENDED


def _end(want: LogWant) -> LogRange:
    return LogRange(attempt_id=want.attempt_id, offset=want.offset, base64="", is_end=True)
