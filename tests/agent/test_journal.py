"""Does the journal keep what it promised to keep, and say when it cannot?"""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cesai.agent.journal import Journal, StoredUsage
from cesai.agent.journal_file import AlreadyRunning, JournalBroken
from cesai.agent.rules import HeldAttempt, Owner, Phase, Watch
from cesai.contract.messages import UsageKind, UsageRecord, WrapperStamps
from cesai.kernel.states import AttemptState, Outcome
from tests.agent.fake_site import order

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@contextmanager
def full_disk(at: int = 0) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state")
    yield journal
    journal.close()


def reopened(journal: Journal, tmp_path: Path) -> Journal:
    journal.close()
    return Journal(tmp_path / "state")


def held(number: int = 1) -> HeldAttempt:
    return HeldAttempt(order=order(number), accepted_at=NOW)


def usage(revision: int = 1, key: str = "fake/1") -> StoredUsage:
    record = UsageRecord(
        key=key,
        revision=revision,
        kind=UsageKind.UNATTRIBUTED,
        attempt_id=None,
        account="proj1",
        cluster="fake",
        partition="gpu",
        external_id="1",
        state="COMPLETED",
        started_at=NOW,
        ended_at=NOW,
        gpus=1,
        gpu_ms=revision * 1000,
        is_final=True,
    )
    return StoredUsage(record, "1@x", 0)


def test_everything_held_is_there_again_after_a_restart_except_what_only_this_process_needs(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    full = replace(
        held(),
        phase=Phase.ENDED,
        tries=2,
        owner=Owner("7", NOW, 0),
        stamps=WrapperStamps(started_at=NOW, ended_at=NOW, exit_code=3),
        discarded=("6@x",),
        outcome=Outcome.FAILED,
        watch=Watch(absent_answers=2),
    )
    journal.save([full], NOW)
    journal = reopened(journal, tmp_path)
    found = journal.entries()["attempt-1"].held
    assert found == full
    assert found.watch == Watch()
    journal.close()


def test_a_report_gets_a_new_sequence_only_when_it_says_something_else(journal: Journal) -> None:
    assert journal.save([held()], NOW)
    assert not journal.save([replace(held(), tries=1)], NOW), "the hub is not told how often"
    assert journal.entries()["attempt-1"].report.sequence == 1
    assert journal.save([replace(held(), phase=Phase.SUBMITTED, external_id="1")], NOW)
    report = journal.entries()["attempt-1"].report
    assert (report.sequence, report.state) == (2, AttemptState.SUBMITTED)


def test_instance_and_sequence_outlive_the_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    instance = journal.instance_id
    assert [journal.next_sequence(), journal.next_sequence()] == [1, 2]
    journal = reopened(journal, tmp_path)
    assert (journal.instance_id, journal.next_sequence()) == (instance, 3)
    journal.close()


def test_a_second_agent_on_the_same_folder_is_refused(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(AlreadyRunning, match="Another agent"):
        Journal(tmp_path / "state")
    assert journal.instance_id


def test_nobody_else_may_read_the_state_folder(journal: Journal, tmp_path: Path) -> None:
    journal.save([held()], NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_full_disk_is_told_and_nothing_half_written_stays(journal: Journal) -> None:
    journal.save([held(1)], NOW)
    big = HeldAttempt(order=order(2, script="x" * 200_000), accepted_at=NOW)
    with full_disk(), pytest.raises(JournalBroken, match="free some space"):
        journal.save([big, replace(held(1), tries=5)], NOW)
    assert set(journal.entries()) == {"attempt-1"}
    assert journal.entries()["attempt-1"].held.tries == 0
    journal.save([big], NOW)
    assert set(journal.entries()) == {"attempt-1", "attempt-2"}, "it goes on once there is space"


def test_on_a_full_disk_the_sequence_still_grows(journal: Journal) -> None:
    first = journal.next_sequence()
    with full_disk():
        assert journal.next_sequence() == first + 1
        with pytest.raises(JournalBroken):
            journal.probe()
    journal.probe()


def test_a_committed_intent_survives_kill_9(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from tests.agent.test_journal import NOW, held
from cesai.agent.journal import Journal
Journal(Path({str(tmp_path / "state")!r})).save([held(1), held(2)], NOW)
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", program], check=False, stdin=subprocess.DEVNULL)
    assert died.returncode == -9
    journal = Journal(tmp_path / "state")
    assert set(journal.entries()) == {"attempt-1", "attempt-2"}
    journal.close()


def test_a_file_that_is_no_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.sqlite").write_bytes(b"no journal" * 1000)
    with pytest.raises(JournalBroken, match="cannot be used"):
        Journal(tmp_path / "state")


def test_only_ended_attempts_are_settled_and_then_not_reported_again(journal: Journal) -> None:
    ended = replace(held(2), phase=Phase.ENDED, outcome=Outcome.SUCCEEDED)
    journal.save([held(1), ended], NOW)
    journal.settle(["attempt-1", "attempt-2", "never-heard-of"], NOW)
    assert set(journal.entries()) == {"attempt-1"}
    found = journal.find("attempt-2")
    assert found is not None
    assert found.settled_at == NOW
    journal.unsettle(["attempt-2"])
    assert set(journal.entries()) == {"attempt-1", "attempt-2"}


def test_an_archived_attempt_is_still_known_by_its_marker_but_not_its_script(journal: Journal) -> None:
    ended = replace(held(), phase=Phase.ENDED, outcome=Outcome.SUCCEEDED)
    journal.save([ended], NOW)
    journal.settle(["attempt-1"], NOW)
    assert journal.archive(before=NOW, now=NOW) == 0, "not yet"
    assert journal.archive(before=NOW + timedelta(days=1), now=NOW) == 1
    found = journal.by_marker([ended.marker, "b" * 32 + "-a1"])
    assert list(found) == [ended.marker]
    assert found[ended.marker].held.order.script == ""
    assert found[ended.marker].held.outcome is Outcome.SUCCEEDED


def test_booked_usage_is_not_sent_again_until_accounting_changes_its_mind(journal: Journal) -> None:
    journal.save_usage([usage(1)])
    assert [record.revision for record in journal.unbooked(10)] == [1]
    journal.booked([("fake/1", 1), ("unknown", 4)])
    assert not journal.unbooked(10)
    journal.save_usage([usage(2)])
    journal.booked([("fake/1", 1)])
    assert [record.gpu_ms for record in journal.unbooked(10)] == [2000], "an old confirmation confirms nothing new"


def test_an_older_revision_never_replaces_a_newer_one(journal: Journal) -> None:
    journal.save_usage([usage(2)])
    journal.save_usage([usage(1)])
    assert [record.revision for record in journal.unbooked(10)] == [2]


def test_complete_usage_is_told_once(journal: Journal) -> None:
    journal.save([replace(held(), phase=Phase.ENDED, outcome=Outcome.SUCCEEDED)], NOW)
    assert journal.complete_usage(["attempt-1", "unknown"], NOW)
    assert not journal.complete_usage(["attempt-1"], NOW)
    assert journal.entries()["attempt-1"].report.is_usage_complete


def test_accounts_keep_the_instant_at_which_they_were_first_named(journal: Journal) -> None:
    journal.keep_accounts(["proj1"], NOW)
    journal.keep_accounts(["proj1", "proj2"], NOW + timedelta(hours=1))
    assert journal.accounts() == {"proj1": NOW, "proj2": NOW + timedelta(hours=1)}
    journal.keep_accounts(["proj2"], NOW)
    assert set(journal.accounts()) == {"proj2"}
    journal.keep_accounts(["proj1"], NOW + timedelta(hours=2))
    assert journal.accounts() == {"proj1": NOW}, "named again, it keeps its first instant"


def test_what_no_correction_can_reach_any_more_is_forgotten(journal: Journal) -> None:
    ended = replace(held(), phase=Phase.ENDED, outcome=Outcome.SUCCEEDED)
    journal.save([ended, held(2)], NOW)
    journal.save_usage([usage(1), usage(1, key="fake/2")])
    journal.settle(["attempt-1"], NOW)
    journal.booked([("fake/1", 1)])
    journal.forget(before=NOW + timedelta(days=1))
    assert journal.find("attempt-1") is None
    assert journal.find("attempt-2") is not None
    assert [each.record.key for each in journal.usage_since(NOW)] == ["fake/2"], "what is not booked stays"


def test_a_thread_that_comes_after_the_end_cannot_write(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    journal.close()
    journal.close()
    with pytest.raises(JournalBroken, match="closed"):
        journal.save([held()], NOW)
