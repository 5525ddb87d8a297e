"""What should the ledger say? A second, simple answer that shares no code with the first.

Everything is counted minute by minute in plain dictionaries; one site, one GPU class, two quarters.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

MINUTE = 60_000  # milliseconds
NEW_YEAR = datetime(2026, 12, 31, 23, 0, tzinfo=UTC)  # midnight in Berlin
OLD, NEW = "2026-Q4", "2027-Q1"


def quarter(instant: datetime) -> str:
    """Of the two that the model knows."""
    return OLD if instant < NEW_YEAR else NEW


@dataclass
class Launch:
    """One revision of one launch."""

    kind: str
    start: datetime
    minutes: int
    gpus: int

    @property
    def amount(self) -> int:
        """GPU-milliseconds."""
        return self.minutes * self.gpus * MINUTE


@dataclass
class Attempt:
    """What was set aside for it, and what its site told."""

    project: str
    gpus: int
    reserved: int
    lines: dict[str, tuple[str, str, str]]  # quarter -> line
    pending: dict[str, int]
    is_over: bool = False
    is_fault: bool = False
    told: dict[str, dict[int, Launch]] = field(default_factory=dict)
    posted: dict[tuple[str, str, str], int] = field(default_factory=dict)  # (launch, quarter, who bears) -> amount


class Model:
    """A ledger in dictionaries."""

    def __init__(self) -> None:
        self.awarded: dict[tuple[str, str, str], int] = {}  # (project, quarter, stream), in order of award
        self.used: Counter[tuple[str, str, str]] = Counter()
        self.consumed: Counter[str] = Counter()
        self.others: Counter[str] = Counter()  # accounts without a bound
        self.attempts: dict[str, Attempt] = {}
        self.strangers: dict[str, tuple[str, dict[int, Launch]]] = {}
        self.stranger_posted: dict[tuple[str, str], int] = {}
        self.is_closed = False

    def pending(self, line: tuple[str, str, str]) -> int:
        """What is set aside on a line."""
        return sum(a.pending.get(q, 0) for a in self.attempts.values() for q, name in a.lines.items() if name == line)

    def left(self, line: tuple[str, str, str]) -> int:
        """What a line can still give."""
        return self.awarded[line] - self.used[line] - self.pending(line)

    def reserve(self, name: str, project: str, *, gpus: int, minutes: int, now: datetime, end: datetime) -> bool:
        """Whether it fits; if so it is set aside."""
        amount = gpus * minutes * MINUTE
        parts = {quarter(now): amount}
        if now < NEW_YEAR < end:
            first = (
                amount * int((NEW_YEAR - now) / timedelta(milliseconds=1)) // int((end - now).total_seconds() * 1000)
            )
            parts = {OLD: first, NEW: amount - first}
        chosen = {}
        for each in parts:
            begin, finish = (now, min(end, NEW_YEAR)) if each == OLD else (max(now, NEW_YEAR), end)
            most = min(amount, gpus * int((finish - begin) / timedelta(milliseconds=1)))
            fitting = [line for line in self.awarded if line[:2] == (project, each) and self.left(line) >= most]
            if not fitting:
                return False
            chosen[each] = fitting[0]
        self.attempts[name] = Attempt(project, gpus, amount, chosen, parts)
        return True

    def start(self, name: str, at: datetime) -> None:
        """Move what is set aside to where the attempt runs, as far as the lines bear it."""
        attempt = self.attempts[name]
        if attempt.is_over or len(attempt.lines) == 1:
            return
        minutes = attempt.reserved // MINUTE // attempt.gpus
        before = sum(at + timedelta(minutes=m) < NEW_YEAR for m in range(minutes)) * attempt.gpus * MINUTE
        change = before - attempt.pending[OLD]  # into the old quarter, or out of it
        into = OLD if change > 0 else NEW
        moved = min(abs(change), max(self.left(attempt.lines[into]), 0))
        attempt.pending[into] += moved
        attempt.pending[NEW if into == OLD else OLD] -= moved

    def book(self, name: str, launches: list[tuple[str, int, Launch]], *, is_over: bool, is_fault: bool) -> None:
        """Take in what is told; charge when over."""
        attempt = self.attempts[name]
        before = (attempt.is_over, attempt.is_fault, {key: set(told) for key, told in attempt.told.items()})
        for key, revision, launch in launches:
            attempt.told.setdefault(key, {}).setdefault(revision, launch)
        attempt.is_over |= is_over
        attempt.is_fault |= is_fault
        if before != (attempt.is_over, attempt.is_fault, {key: set(told) for key, told in attempt.told.items()}):
            self._charge(attempt)

    def _charge(self, attempt: Attempt) -> None:
        if not attempt.is_over:
            return
        room = {}
        for each, line in attempt.lines.items():
            mine = sum(amount for (_, q, who), amount in attempt.posted.items() if q == each and who == "line")
            free = 0 if self.is_closed and each == OLD else self.left(line) + attempt.pending.get(each, 0)
            room[each] = free + mine
        attempt.pending = {}
        wished = self._wished(attempt, room)
        for where in attempt.posted.keys() | wished.keys():
            if attempt.posted.get(where, 0) != wished.get(where, 0):
                self._post(attempt, where, wished.get(where, 0) - attempt.posted.get(where, 0))
        attempt.posted = wished

    def _wished(self, attempt: Attempt, room: dict[str, int]) -> dict[tuple[str, str, str], int]:
        wished: Counter[tuple[str, str, str]] = Counter()
        budget = attempt.reserved
        newest = [(told[max(told)].start, key, told[max(told)]) for key, told in attempt.told.items()]
        for _, key, launch in sorted(newest, key=lambda each: each[:2]):
            for minute in range(launch.minutes):
                when = quarter(launch.start + timedelta(minutes=minute))
                amount = launch.gpus * MINUTE
                if launch.kind == "duplicate" or attempt.is_fault:
                    wished[key, when, "duplicate" if launch.kind == "duplicate" else "site"] += amount
                    continue
                paid = max(min(amount, budget, room.get(when, 0)), 0)
                budget -= paid
                room[when] = room.get(when, 0) - paid
                wished[key, when, "line"] += paid
                wished[key, when, "overrun"] += amount - paid
        return {where: amount for where, amount in wished.items() if amount}

    def _post(self, attempt: Attempt, where: tuple[str, str, str], change: int) -> None:
        _, when, who = where
        booked = NEW if self.is_closed else when
        self.consumed[booked] += change
        if who == "line":
            project, _, stream = attempt.lines[when]
            line = (project, booked, stream)
            self.awarded.setdefault(line, 0)
            self.used[line] += change
        else:
            account = {"duplicate": "DUPLICATE:s:H100", "site": "SITE_LOSS:s:H100"}
            self.others[account.get(who, f"OVERRUN:{attempt.project}:s:H100")] += change

    def stranger(self, key: str, project: str, revision: int, launch: Launch) -> None:
        """Take in what a job did that nobody ordered."""
        owner, told = self.strangers.setdefault(key, (project, {}))
        if revision in told:
            return
        told[revision] = launch
        newest = told[max(told)]
        wished: Counter[str] = Counter()
        for minute in range(newest.minutes):
            wished[quarter(newest.start + timedelta(minutes=minute))] += newest.gpus * MINUTE
        for when in (OLD, NEW):
            change = wished[when] - self.stranger_posted.get((key, when), 0)
            self.stranger_posted[key, when] = wished[when]
            if change:
                self.others[f"UNATTRIBUTED:{owner}:s:H100"] += change
                self.consumed[NEW if self.is_closed else when] += change

    def close(self) -> bool:
        """Whether the old quarter could be closed."""
        if any(attempt.pending.get(OLD) for attempt in self.attempts.values()):
            return False
        self.is_closed = True
        return True
