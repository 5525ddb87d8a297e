"""What does the agent still know after a crash?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter

from cesai.agent.journal_file import JournalBroken, JournalFile
from cesai.agent.rules import HeldAttempt, Phase, report
from cesai.contract.messages import AttemptReport, UsageRecord

_HELD = TypeAdapter(HeldAttempt)
_MANY = 500  # values in one question


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt as it is journaled."""

    held: HeldAttempt
    report: AttemptReport
    is_usage_complete: bool = False
    settled_at: datetime | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredUsage:
    """One usage record as it is journaled."""

    record: UsageRecord
    launch: str
    booked_revision: int


class Journal:
    """The typed door to the file; every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._file = JournalFile(folder)
        self._entries: dict[str, Entry] = {}
        self._sequence = 0
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Let go of the file and the lock."""
        self._file.close()

    # Identity

    @property
    def instance_id(self) -> str:
        """Made once; a second one with the same key is a cloned agent."""
        return self.read("instance_id") or ""

    def next_sequence(self) -> int:
        """One more than ever before; while nothing can be written it goes on in memory alone."""
        with self._file.mutex:
            self._sequence += 1
            with suppress(JournalBroken):
                self.write("sequence", str(self._sequence))
            return self._sequence

    def skip_sequence(self, by: int) -> None:
        """Leave a gap: after a time without journal the hub has heard higher numbers than the file has."""
        with self._file.mutex:
            self._sequence += by

    def read(self, name: str) -> str | None:
        """One remembered word."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else None

    def write(self, name: str, value: str) -> None:
        """Remember one word.

        Raises:
            JournalBroken: it is not on the disk.
        """
        with self._file.writing() as rows:
            rows.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def probe(self) -> None:
        """Write something, to learn whether that is possible.

        Raises:
            JournalBroken: it is not.
        """
        self.write("probe", str(uuid4()))

    def accounts(self) -> dict[str, datetime]:
        """The hub's accounts at this site, each with the instant at which the hub named it first."""
        return {account: since for account, (since, is_named) in self._accounts().items() if is_named}

    def keep_accounts(self, accounts: Iterable[str], now: datetime) -> None:
        """Remember which accounts the hub names now; one that it names again keeps its first instant.

        Raises:
            JournalBroken: it is not on the disk.
        """
        former = self._accounts()
        kept = {account: (since, False) for account, (since, _) in former.items()}
        kept |= {account: (former.get(account, (now, True))[0], True) for account in accounts}
        if kept != former:
            told = {account: [since.isoformat(), is_named] for account, (since, is_named) in sorted(kept.items())}
            self.write("accounts", json.dumps(told))

    def _accounts(self) -> dict[str, tuple[datetime, bool]]:
        told = json.loads(self.read("accounts") or "{}")
        return {account: (datetime.fromisoformat(since), is_named) for account, (since, is_named) in told.items()}

    # Attempts

    def entries(self) -> dict[str, Entry]:
        """Every attempt that the hub has not settled, by its id."""
        with self._file.mutex:
            return dict(self._entries)

    def find(self, attempt_id: str) -> Entry | None:
        """One attempt, settled or not."""
        with self._file.mutex:
            if attempt_id in self._entries:
                return self._entries[attempt_id]
            with self._file.reading() as rows:
                found = rows.execute(f"{_SELECT} WHERE attempt_id = ?", (attempt_id,)).fetchone()
            return _entry(found) if found else None

    def by_marker(self, markers: Iterable[str]) -> dict[str, Entry]:
        """The attempts that these markers name, archived ones too."""
        found: dict[str, Entry] = {}
        for part in _parts(sorted(set(markers))):
            marks = ", ".join("?" * len(part))
            with self._file.reading() as rows:
                answer = rows.execute(f"{_SELECT} WHERE marker IN ({marks})", part).fetchall()
            found.update({entry.held.marker: entry for entry in map(_entry, answer)})
        return found

    def save(self, helds: Sequence[HeldAttempt], now: datetime) -> bool:
        """Write these attempts down, all or none; True when a report changed by it.

        Raises:
            JournalBroken: nothing of it is on the disk.
        """
        with self._file.mutex:
            entries = [self._renewed(held, now) for held in helds]
            if entries:
                with self._file.writing() as rows:
                    rows.executemany(_UPSERT, [_row(entry) for entry in entries])
            changed = [entry for entry in entries if self._is_news(entry)]
            self._entries.update({entry.held.attempt_id: entry for entry in entries})
            return bool(changed)

    def complete_usage(self, attempt_ids: Iterable[str], now: datetime) -> bool:
        """Accounting has told the whole of these attempts; True when that is news."""
        with self._file.mutex:
            entries = []
            for attempt_id in attempt_ids:
                entry = self._entries.get(attempt_id)
                if entry is None or entry.is_usage_complete:
                    continue
                sequence = entry.report.sequence + 1
                told = report(entry.held, sequence=sequence, is_usage_complete=True)
                entries.append(replace(entry, report=told, is_usage_complete=True, changed_at=now))
            if entries:
                with self._file.writing() as rows:
                    rows.executemany(_UPSERT, [_row(entry) for entry in entries])
                self._entries.update({entry.held.attempt_id: entry for entry in entries})
            return bool(entries)

    def settle(self, attempt_ids: Iterable[str], now: datetime) -> None:
        """The hub has booked the end of these: they are not reported any more."""
        with self._file.mutex:
            known = [attempt_id for attempt_id in attempt_ids if attempt_id in self._entries]
            ended = [each for each in known if self._entries[each].held.phase is Phase.ENDED]
            if not ended:
                return
            with self._file.writing() as rows:
                rows.executemany(
                    "UPDATE attempt SET settled_at = ? WHERE attempt_id = ?",
                    [(now.isoformat(), attempt_id) for attempt_id in ended],
                )
            for attempt_id in ended:
                del self._entries[attempt_id]

    def unsettle(self, attempt_ids: Iterable[str]) -> None:
        """The hub asks again for attempts that it had settled (it was restored, perhaps): report them again."""
        with self._file.mutex:
            for attempt_id in attempt_ids:
                with self._file.writing() as rows:
                    rows.execute("UPDATE attempt SET settled_at = NULL WHERE attempt_id = ?", (attempt_id,))
                entry = self.find(attempt_id)
                if entry is not None:
                    self._entries[attempt_id] = replace(entry, settled_at=None)

    def archive(self, *, before: datetime, now: datetime) -> int:
        """Forget scripts and environments of what was settled before then; who ran under which marker stays."""
        with self._file.writing() as rows:
            done = rows.execute(
                "UPDATE attempt SET archived_at = ?, held = json_set(held, '$.order.script', '',"
                " '$.order.environment', json('{}')) WHERE settled_at < ? AND archived_at IS NULL",
                (now.isoformat(), before.isoformat()),
            )
            return done.rowcount

    def forget(self, *, before: datetime) -> None:
        """Drop what was settled, and usage that was booked, before then."""
        with self._file.writing() as rows:
            rows.execute("DELETE FROM attempt WHERE settled_at < ?", (before.isoformat(),))
            rows.execute("DELETE FROM usage WHERE ended_at < ? AND booked_revision >= revision", (_utc(before),))

    # Usage

    def save_usage(self, records: Sequence[StoredUsage]) -> None:
        """Write these usage records down, all or none.

        Raises:
            JournalBroken: nothing of it is on the disk.
        """
        if not records:
            return
        with self._file.writing() as rows:
            rows.executemany(
                "INSERT INTO usage (key, launch, attempt_id, ended_at, revision, record) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET attempt_id = excluded.attempt_id, ended_at = excluded.ended_at,"
                " revision = excluded.revision, record = excluded.record WHERE excluded.revision > usage.revision",
                [_usage_row(each) for each in records],
            )

    def usage_of_launches(self, launches: Iterable[str]) -> tuple[StoredUsage, ...]:
        """What is stored of these launches."""
        found: list[StoredUsage] = []
        for part in _parts(sorted(set(launches))):
            marks = ", ".join("?" * len(part))
            with self._file.reading() as rows:
                answer = rows.execute(f"{_SELECT_USAGE} WHERE launch IN ({marks})", part).fetchall()
            found += map(_stored_usage, answer)
        return tuple(found)

    def usage_since(self, since: datetime) -> tuple[StoredUsage, ...]:
        """What is stored of launches that ended since then."""
        with self._file.reading() as rows:
            answer = rows.execute(f"{_SELECT_USAGE} WHERE ended_at >= ?", (_utc(since),)).fetchall()
        return tuple(map(_stored_usage, answer))

    def unbooked(self, limit: int) -> tuple[UsageRecord, ...]:
        """Usage that the hub has not confirmed."""
        with self._file.reading() as rows:
            found = rows.execute(
                "SELECT record FROM usage WHERE revision > booked_revision ORDER BY key LIMIT ?", (limit,)
            ).fetchall()
        return tuple(UsageRecord.model_validate_json(row[0]) for row in found)

    def booked(self, keys: Sequence[tuple[str, int]]) -> None:
        """The hub has stored these revisions: they are not sent again."""
        if not keys:
            return
        with self._file.writing() as rows:
            rows.executemany(
                "UPDATE usage SET booked_revision = max(booked_revision, ?) WHERE key = ?",
                [(revision, key) for key, revision in keys],
            )

    # Below: the file

    def _renewed(self, held: HeldAttempt, now: datetime) -> Entry:
        former = self._entries.get(held.attempt_id) or self.find(held.attempt_id)
        if former is None:
            return Entry(held, report(held), changed_at=now)
        told = report(held, sequence=former.report.sequence, is_usage_complete=former.is_usage_complete)
        if told != former.report:
            told = told.model_copy(update={"sequence": former.report.sequence + 1})
        return replace(former, held=held, report=told, changed_at=now)

    def _is_news(self, entry: Entry) -> bool:
        former = self._entries.get(entry.held.attempt_id)
        return former is None or former.report.sequence != entry.report.sequence

    def _load(self) -> None:
        if self.read("instance_id") is None:
            self.write("instance_id", str(uuid4()))
        self._sequence = int(self.read("sequence") or 0)
        with self._file.reading() as rows:
            found = rows.execute(f"{_SELECT} WHERE settled_at IS NULL").fetchall()
        self._entries = {entry.held.attempt_id: entry for entry in map(_entry, found)}


_SELECT_USAGE = "SELECT record, launch, booked_revision FROM usage"
_SELECT = "SELECT held, report, is_usage_complete, settled_at, changed_at FROM attempt"
_UPSERT = """
INSERT INTO attempt (attempt_id, marker, phase, external_id, submit_time, held, report, report_sequence,
                     is_usage_complete, changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (attempt_id) DO UPDATE SET phase = excluded.phase, external_id = excluded.external_id,
  submit_time = excluded.submit_time, held = excluded.held, report = excluded.report,
  report_sequence = excluded.report_sequence, is_usage_complete = excluded.is_usage_complete,
  changed_at = excluded.changed_at
"""


def _row(entry: Entry) -> tuple[object, ...]:
    held = entry.held
    return (
        held.attempt_id,
        held.marker,
        held.phase.value,
        held.external_id,
        held.submit_time.isoformat() if held.submit_time else None,
        _HELD.dump_json(held, exclude={"watch"}).decode(),
        _json(entry.report),
        entry.report.sequence,
        int(entry.is_usage_complete),
        entry.changed_at.isoformat() if entry.changed_at else "",
    )


def _entry(row: Sequence[str]) -> Entry:
    held, told, is_usage_complete, settled_at, changed_at = row
    return Entry(
        held=_HELD.validate_json(held),
        report=AttemptReport.model_validate_json(told),
        is_usage_complete=bool(is_usage_complete),
        settled_at=datetime.fromisoformat(settled_at) if settled_at else None,
        changed_at=datetime.fromisoformat(changed_at) if changed_at else None,
    )


def _usage_row(each: StoredUsage) -> tuple[object, ...]:
    record = each.record
    ended_at = _utc(record.ended_at) if record.ended_at else None
    return (record.key, each.launch, record.attempt_id, ended_at, record.revision, _json(record))


def _stored_usage(row: Sequence[Any]) -> StoredUsage:
    return StoredUsage(UsageRecord.model_validate_json(row[0]), row[1], row[2])


def _utc(when: datetime) -> str:
    """Text that sorts by time."""
    return when.astimezone(UTC).isoformat(timespec="seconds")


def _json(message: AttemptReport | UsageRecord) -> str:
    return message.model_dump_json()


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _MANY):
        yield values[start : start + _MANY]
