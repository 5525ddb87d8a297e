"""Would the tests notice if the ledger's code were wrong?

Each mutant makes one line wrong in the way that somebody might; the machine against the model, or one of the examples
below, must fail for each of them, and for none when the code is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cesai.allocations.rules import AccountKey, posting, reservations
from cesai.allocations.rules import usage as charging
from cesai.allocations.service import attempts
from cesai.allocations.store import attempts as kept
from cesai.allocations.store import journal
from tests.allocations import machine
from tests.allocations import test_invariants as invariants
from tests.allocations import test_service as examples
from tests.allocations.mutate import wrong_code, wrong_view

Make = Callable[[Engine], AbstractContextManager[None]]


def code(function, right: str, wrong: str) -> Make:
    """A mutant of a function."""
    return lambda _engine: wrong_code(function, right, wrong)


def view(right: str, wrong: str) -> Make:
    """A mutant of the view of invariants."""
    return lambda engine: wrong_view(engine, right, wrong)


@dataclass(frozen=True)
class Mutant:
    """One line made wrong, and the example that notices."""

    make: Make
    noticed_by: Callable[[Session], None]
    is_noticed_by_machine: bool = False


MUTANTS: dict[str, Mutant] = {
    "a line gives more than it has": Mutant(
        code(reservations._first_that_bears, "line.left >= need", "line.left"),
        examples.test_what_does_not_fit_is_refused_with_the_numbers_and_nothing_is_booked,
    ),
    "only the expected share is asked of a line": Mutant(
        code(
            reservations.choose,
            "need = min(amount, most_in(period, gpus=gpus, start=now, end=latest_end))",
            "need = share",
        ),
        examples.test_each_quarter_must_be_able_to_bear_all_that_the_job_may_use_in_it,
    ),
    "streams are drawn from backwards": Mutant(
        code(reservations._first_that_bears, "(line.position,", "(-line.position,"),
        examples.test_the_first_stream_pays_while_it_can_and_a_job_never_draws_from_two,
        is_noticed_by_machine=True,
    ),
    "parts of a spread lose a little": Mutant(
        code(reservations.shares, "amount.value - before", "amount.value * 999 // 1000 - before"),
        examples.test_a_reservation_leaves_less_and_its_end_gives_the_rest_back,
    ),
    "moving to another period makes hours": Mutant(
        code(reservations.resplit, "found[period] -= moved", "pass"),
        examples.test_a_job_over_new_year_is_set_aside_in_both_quarters_and_charged_where_it_ran,
    ),
    "a line is charged beyond the reservation": Mutant(
        code(charging.targets, "min(amount, unspent,", "min(amount,"),
        examples.test_use_beyond_the_reservation_is_an_overrun_and_never_cut_off,
        is_noticed_by_machine=True,
    ),
    "an overrun is cut off": Mutant(
        code(charging.targets, "EntryKind.OVERRUN, amount - settled", "EntryKind.OVERRUN, ZERO"),
        examples.test_use_beyond_the_reservation_is_an_overrun_and_never_cut_off,
        is_noticed_by_machine=True,
    ),
    "a line is charged beyond what it has": Mutant(
        code(charging.targets, "rooms.get(period, ZERO)), ZERO)", "amount), ZERO)"),
        examples.test_a_late_rise_that_the_line_cannot_bear_any_more_is_an_overrun,
    ),
    "launches are paid for in the order of their names": Mutant(
        code(charging.in_order, "(usage.started_at, usage.key)", "usage.key"),
        examples.test_launches_share_the_reservation_in_the_order_in_which_they_ran,
    ),
    "the first revision counts": Mutant(
        code(kept.latest_versions, "revision.desc()", "revision.asc()"),
        examples.test_a_correction_takes_back_and_posts_anew_down_to_nothing,
        is_noticed_by_machine=True,
    ),
    "a duplicate is the group's cost": Mutant(
        code(charging._borne_by_the_site, "return EntryKind.DUPLICATE", "return None"),
        examples.test_a_duplicate_launch_is_the_sites_cost,
    ),
    "a site's failure is the group's cost": Mutant(
        code(charging._borne_by_the_site, "EntryKind.SITE_LOSS if is_site_fault else None", "None"),
        examples.test_what_a_sites_failure_lost_is_the_sites_cost_even_when_it_is_known_later,
    ),
    "a correction does not take back": Mutant(
        code(charging.corrections, "if says not in asked", "if not asked"),
        examples.test_a_correction_takes_back_and_posts_anew_down_to_nothing,
        is_noticed_by_machine=True,
    ),
    "what was taken back still stands": Mutant(
        code(charging.corrections, "if not row.is_reversed", "if True"),
        examples.test_a_correction_may_return_to_what_was_said_before,
    ),
    "a closed period is booked in": Mutant(
        code(charging.booking_period, "period in closed", "False"),
        examples.test_late_use_of_a_closed_quarter_is_booked_in_the_open_one_and_says_so,
    ),
    "a reversal does not name what it corrects": Mutant(
        code(posting._reversal, "row.part.period if", "None if"),
        examples.test_late_use_of_a_closed_quarter_is_booked_in_the_open_one_and_says_so,
    ),
    "a reservation outlives its attempt": Mutant(
        code(attempts._charge, "for each in pendings if each.is_open", "for each in pendings if False"),
        examples.test_a_reservation_leaves_less_and_its_end_gives_the_rest_back,
        is_noticed_by_machine=True,
    ),
    "what is set aside is room twice": Mutant(
        code(
            attempts._room,
            "room[pending.period] += pending.amount",
            "room[pending.period] += pending.amount + pending.amount",
        ),
        examples.test_a_quarter_that_lost_its_room_keeps_the_reservation_whole,
    ),
    "a retry sets aside again": Mutant(
        code(attempts.reserve, "if not _is_there(db, wanted):", "if True:"),
        examples.test_setting_aside_twice_is_once_and_something_else_is_stale,
    ),
    "use is charged before the end": Mutant(
        code(attempts._charge, "if reservation.is_over:", "if True:"),
        examples.test_nothing_is_charged_before_the_attempt_is_over,
        is_noticed_by_machine=True,
    ),
    "a resolution does not lower the counters": Mutant(
        code(
            journal._move,
            "-entry.amount.value if entry.phase is rules.Phase.RESOLUTION",
            "0 if entry.phase is rules.Phase.RESOLUTION",
        ),
        examples.test_a_released_attempt_costs_nothing_however_often_it_is_released,
        is_noticed_by_machine=True,
    ),
    "a row is counted though it was there": Mutant(
        code(journal.post, "if entry.id in new", ""),
        examples.test_an_entry_is_written_once_and_stands_for_itself,
    ),
    "an id may stand for two entries": Mutant(
        code(journal._compare, "if different:", "if False:"),
        examples.test_an_entry_is_written_once_and_stands_for_itself,
    ),
    "no bound in the statement that raises": Mutant(
        code(journal._raise_counters, "or_(~Account.is_bounded, within)", "True"),
        examples.test_the_statement_itself_refuses_to_overspend,
    ),
    "an award line has no bound": Mutant(
        code(AccountKey.is_bounded.fget, "self.kind in BOUNDED", "False"),
        examples.test_the_statement_itself_refuses_to_overspend,
    ),
    "an attempt takes another one's launch": Mutant(
        code(kept._owner, "if before.attempt_id is not None and not", "if False and not"),
        examples.test_a_launch_belongs_to_one_attempt,
    ),
    "a revision may change what it says": Mutant(
        code(kept._compare, "if any(", "if False and any("),
        examples.test_a_revision_says_one_thing,
    ),
    "the view does not compare counters": Mutant(
        view("account.debits_posted <> coalesce(journal.debits_posted, 0)", "false"),
        invariants.test_counters_that_the_journal_does_not_explain_are_noticed,
    ),
    "the view does not see what is over its bound": Mutant(
        view("kind IN ('LINE', 'POOL')", "is_bounded"),
        invariants.test_an_account_over_its_bound_is_noticed,
    ),
}


@contextmanager
def undone(engine: Engine) -> Iterator[Session]:
    """A session of its own whose work is undone."""
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as db:
            yield db
        transaction.rollback()


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_a_wrong_ledger_is_noticed_by_an_example(engine, mutant):
    with undone(engine) as db:
        mutant.noticed_by(db)
    # However it fails, it has noticed: by an assertion, by a refusal that should not be, by the database itself.
    with mutant.make(engine), undone(engine) as db, pytest.raises(BaseException):  # noqa: B017, PT011  any failure is notice
        mutant.noticed_by(db)


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.is_noticed_by_machine])
def test_a_wrong_ledger_is_noticed_by_the_machine(engine, name):
    with MUTANTS[name].make(engine), pytest.raises(BaseException):  # noqa: B017, PT011  the same
        machine.run(engine, examples=10, steps=40)
