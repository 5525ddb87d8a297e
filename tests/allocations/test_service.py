"""Does the ledger charge what was used, to whoever bears it, once?"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cesai.access.rules import Caller
from cesai.allocations import service, store
from cesai.allocations.rules import AccountKey, AccountKind, Entry, EntryKind, Usage
from cesai.db.paging import PageRequest
from cesai.kernel.amounts import MS_PER_HOUR, ZERO, GpuMilliseconds
from cesai.kernel.errors import NotFound, Refused, Stale
from cesai.kernel.periods import Period
from tests.allocations.funding import fund

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NEW_YEAR = datetime(2026, 12, 31, 23, 0, tzinfo=UTC)  # midnight in Berlin
OLD, NEW = Period(2026, 4), Period(2027, 1)
BY = Caller(principal_id=uuid4(), username="olga", name="Olga", memberships=frozenset())
CONSUMED = AccountKey(AccountKind.CONSUMED, "s", "H100", OLD)


def hours(amount: float) -> GpuMilliseconds:
    return GpuMilliseconds(int(amount * MS_PER_HOUR))


def award(db: Session, amount: float, *, period: Period = OLD, stream: str = "default") -> AccountKey:
    return fund(db, "a", period, hours(amount).value, now=NOW, stream=stream)


def set_aside(
    db: Session, amount: float, *, now: datetime = NOW, patience: float = 24, attempt_id: UUID | None = None
) -> UUID:
    """An attempt of one GPU."""
    attempt_id = attempt_id or uuid4()
    service.reserve(
        db,
        attempt_id=attempt_id,
        project_id="a",
        site_id="s",
        gpu_class="H100",
        gpus=1,
        amount=hours(amount),
        now=now,
        latest_end=now + timedelta(hours=patience + amount),
    )
    return attempt_id


def ran(key: str, amount: float, *, revision: int = 1, kind: str = "own", at: datetime = NOW) -> Usage:
    """A launch of one GPU."""
    return Usage(key, revision, kind, at, at + timedelta(hours=amount), 1, hours(amount))


def end(db: Session, attempt_id: UUID, *usage: Usage, is_site_fault: bool = False, now: datetime = NOW):
    return service.book(db, attempt_id=attempt_id, usage=usage, is_over=True, is_site_fault=is_site_fault, now=now)


def on(db: Session, stream: str = "default", period: Period = OLD) -> tuple[float, float, float]:
    """Set aside, used and left on a line of project a, in GPU-hours."""
    (line,) = (each for each in service.lines(db, "a") if (each.stream, each.period) == (stream, period))
    return float(line.pending.hours), float(line.posted.hours), float(line.left.hours)


def others(db: Session) -> dict[str, float]:
    """What is on the accounts that are no lines, in GPU-hours."""
    found = service.balances(db, PageRequest(limit=200)).items
    own = {"LINE", "POOL", "SUPPLY"}
    return {each.account: float(each.balance.hours) for each in found if each.kind not in own and each.balance}


def holds(db: Session) -> bool:
    assert service.broken(db) == ()
    return True


def test_a_reservation_leaves_less_and_its_end_gives_the_rest_back(db):
    award(db, 10)
    attempt_id = set_aside(db, 8)
    assert on(db) == (8, 0, 2)
    assert end(db, attempt_id, ran("k", 3)) == service.Booked(settled=hours(3))
    assert on(db) == (0, 3, 7)
    assert others(db) == {"CONSUMED:s:H100:2026-Q4": 3}
    assert service.reserved(db, [attempt_id]) == {attempt_id: hours(8)}
    assert service.settled(db, [attempt_id]) == {attempt_id: hours(3)}
    assert holds(db)


def test_what_does_not_fit_is_refused_with_the_numbers_and_nothing_is_booked(db):
    award(db, 10)
    set_aside(db, 8)
    with pytest.raises(Refused, match=r"3\.00 GPU-hours in 2026-Q4; the award has 2\.00 GPU-hours left"):
        set_aside(db, 3)
    with pytest.raises(Refused, match="no award for 2027-Q1"):
        set_aside(db, 1, now=NEW_YEAR - timedelta(hours=3))
    assert on(db) == (8, 0, 2)
    set_aside(db, 2)
    assert on(db) == (10, 0, 0)
    assert holds(db)


@pytest.mark.parametrize(("gpus", "amount"), [(0, hours(1)), (1, ZERO), (1, hours(-1))])
def test_nothing_is_set_aside_for_nothing(db, gpus, amount):
    award(db, 10)
    wish = {"project_id": "a", "site_id": "s", "gpu_class": "H100", "gpus": gpus, "amount": amount}
    with pytest.raises(Refused):
        service.reserve(db, attempt_id=uuid4(), now=NOW, latest_end=NOW + timedelta(hours=1), **wish)


def test_setting_aside_twice_is_once_and_something_else_is_stale(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    set_aside(db, 4, attempt_id=attempt_id, now=NOW + timedelta(minutes=1))
    assert on(db) == (4, 0, 6)
    with pytest.raises(Stale):
        set_aside(db, 5, attempt_id=attempt_id)


def test_a_released_attempt_costs_nothing_however_often_it_is_released(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    for _ in range(2):
        service.release(db, attempt_id=attempt_id, now=NOW)
    assert on(db) == (0, 0, 10)
    kinds = [each.kind for each in service.entries(db, PageRequest(), attempt_id=attempt_id).items]
    assert kinds == ["void", "reserve"]
    assert holds(db)


def test_an_attempt_that_nobody_reserved_for_is_not_found(db):
    for call in (service.release, service.started):
        with pytest.raises(NotFound):
            call(db, attempt_id=uuid4(), now=NOW, **({"started_at": NOW} if call is service.started else {}))


def test_the_first_stream_pays_while_it_can_and_a_job_never_draws_from_two(db):
    award(db, 3)
    award(db, 5, stream="extra")
    set_aside(db, 2)
    set_aside(db, 2)
    assert (on(db), on(db, "extra")) == ((2, 0, 1), (2, 0, 3))
    with pytest.raises(Refused):
        set_aside(db, 4)
    set_aside(db, 1)
    assert (on(db), on(db, "extra")) == ((3, 0, 0), (2, 0, 3))


def test_nothing_is_charged_before_the_attempt_is_over(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    booked = service.book(db, attempt_id=attempt_id, usage=[ran("k", 2)], is_over=False, is_site_fault=False, now=NOW)
    assert booked == service.Booked()
    assert on(db) == (4, 0, 6)
    assert holds(db)
    assert end(db, attempt_id).settled == hours(2)


def test_use_beyond_the_reservation_is_an_overrun_and_never_cut_off(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    assert end(db, attempt_id, ran("k", 6.5)) == service.Booked(settled=hours(4), overrun=hours(2.5))
    assert on(db) == (0, 4, 6)
    assert others(db) == {"CONSUMED:s:H100:2026-Q4": 6.5, "OVERRUN:a:s:H100": 2.5}
    assert service.settled(db, [attempt_id]) == {attempt_id: hours(6.5)}
    assert holds(db)


def test_launches_share_the_reservation_in_the_order_in_which_they_ran(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    later = ran("a", 3, at=NOW + timedelta(hours=5))
    end(db, attempt_id, later, ran("b", 3))
    assert service.bookings(db, [attempt_id]) == {attempt_id: service.Booked(settled=hours(4), overrun=hours(2))}
    rows = service.entries(db, PageRequest(), attempt_id=attempt_id).items
    assert {(row.source_key, row.kind, float(row.amount.hours)) for row in rows if row.source_key} == {
        ("b", "settle", 3),
        ("a", "settle", 1),
        ("a", "overrun", 2),
    }
    assert holds(db)


def test_a_duplicate_launch_is_the_sites_cost(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    booked = end(db, attempt_id, ran("k", 3), ran("again", 1, kind="duplicate"))
    assert booked == service.Booked(settled=hours(3), duplicate=hours(1))
    assert service.settled(db, [attempt_id])[attempt_id] == hours(3)
    assert on(db) == (0, 3, 7)
    assert others(db) == {"CONSUMED:s:H100:2026-Q4": 4, "DUPLICATE:s:H100": 1}
    assert holds(db)


def test_what_a_sites_failure_lost_is_the_sites_cost_even_when_it_is_known_later(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    assert end(db, attempt_id, ran("k", 3)).settled == hours(3)
    assert end(db, attempt_id, is_site_fault=True) == service.Booked(site_loss=hours(3))
    assert end(db, attempt_id, ran("k", 3)) == service.Booked(site_loss=hours(3))
    assert on(db) == (0, 0, 10)
    assert others(db) == {"CONSUMED:s:H100:2026-Q4": 3, "SITE_LOSS:s:H100": 3}
    assert holds(db)


def test_a_correction_takes_back_and_posts_anew_down_to_nothing(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    end(db, attempt_id, ran("k", 3))
    assert end(db, attempt_id, ran("k", 1, revision=2)).settled == hours(1)
    assert end(db, attempt_id, ran("k", 6, revision=3)) == service.Booked(settled=hours(4), overrun=hours(2))
    assert holds(db)
    assert end(db, attempt_id, ran("k", 0, revision=4)) == service.Booked()
    assert on(db) == (0, 0, 10)
    assert others(db) == {}
    rows = service.entries(db, PageRequest(), attempt_id=attempt_id).items
    assert [row.kind for row in rows].count("reversal") == 4
    assert holds(db)


def test_a_correction_may_return_to_what_was_said_before(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    for revision, amount in enumerate((3, 1, 3, 1, 3), start=1):
        assert end(db, attempt_id, ran("k", amount, revision=revision)).settled == hours(amount)
        assert on(db) == (0, amount, 10 - amount)
    assert holds(db)


def test_an_old_revision_that_comes_late_changes_nothing(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    end(db, attempt_id, ran("k", 2, revision=2))
    assert end(db, attempt_id, ran("k", 3)).settled == hours(2)
    assert holds(db)


def test_the_same_reports_in_any_order_and_number_give_the_same_ledger(db):
    award(db, 100)
    reports = [
        ran("a", 3),
        ran("a", 2, revision=2),
        ran("a", 5, revision=3),
        ran("b", 1, at=NOW - timedelta(days=40)),
        ran("b", 0, revision=2, at=NOW - timedelta(days=40)),
        ran("c", 1, kind="duplicate"),
        ran("d", 7, at=NOW + timedelta(hours=9)),
    ]
    order = random.Random(7)  # noqa: S311  an example, no secret
    seen = set()
    for number in range(8):
        attempt_id = set_aside(db, 6)
        told = [
            Usage(f"{number}/{u.key}", u.revision, u.kind, u.started_at, u.ended_at, u.gpus, u.gpu_ms) for u in reports
        ]
        told += order.sample(told, 3)
        order.shuffle(told)
        cut = order.randrange(len(told))
        for part in (told[:cut], told[cut:]):
            booked = end(db, attempt_id, *part)
        seen.add(booked)
    assert seen == {service.Booked(settled=hours(6), overrun=hours(6), duplicate=hours(1))}
    assert holds(db)


def test_a_late_rise_that_the_line_cannot_bear_any_more_is_an_overrun(db):
    award(db, 4)
    attempt_id = set_aside(db, 4)
    end(db, attempt_id, ran("k", 1))
    set_aside(db, 2)
    assert end(db, attempt_id, ran("k", 4, revision=2)) == service.Booked(settled=hours(2), overrun=hours(2))
    assert on(db) == (2, 2, 0)
    assert holds(db)


def test_over_stays_over(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    end(db, attempt_id, ran("k", 1))
    late = ran("k", 2, revision=2)
    booked = service.book(db, attempt_id=attempt_id, usage=[late], is_over=False, is_site_fault=False, now=NOW)
    assert booked.settled == hours(2)
    assert on(db) == (0, 2, 8)


def test_use_after_a_release_is_charged_all_the_same(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    service.release(db, attempt_id=attempt_id, now=NOW)
    assert end(db, attempt_id, ran("k", 3)).settled == hours(3)
    assert holds(db)


def test_a_strangers_job_is_nobodys_line_and_is_corrected_too(db):
    award(db, 10)
    wish = {"site_id": "s", "project_id": "a", "gpu_class": "H100", "now": NOW}
    service.book_unattributed(db, usage=[ran("k", 3)], **wish)
    service.book_unattributed(db, usage=[ran("k", 3)], **wish)
    service.book_unattributed(db, usage=[ran("k", 2, revision=2), ran("l", 1)], **(wish | {"project_id": "b"}))
    assert on(db) == (0, 0, 10)
    assert others(db) == {
        "CONSUMED:s:H100:2026-Q4": 3,
        "UNATTRIBUTED:a:s:H100": 2,
        "UNATTRIBUTED:b:s:H100": 1,
    }
    assert holds(db)


def test_a_strangers_job_that_turns_out_to_be_an_attempts_moves_there(db):
    award(db, 10)
    attempt_id = set_aside(db, 4)
    wish = {"site_id": "s", "project_id": "a", "gpu_class": "H100", "now": NOW}
    service.book_unattributed(db, usage=[ran("k", 3)], **wish)
    running = [ran("k", 3, revision=2)]
    service.book(db, attempt_id=attempt_id, usage=running, is_over=False, is_site_fault=False, now=NOW)
    assert others(db) == {}
    assert end(db, attempt_id).settled == hours(3)
    service.book_unattributed(db, usage=[ran("k", 3)], **wish)
    assert others(db) == {"CONSUMED:s:H100:2026-Q4": 3}
    with pytest.raises(Refused, match="for somebody else than before"):
        service.book_unattributed(db, usage=[ran("k", 3, revision=3)], **wish)
    assert holds(db)


def test_a_launch_belongs_to_one_attempt(db):
    award(db, 10)
    first, second = set_aside(db, 2), set_aside(db, 2)
    end(db, first, ran("k", 1))
    with pytest.raises(Refused, match="for somebody else than before"):
        end(db, second, ran("k", 1, revision=2))


def test_a_revision_says_one_thing(db):
    award(db, 10)
    attempt_id = set_aside(db, 2)
    end(db, attempt_id, ran("k", 1))
    with pytest.raises(Refused, match="two different things as revision 1"):
        end(db, attempt_id, ran("k", 2))


def test_the_same_key_at_two_sites_is_two_launches(db):
    award(db, 10)
    attempt_id = set_aside(db, 2)
    end(db, attempt_id, ran("k", 1))
    service.book_unattributed(db, site_id="t", project_id="a", gpu_class="H100", usage=[ran("k", 5)], now=NOW)
    assert others(db)["UNATTRIBUTED:a:t:H100"] == 5
    assert holds(db)


def test_a_record_that_cannot_be_true_is_refused_and_books_nothing(db):
    award(db, 10)
    attempt_id = set_aside(db, 2)
    with pytest.raises(Refused, match="correct the site's clock"):
        end(db, attempt_id, ran("k", 1), ran("l", 1, at=datetime(1970, 1, 1, tzinfo=UTC)))
    assert on(db) == (2, 0, 8)


def test_a_job_over_new_year_is_set_aside_in_both_quarters_and_charged_where_it_ran(db):
    award(db, 30)
    award(db, 30, period=NEW)
    now = NEW_YEAR - timedelta(hours=6)
    attempt_id = set_aside(db, 8, now=now)  # from now to 32 hours later: 6 of them in the old quarter
    assert on(db) == (1.5, 0, 28.5)
    assert on(db, period=NEW) == (6.5, 0, 23.5)
    service.started(db, attempt_id=attempt_id, started_at=NEW_YEAR - timedelta(hours=3), now=now)
    assert on(db) == (3, 0, 27)
    assert on(db, period=NEW) == (5, 0, 25)
    for _ in range(2):
        service.started(db, attempt_id=attempt_id, started_at=NEW_YEAR + timedelta(hours=1), now=now)
    assert on(db) == (0, 0, 30)
    assert on(db, period=NEW) == (8, 0, 22)
    assert holds(db)
    service.started(db, attempt_id=attempt_id, started_at=NEW_YEAR - timedelta(hours=2), now=now)
    assert on(db) == (2, 0, 28)
    end(db, attempt_id, ran("k", 7, at=NEW_YEAR - timedelta(hours=2)))
    assert on(db) == (0, 2, 28)
    assert on(db, period=NEW) == (0, 5, 25)
    assert others(db) == {"CONSUMED:s:H100:2026-Q4": 2, "CONSUMED:s:H100:2027-Q1": 5}
    assert holds(db)


def test_each_quarter_must_be_able_to_bear_all_that_the_job_may_use_in_it(db):
    award(db, 30)
    award(db, 7, period=NEW)
    with pytest.raises(Refused, match=r"8\.00 GPU-hours in 2027-Q1; the award has 7\.00"):
        set_aside(db, 8, now=NEW_YEAR - timedelta(hours=6))
    set_aside(db, 7, now=NEW_YEAR - timedelta(hours=6))


def test_a_quarter_that_lost_its_room_keeps_the_reservation_whole(db):
    award(db, 30)
    award(db, 10, period=NEW)
    now = NEW_YEAR - timedelta(hours=6)
    first, second = (set_aside(db, 8, now=now, patience=4) for _ in range(2))  # each 4 in either quarter
    for attempt_id in (first, second):
        service.started(db, attempt_id=attempt_id, started_at=NEW_YEAR, now=now)
    assert on(db, period=NEW) == (10, 0, 0)
    assert on(db) == (6, 0, 24)
    assert holds(db)
    assert end(db, first, ran("k", 8, at=NEW_YEAR)) == service.Booked(settled=hours(6), overrun=hours(2))
    assert end(db, second, ran("l", 8, at=NEW_YEAR)) == service.Booked(settled=hours(4), overrun=hours(4))
    assert holds(db)


def test_a_quarter_is_closed_once_over_and_without_open_reservations(db):
    award(db, 30)
    attempt_id = set_aside(db, 8)
    with pytest.raises(Refused, match=r"ends on 31\.12\.2026"):
        service.close_period(db, OLD, by=BY, now=NOW)
    with pytest.raises(Refused, match="1 reservations are open"):
        service.close_period(db, OLD, by=BY, now=NEW_YEAR)
    service.release(db, attempt_id=attempt_id, now=NEW_YEAR)
    for _ in range(2):
        service.close_period(db, OLD, by=BY, now=NEW_YEAR)
    assert holds(db)


def test_late_use_of_a_closed_quarter_is_booked_in_the_open_one_and_says_so(db):
    award(db, 30)
    award(db, 30, period=NEW)
    late, rises, falls = (set_aside(db, 8) for _ in range(3))
    service.release(db, attempt_id=late, now=NOW)
    end(db, rises, ran("r", 2))
    end(db, falls, ran("f", 5))
    service.close_period(db, OLD, by=BY, now=NEW_YEAR)
    assert end(db, late, ran("l", 1)) == service.Booked(overrun=hours(1))
    assert end(db, rises, ran("r", 3, revision=2)) == service.Booked(settled=hours(2), overrun=hours(1))
    assert end(db, falls, ran("f", 4, revision=2)) == service.Booked(settled=hours(4))
    assert on(db) == (0, 7, 23)
    assert on(db, period=NEW) == (0, -1, 31)
    assert others(db) == {"CONSUMED:s:H100:2026-Q4": 7, "CONSUMED:s:H100:2027-Q1": 1, "OVERRUN:a:s:H100": 2}
    rows = service.entries(db, PageRequest(), account="CONSUMED:s:H100:2027-Q1").items
    assert {row.corrects_period for row in rows} == {"2026-Q4"}
    assert holds(db)


def test_a_refund_of_a_closed_quarter_opens_a_line_where_there_is_none(db):
    award(db, 30)
    attempt_id = set_aside(db, 8)
    end(db, attempt_id, ran("k", 5))
    service.close_period(db, OLD, by=BY, now=NEW_YEAR)
    end(db, attempt_id, ran("k", 0, revision=2))
    assert on(db, period=NEW) == (0, -5, 5)
    assert holds(db)


def test_fits_asks_each_line_alone_and_says_what_is_short(db):
    wish = {"project_id": "a", "site_id": "s", "gpu_class": "H100", "now": NOW, "latest_end": NOW + timedelta(days=2)}
    assert not service.fits(db, amount=hours(1), **wish).ok
    award(db, 3)
    award(db, 5, period=NEW)
    assert service.fits(db, amount=hours(5), **wish) == service.Fit(ok=True, left=hours(5), sentence="")
    refused = service.fits(db, amount=hours(6), **wish)
    assert not refused.ok
    assert "needs 6.00 GPU-hours and the award has 5.00 GPU-hours left" in refused.sentence
    assert not service.fits(db, amount=hours(1), **(wish | {"now": NEW.end, "latest_end": NEW.end})).ok
    over = service.fits(
        db,
        amount=hours(1),
        **(wish | {"now": NEW.end - timedelta(hours=1), "latest_end": NEW.end + timedelta(hours=1)}),
    )
    assert over.ok
    assert "2027-Q2" in over.sentence


def test_the_statement_itself_refuses_to_overspend(db):
    line = award(db, 2)
    entry = Entry(uuid4(), EntryKind.SETTLE, line, CONSUMED, hours(3), OLD)
    with pytest.raises(Refused, match=r"has 2\.00 GPU-hours left; 3\.00 GPU-hours would be needed"):
        store.post(db, [entry], at=NOW, actor="test")
    assert store.left(db, line) == hours(2)
    assert holds(db)


def test_an_entry_is_written_once_and_stands_for_itself(db):
    line = award(db, 2)
    overrun = AccountKey(AccountKind.OVERRUN, "s", "H100", project_id="a")
    entry = Entry(uuid4(), EntryKind.OVERRUN, overrun, CONSUMED, hours(1), OLD)
    for _ in range(2):
        store.post(db, [entry], at=NOW, actor="test")
    with pytest.raises(Stale, match="another entry"):
        store.post(db, [Entry(entry.id, EntryKind.SETTLE, line, CONSUMED, hours(1), OLD)], at=NOW, actor="test")
    assert others(db)["OVERRUN:a:s:H100"] == 1
    assert holds(db)


@pytest.mark.parametrize("table", ["ledger_transfer", "usage_version", "award", "closed_period"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE", "UPDATE {} SET {} = {}"])
def test_the_journal_is_only_added_to(db, table, statement):
    column = {"ledger_transfer": "actor", "usage_version": "kind", "award": "reason", "closed_period": "period"}[table]
    with pytest.raises(DBAPIError, match="is refused"), db.begin_nested():
        db.execute(text(statement.format(table, column, column)))


def test_nothing_gets_into_a_closed_quarter_past_the_service(db):
    award(db, 2)
    service.close_period(db, OLD, by=BY, now=NEW_YEAR)
    with pytest.raises(DBAPIError, match="period 2026-Q4 is closed"), db.begin_nested():
        award(db, 2)
