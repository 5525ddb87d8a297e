"""What does the cluster have, and what was used of it?

Runs in a worker thread of its own with its own connector: accounting may be slow without delaying a release.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cesai.agent.config import Pace
from cesai.agent.journal import Entry, Journal, StoredUsage
from cesai.agent.rules import Phase
from cesai.agent.rules.usage import (
    Told,
    is_due,
    is_told_whole,
    reading,
    revise,
    tell,
    tell_by_stamps,
    withdraw,
)
from cesai.contract.connector import HasEpoch, Launch, SiteUnavailable, TellsCapacity, TellsUsage
from cesai.contract.messages import CapacitySnapshot
from cesai.kernel.clock import Clock
from cesai.kernel.crash import CrashPoint, reach

log = logging.getLogger(__name__)

SLACK = timedelta(hours=1)  # accounting is asked from so long before what is wanted
FIRST_LOOK_BACK = timedelta(days=1)
LONG_LOOK_EVERY = timedelta(hours=6)
MISSED_FOR = timedelta(seconds=60)  # without a launch before it counts as withdrawn
UNKNOWN_EPOCH = "unknown"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one turn of the meter brought."""

    again_s: float
    has_news: bool = False
    capacity: CapacitySnapshot | None = None
    trouble: str | None = None


class Meter:
    """Reads capacity and accounting; keeps what it has read only to see whether the next reading is the same."""

    def __init__(self, connector: object, journal: Journal, *, pace: Pace, clock: Clock, cluster: str) -> None:
        self._connector, self._journal, self._pace, self._clock = connector, journal, pace, clock
        self._cluster = cluster
        self._readings: dict[str, frozenset[tuple[object, ...]]] = {}
        self._missed: dict[str, datetime] = {}
        self._owed_since: dict[str, datetime] = {}
        self._read_at: datetime | None = None
        self._long_look_at: datetime | None = None
        self._capacity_at: datetime | None = None
        self._silent_turns = 0

    @property
    def epoch(self) -> str:
        """The life of the site's job ids, as last heard."""
        return self._journal.read("site_epoch") or UNKNOWN_EPOCH

    def turn(self, accounts: Mapping[str, datetime]) -> Measured:
        """Read what is due; `accounts` are the hub's, each with the instant since when.

        Raises:
            JournalBroken: usage could not be written; it is read again.
        """
        now = self._clock.now()
        try:
            self._hear_epoch()
            capacity = self._capacity(now)
            has_news = self._usage(accounts, now)
        except SiteUnavailable as error:
            self._silent_turns += 1
            log.warning("not measured: %s", error)
            again = min(self._pace.quick_seconds * 2.0 ** min(self._silent_turns, 16), self._pace.max_backoff_seconds)
            return Measured(again_s=again, trouble=str(error))
        self._silent_turns = 0
        return Measured(again_s=self._again(), has_news=has_news or capacity is not None, capacity=capacity)

    def _hear_epoch(self) -> None:
        heard = self._connector.cluster_identity()[:200] if isinstance(self._connector, HasEpoch) else "site"
        former = self._journal.read("site_epoch")
        if heard == former:
            return
        if former is not None:
            log.warning("site epoch changed from %s to %s: the scheduler lost its state", former, heard)
        self._journal.write("site_epoch", heard)

    def _capacity(self, now: datetime) -> CapacitySnapshot | None:
        if not isinstance(self._connector, TellsCapacity):
            return None
        due = timedelta(seconds=self._pace.capacity_seconds)
        if self._capacity_at is not None and now - self._capacity_at < due:
            return None
        snapshot = self._connector.capacity()
        self._capacity_at = now
        return snapshot

    # Usage

    def _usage(self, accounts: Mapping[str, datetime], now: datetime) -> bool:
        entries = self._journal.entries()
        owed = {key: entry for key, entry in entries.items() if not entry.is_usage_complete}
        asked = set(accounts) | {entry.held.order.account for entry in entries.values()}
        if not asked:
            return False
        since = self._since(owed.values(), now)
        launches = self._read(sorted(asked), since, now=now)
        mine = self._journal.by_marker(launch.name for launch in launches)
        held = {marker: entry.held for marker, entry in mine.items()}
        launches = tuple(launch for launch in launches if launch.name in held or is_due(launch, accounts))
        fresh = tell(launches, held, epoch=self.epoch, cluster=self._cluster)
        stand_ins = self._stand_ins(owed.values(), fresh, now=now)
        has_news = self._store((*fresh, *stand_ins), asked, since=since, now=now)
        whole = self._told_whole(owed.values(), launches, now=now)
        self._owed_since = {key: since for key, since in self._owed_since.items() if key in owed}
        return self._journal.complete_usage(whole, now) or has_news

    def _since(self, owed: Iterable[Entry], now: datetime) -> datetime:
        """From the oldest attempt whose usage is owed; a few times a day from as far back as corrections may come."""
        since = min([entry.held.accepted_at for entry in owed], default=now)
        since = min(since, self._read_at or now - FIRST_LOOK_BACK) - SLACK
        if self._long_look_at is not None and now - self._long_look_at < LONG_LOOK_EVERY:
            return since
        self._long_look_at = now
        return min(since, now - timedelta(days=self._pace.correction_days))

    def _read(self, accounts: Sequence[str], since: datetime, *, now: datetime) -> tuple[Launch, ...]:
        if not isinstance(self._connector, TellsUsage):
            return ()
        launches = self._connector.usage(accounts, since)
        self._read_at = now
        return launches

    def _stand_ins(self, owed: Iterable[Entry], fresh: Sequence[Told], *, now: datetime) -> list[Told]:
        """The wrapper's stamps where accounting owes an end for too long, or where there is no accounting."""
        told = {(each.record.attempt_id, each.record.external_id) for each in fresh}
        found = []
        for entry in owed:
            owner = entry.held.owner
            if owner is None or (entry.held.attempt_id, owner.external_id) in told:
                continue
            if self._is_out_of_patience(entry, now):
                found.append(tell_by_stamps(entry.held, epoch=self.epoch))
        return [each for each in found if each is not None]

    def _is_out_of_patience(self, entry: Entry, now: datetime) -> bool:
        if entry.held.phase is not Phase.ENDED:
            return False
        if not isinstance(self._connector, TellsUsage):
            return True
        # Counted from the first answer after the end: an accounting that was down needs its time to catch up.
        since = self._owed_since.setdefault(entry.held.attempt_id, now)
        return now - since >= timedelta(seconds=self._pace.usage_patience_seconds)

    def _store(self, fresh: Sequence[Told], accounts: Container[str], *, since: datetime, now: datetime) -> bool:
        stored = {
            each.record.key: Told(each.record, each.launch)
            for each in (
                *self._journal.usage_of_launches(each.launch for each in fresh),
                *self._journal.usage_since(since + SLACK / 2),
            )
        }
        news, missing = revise(list(stored.values()), fresh)
        gone = [each for each in missing if each.record.account in accounts and _ended_after(each, since + SLACK / 2)]
        news = (*news, *self._withdrawn(gone, now))
        if not news:
            return False
        self._journal.save_usage([StoredUsage(each.record, each.launch, 0) for each in news])
        reach(CrashPoint.AGENT_USAGE_JOURNALED)
        for record in (each.record for each in news):
            words = (record.external_id, record.revision, record.kind, record.gpu_ms)
            log.info("usage: id=%s revision=%d kind=%s gpu_ms=%d", *words)
        return True

    def _withdrawn(self, missing: Sequence[Told], now: datetime) -> tuple[Told, ...]:
        """Accounting leaves rows out now and then: only if one is missing for a while is it gone."""
        keys = {each.record.key for each in missing}
        self._missed = {key: self._missed.get(key, now) for key in keys}
        gone = [withdraw(each) for each in missing if now - self._missed[each.record.key] >= MISSED_FOR]
        return tuple(each for each in gone if each is not None)

    def _told_whole(self, owed: Iterable[Entry], launches: Sequence[Launch], *, now: datetime) -> list[str]:
        """Ended, every launch has its end, and the reading before said the same."""
        by_marker: Mapping[str, list[Launch]] = _by_name(launches)
        whole = []
        former, self._readings = self._readings, {}
        for entry in owed:
            if entry.held.phase is not Phase.ENDED:
                continue
            found = by_marker.get(entry.held.marker, [])
            told = self._readings[entry.held.attempt_id] = reading(found)
            is_settled = is_told_whole(entry.held, found) and former.get(entry.held.attempt_id) == told
            if is_settled or self._is_out_of_patience(entry, now):
                whole.append(entry.held.attempt_id)
        return whole

    def _again(self) -> float:
        owes = any(
            entry.held.phase is Phase.ENDED and not entry.is_usage_complete
            for entry in self._journal.entries().values()
        )
        soon = min(self._pace.usage_seconds, self._pace.capacity_seconds)
        return min(self._pace.quick_seconds * 2, soon) if owes else soon


def _ended_after(told: Told, since: datetime) -> bool:
    """Whether a reading from then on had to show it."""
    return told.record.ended_at is not None and told.record.ended_at >= since


def _by_name(launches: Sequence[Launch]) -> dict[str, list[Launch]]:
    found: dict[str, list[Launch]] = defaultdict(list)
    for launch in launches:
        found[launch.name].append(launch)
    return found
