"""Does the ledger, on the real database, always say what the simple model says?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cesai.access.rules import Caller
from cesai.allocations import service
from cesai.allocations.rules import Usage
from cesai.db.paging import PageRequest
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period
from tests.allocations.funding import fund
from tests.allocations.model import MINUTE, NEW_YEAR, OLD, Launch, Model

BY = Caller(principal_id=uuid4(), username="olga", name="Olga", memberships=frozenset())
HOUR = 60 * MINUTE
PATIENCE = timedelta(hours=24)
SELDOM = 5
# In minutes of GPU time; small, so that lines are often short of a little.
AWARDS = (
    ("a", "2026-Q4", "default", 900),
    ("a", "2026-Q4", "extra", 300),
    ("a", "2027-Q1", "default", 500),
    ("b", "2026-Q4", "default", 600),
    ("b", "2027-Q1", "default", 300),
)
STEPS = st.integers(-20, 8).map(lambda half_hours: half_hours * 30)


@dataclass(frozen=True)
class Report:
    """What a site may tell of an attempt's launch."""

    key: str
    revision: int
    kind: str
    after: int
    minutes: int


REPORTS = st.builds(
    Report,
    key=st.sampled_from("xyz"),
    revision=st.integers(1, 3),
    kind=st.sampled_from(("own", "own", "own", "duplicate")),
    after=STEPS,
    minutes=st.one_of(st.just(0), st.integers(1, 420)),
)


class LedgerMachine(RuleBasedStateMachine):
    """Sets aside, starts, charges, corrects, repeats and closes at random, and compares after every step."""

    attempts = Bundle("attempts")

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.connection = engine.connect()
        self.transaction = self.connection.begin()
        self.db = Session(self.connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        self.model = Model()
        self.ids: dict[str, UUID] = {}
        self.step = 0

    def teardown(self) -> None:
        self.db.close()
        self.transaction.rollback()
        self.connection.close()

    @initialize(hours=st.sampled_from((-16, -10, -3, -60)))
    def awards(self, hours: int) -> None:
        self.now = NEW_YEAR + timedelta(hours=hours)
        for project, period, stream, minutes in AWARDS:
            fund(self.db, project, Period.parse(period), minutes * MINUTE, stream=stream, now=self.now)
            self.model.awarded[project, period, stream] = minutes * MINUTE

    @rule(target=attempts, project=st.sampled_from("ab"), gpus=st.integers(1, 2), minutes=st.integers(1, 240))
    def reserve(self, project: str, gpus: int, minutes: int):
        name = f"t{len(self.ids)}"
        self.ids[name] = uuid4()
        end = self.now + PATIENCE + timedelta(minutes=minutes)
        fits = self.model.reserve(name, project, gpus=gpus, minutes=minutes, now=self.now, end=end)
        for _ in range(2):  # a retry meets its own rows
            assert self._reserve(name, project, gpus, minutes=minutes, end=end) is fits
        return name if fits else multiple()

    def _reserve(self, name: str, project: str, gpus: int, *, minutes: int, end) -> bool:
        try:
            service.reserve(
                self.db,
                attempt_id=self.ids[name],
                project_id=project,
                site_id="s",
                gpu_class="H100",
                gpus=gpus,
                amount=GpuMilliseconds(gpus * minutes * MINUTE),
                now=self.now,
                latest_end=end,
            )
        except Refused:
            return False
        return True

    @rule(name=attempts, minutes=STEPS)
    def start(self, name: str, minutes: int) -> None:
        at = self.now + timedelta(minutes=minutes)
        self.model.start(name, at)
        service.started(self.db, attempt_id=self.ids[name], started_at=at, now=self.now)

    @rule(name=attempts, report=REPORTS)
    def report(self, name: str, report: Report) -> None:
        self._tell(name, report, is_over=False, is_fault=False)

    @rule(name=attempts, report=REPORTS, is_fault=st.sampled_from((False, False, False, True)))
    def end(self, name: str, report: Report, *, is_fault: bool) -> None:
        self._tell(name, report, is_over=True, is_fault=is_fault)

    def _tell(self, name: str, report: Report, *, is_over: bool, is_fault: bool) -> None:
        attempt = self.model.attempts[name]
        start = self.now + timedelta(minutes=report.after)
        launch = Launch(report.kind, start, report.minutes, attempt.gpus)
        launch = attempt.told.get(report.key, {}).get(report.revision, launch)
        told = [(report.key, report.revision, launch)]
        self.model.book(name, told, is_over=is_over, is_fault=is_fault)
        self._book(name, told, is_over=is_over, is_fault=is_fault)

    @rule(name=attempts, random=st.randoms(use_true_random=False))
    def tell_everything_again(self, name: str, random) -> None:
        attempt = self.model.attempts[name]
        if not attempt.told:
            self._release(name)
        told = [(key, revision, launch) for key, all_ in attempt.told.items() for revision, launch in all_.items()]
        random.shuffle(told)
        self._book(name, told * 2, is_over=attempt.is_over, is_fault=attempt.is_fault)

    def _release(self, name: str) -> None:
        self.model.book(name, [], is_over=True, is_fault=False)
        service.release(self.db, attempt_id=self.ids[name], now=self.now)

    def _book(self, name: str, told: list[tuple[str, int, Launch]], *, is_over: bool, is_fault: bool) -> None:
        usage = [self._usage(f"{name}/{key}", revision, launch) for key, revision, launch in told]
        booked = service.book(
            self.db, attempt_id=self.ids[name], usage=usage, is_over=is_over, is_site_fault=is_fault, now=self.now
        )
        posted = self.model.attempts[name].posted
        said = (booked.settled, booked.overrun, booked.duplicate, booked.site_loss)
        for amount, who in zip(said, ("line", "overrun", "duplicate", "site"), strict=True):
            assert amount.value == sum(value for where, value in posted.items() if where[2] == who), who

    def _usage(self, key: str, revision: int, launch: Launch) -> Usage:
        end = launch.start + timedelta(minutes=launch.minutes)
        return Usage(key, revision, launch.kind, launch.start, end, launch.gpus, GpuMilliseconds(launch.amount))

    @rule(
        key=st.sampled_from("uv"),
        project=st.sampled_from("ab"),
        revision=st.integers(1, 3),
        after=STEPS,
        minutes=st.integers(0, 200),
    )
    def stranger(self, key: str, project: str, revision: int, after: int, minutes: int) -> None:
        launch = Launch("own", self.now + timedelta(minutes=after), minutes, 2)
        launch = self.model.strangers.get(key, ("", {}))[1].get(revision, launch)
        self.model.stranger(key, project, revision, launch)
        usage = [self._usage(key, revision, launch)]
        service.book_unattributed(self.db, site_id="s", project_id=project, gpu_class="H100", usage=usage, now=self.now)

    @rule(hours=st.sampled_from((1, 2)))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @precondition(lambda self: len(self.ids) > 5)
    @rule(is_all_over=st.booleans())
    def the_year_passes(self, *, is_all_over: bool) -> None:
        self.now = max(self.now, NEW_YEAR + timedelta(hours=1))
        for name in self.model.attempts if is_all_over else ():
            self._release(name)
        is_closed = self.model.is_closed or self.model.close()
        try:
            service.close_period(self.db, Period.parse(OLD), by=BY, now=self.now)
        except Refused:
            assert not is_closed
        else:
            assert is_closed

    @invariant()
    def lines_are_as_the_model_says(self) -> None:
        for project in "ab":
            for line in service.lines(self.db, project):
                key = (project, str(line.period), line.stream)
                said = (line.awarded.value, line.pending.value, line.posted.value)
                assert said == (self.model.awarded[key], self.model.pending(key), self.model.used[key]), key

    @invariant()
    def the_rest_is_as_the_model_says_and_holds(self) -> None:
        # Nothing is ever taken out of the journal: what is wrong once is still there a few steps later.
        self.step += 1
        if self.step % SELDOM == 0:
            self._compare_other_accounts()
            assert service.broken(self.db) == ()

    def _compare_other_accounts(self) -> None:
        found = service.balances(self.db, PageRequest(limit=200)).items
        said = {each.account: each.balance.value for each in found if each.kind not in {"LINE", "POOL", "SUPPLY"}}
        model = {f"CONSUMED:s:H100:{period}": amount for period, amount in self.model.consumed.items()}
        model |= self.model.others
        assert {name: value for name, value in said.items() if value} == {
            name: value for name, value in model.items() if value
        }


def run(engine: Engine, *, examples: int, steps: int) -> None:
    """Try this many histories of this many steps; the same ones every time."""
    run_state_machine_as_test(
        lambda: LedgerMachine(engine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
