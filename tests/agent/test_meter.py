"""Does accounting's last word reach the hub, however late it comes and whatever it said before?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cesai.agent.config import Pace
from cesai.agent.journal import Journal
from cesai.agent.meter import Meter
from cesai.agent.rules import HeldAttempt, Owner, Phase
from cesai.agent.rules.usage import BY_STAMPS, WITHDRAWN
from cesai.contract.connector import SiteUnavailable
from cesai.contract.messages import UsageKind, UsageRecord, WrapperStamps
from cesai.kernel.states import Outcome
from tests.agent.fake_site import START, FakeSite, order


class Bench:
    """A meter at a fake site whose books the test writes."""

    def __init__(self, folder: Path) -> None:
        self.site = FakeSite()
        self.journal = Journal(folder)
        self.time = START
        self.meter = Meter(self.site, self.journal, pace=Pace(), clock=self, cluster="fake")
        self.accounts = {"proj1": START}

    def now(self) -> datetime:
        return self.time

    def turn(self, *, after_s: float = 2) -> None:
        self.time += timedelta(seconds=after_s)
        self.meter.turn(self.accounts)

    def end_attempt(self) -> None:
        stamps = WrapperStamps(started_at=START, ended_at=START + timedelta(seconds=10), exit_code=0)
        held = HeldAttempt(order=order(), accepted_at=START, tries=1, owner=Owner("1", START, 0), stamps=stamps)
        ended = replace(held, phase=Phase.ENDED, outcome=Outcome.SUCCEEDED, ended_seen_at=self.time)
        self.journal.save([ended], self.time)

    def book(self, **changes: object) -> dict[str, object]:
        row = {
            "id": "1",
            "marker": order().marker,
            "account": "proj1",
            "submitted": 0.0,
            "state": "completed",
            "gpus": 1,
            "started": 0.0,
            "ended": 10.0,
            **changes,
        }
        self.site.world.booked.append(row)
        return row

    @property
    def records(self) -> list[UsageRecord]:
        return list(self.journal.unbooked(100))

    @property
    def is_complete(self) -> bool:
        return self.journal.entries()["attempt-1"].is_usage_complete


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.journal.close()


def test_usage_is_complete_when_two_readings_say_the_same(bench: Bench) -> None:
    bench.end_attempt()
    bench.turn()
    assert not bench.is_complete, "accounting does not know it yet"
    bench.book()
    bench.turn()
    assert not bench.is_complete
    bench.turn()
    assert bench.is_complete
    assert [(record.kind, record.gpu_ms) for record in bench.records] == [(UsageKind.OWN, 10_000)]


def test_an_accounting_that_is_down_is_waited_for(bench: Bench) -> None:
    bench.end_attempt()
    bench.site.world.is_accounting_silent = True
    measured = [bench.meter.turn(bench.accounts) for _ in range(4)]
    assert all(each.trouble for each in measured)
    assert [each.again_s for each in measured] == sorted(each.again_s for each in measured)
    bench.time += timedelta(hours=3)
    bench.site.world.is_accounting_silent = False
    bench.turn()
    assert not bench.is_complete, "its rows may come a few seconds after it"
    bench.book()
    bench.turn()
    bench.turn()
    assert bench.is_complete
    assert [record.state for record in bench.records] == ["COMPLETED"]


def test_the_stamps_stand_in_for_an_end_that_accounting_never_tells(bench: Bench) -> None:
    bench.end_attempt()
    bench.book(state="running", ended=None)
    bench.turn()
    bench.turn(after_s=119)
    assert not bench.is_complete
    bench.turn()
    assert bench.is_complete
    assert [(record.state, record.gpu_ms) for record in bench.records] == [(BY_STAMPS, 10_000)]


def test_a_correction_after_the_end_is_told_as_the_next_revision(bench: Bench) -> None:
    bench.end_attempt()
    row = bench.book()
    bench.turn()
    bench.turn()
    first = bench.records[0]
    bench.journal.booked([(first.key, first.revision)])
    bench.journal.settle(["attempt-1"], bench.time)
    row["ended"] = 7.0
    bench.turn(after_s=60)
    (news,) = bench.records
    assert (news.key, news.revision, news.gpu_ms, news.attempt_id) == (first.key, 2, 7_000, "attempt-1")


def test_a_row_that_accounting_drops_for_good_costs_nothing_and_costs_again_when_it_comes_back(bench: Bench) -> None:
    bench.end_attempt()
    row = bench.book()
    bench.turn()
    bench.turn()
    bench.site.world.booked.clear()
    bench.turn()
    bench.turn(after_s=30)
    assert bench.records[0].state == "COMPLETED", "it leaves rows out now and then"
    bench.turn(after_s=40)
    assert (bench.records[0].state, bench.records[0].gpu_ms, bench.records[0].revision) == (WITHDRAWN, 0, 2)
    bench.site.world.booked.append(row)
    bench.turn()
    assert (bench.records[0].state, bench.records[0].gpu_ms, bench.records[0].revision) == ("COMPLETED", 10_000, 3)


def test_a_strangers_job_under_a_hub_account_is_told_as_nobodys(bench: Bench) -> None:
    bench.book(id="9", marker="my-own-job")
    bench.book(id="10", marker="old-job", submitted=-7200.0, started=-7200.0, ended=-7000.0)
    bench.book(id="11", marker="other", account="chemistry")
    bench.turn()
    (record,) = bench.records
    assert (record.kind, record.external_id, record.attempt_id) == (UsageKind.UNATTRIBUTED, "9", None)


def test_a_new_life_of_the_site_is_a_new_epoch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.meter.epoch == "unknown"
    bench.turn()
    assert bench.meter.epoch == "fake-1"
    monkeypatch.setattr(bench.site, "cluster_identity", lambda: "fake-2")
    bench.turn()
    assert bench.meter.epoch == "fake-2"


def test_a_site_that_gives_no_answer_keeps_the_epoch_it_had(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.turn()

    def silent() -> str:
        msg = "no answer"
        raise SiteUnavailable(msg)

    monkeypatch.setattr(bench.site, "cluster_identity", silent)
    bench.turn()
    assert bench.meter.epoch == "fake-1"
