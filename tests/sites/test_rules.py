"""Are the rules on sites what they claim?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period
from cesai.sites import rules
from cesai.sites.rules import Contact, ContactState, PoolCount, Site, Watch

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LONG_AGO = NOW - timedelta(days=9)
POOL = PoolCount(
    cluster="jsc",
    partition="gpu",
    gres_type="h100",
    features=(),
    nodes=2,
    nodes_up=2,
    gpus_per_node=4,
    gpus=8,
    gpus_up=8,
    gpus_free=3,
)
SITE = Site(
    id="juelich",
    name="Jülich",
    kind="slurm",
    country="DE",
    patience_minutes=1440,
    margin_minutes=2,
    availability_percent=95,
    is_draining=False,
    contact=Contact(last_heard_at=NOW, is_reachable=True, inventory_taken_at=NOW),
)


@pytest.mark.parametrize(
    ("silence", "state"),
    [
        (timedelta(0), ContactState.OK),
        (3 * MINUTE, ContactState.OK),
        (3 * MINUTE + timedelta(seconds=1), ContactState.SUSPECT),
        (15 * MINUTE, ContactState.SUSPECT),
        (15 * MINUTE + timedelta(seconds=1), ContactState.LOST),
    ],
)
def test_silence_makes_a_site_suspect_then_lost(silence, state):
    assert rules.contact_state(NOW - silence, LONG_AGO, NOW) is state


def test_a_site_that_never_spoke_is_not_lost():
    assert rules.contact_state(None, LONG_AGO, NOW) is ContactState.NEVER


def test_after_the_hub_was_down_a_silent_site_gets_no_work_but_is_not_given_up():
    assert rules.contact_state(NOW - timedelta(hours=2), NOW - MINUTE, NOW) is ContactState.SUSPECT


def test_a_hub_that_did_not_look_restarts_the_clocks():
    watch = rules.watch(Watch(NOW - 5 * MINUTE, LONG_AGO, None), [NOW - 20 * MINUTE], NOW)
    assert watch.clocks_since == NOW
    assert watch.doubt == "The hub itself did not look for 300 s."


def test_a_hub_that_begins_to_watch_trusts_no_silence_before():
    assert rules.watch(None, [], NOW).clocks_since == NOW


def test_one_silent_site_of_two_is_the_sites_fault():
    watch = rules.watch(Watch(NOW - MINUTE / 4, LONG_AGO, None), [NOW, NOW - 4 * MINUTE], NOW)
    assert watch.doubt is None
    assert watch.clocks_since == LONG_AGO


def test_half_of_the_sites_silent_at_once_is_the_hubs_doubt():
    heard = [NOW, NOW, NOW - 4 * MINUTE, NOW - 4 * MINUTE - timedelta(seconds=20)]
    watch = rules.watch(Watch(NOW - MINUTE / 4, LONG_AGO, None), heard, NOW)
    assert watch.doubt == "2 of 4 sites fell silent at once."
    assert watch.clocks_since == NOW


def test_sites_that_fell_silent_one_after_the_other_are_their_own_fault():
    heard = [NOW - 5 * MINUTE, NOW - 30 * MINUTE, NOW - 90 * MINUTE]
    assert rules.watch(Watch(NOW - MINUTE / 4, LONG_AGO, None), heard, NOW).doubt is None


def test_two_of_twenty_sites_silent_at_once_are_their_own_fault():
    heard = [NOW] * 18 + [NOW - 4 * MINUTE] * 2
    assert rules.watch(Watch(NOW - MINUTE / 4, LONG_AGO, None), heard, NOW).doubt is None


def test_a_site_dead_for_a_week_does_not_hide_that_the_others_fell_silent_at_once():
    heard = [NOW - timedelta(days=7), NOW - 4 * MINUTE, NOW - 4 * MINUTE]
    assert rules.watch(Watch(NOW - MINUTE / 4, LONG_AGO, None), heard, NOW).doubt is not None


@given(st.lists(st.integers(0, 3600)), st.randoms(use_true_random=False))
def test_the_order_in_which_sites_are_looked_at_does_not_matter(seconds, random):
    heard = [NOW - timedelta(seconds=each) for each in seconds]
    before = Watch(NOW - MINUTE / 4, LONG_AGO, None)
    shuffled = random.sample(heard, len(heard))
    assert rules.watch(before, heard, NOW).clocks_since == rules.watch(before, shuffled, NOW).clocks_since


@pytest.mark.parametrize(
    ("site", "why"),
    [
        (replace(SITE, is_draining=True), "is draining"),
        (replace(SITE, contact=Contact()), "has not enrolled an agent"),
        (replace(SITE, contact=replace(SITE.contact, last_heard_at=NOW - 10 * MINUTE)), "silent for 10 minutes"),
        (replace(SITE, contact=replace(SITE.contact, inventory_taken_at=None)), "not told its inventory"),
        (replace(SITE, contact=replace(SITE.contact, is_reachable=False)), "cannot reach its own scheduler"),
    ],
)
def test_a_site_that_gets_no_work_says_why(site, why):
    assert why in (rules.closed_because(site, NOW) or "")


def test_a_site_that_is_well_gets_work():
    assert rules.closed_because(SITE, NOW) is None


def test_an_inventory_that_can_be_true_is_believed():
    assert rules.contradiction([POOL, replace(POOL, gres_type=None)]) is None


def test_nodes_of_one_pool_may_differ():
    assert rules.contradiction([replace(POOL, gpus=12, gpus_up=12)]) is None


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        (replace(POOL, gpus_free=9), "Pool jsc/gpu/h100: 9 GPUs free, but 8 up."),
        (replace(POOL, gpus_up=9), "Pool jsc/gpu/h100: 9 GPUs up, but 8 in all."),
        (replace(POOL, nodes_up=3), "Pool jsc/gpu/h100: 3 nodes up, but 2 in all."),
        (replace(POOL, gpus_per_node=0), "Pool jsc/gpu/h100: 8 GPUs, but on no node."),
        (replace(POOL, nodes_up=0), "Pool jsc/gpu/h100: 8 GPUs up, but no node that is up."),
        (replace(POOL, partition="gpu\nrm"), "'gpu\\nrm' is no name of a cluster, partition or GPU type."),
    ],
)
def test_an_inventory_that_contradicts_itself_is_told_with_the_numbers(pool, sentence):
    assert rules.contradiction([pool]) == sentence


def test_the_same_pool_twice_is_a_contradiction():
    assert rules.contradiction([POOL, POOL]) == "Pool jsc/gpu/h100 is told twice."


@pytest.mark.parametrize(
    ("gres_type", "features", "proposed"),
    [
        ("h100", (), "H100"),
        ("nvidia_h100_80gb_hbm3", (), "H100"),
        ("NVIDIA-H100-NVL", (), "H100-NVL"),
        ("tesla", ("gpu", "a100_80"), "A100"),
        (None, ("A100",), "A100"),
        (None, (), None),
        (None, ("a100", "h100"), None),
        ("h1000", (), None),
        ("a100", ("h100",), "A100"),
    ],
)
def test_a_class_is_proposed_only_where_the_sites_words_name_one(gres_type, features, proposed):
    assert rules.proposal(gres_type, features, ["A100", "H100", "H100-NVL"]) == proposed


def test_a_pledge_counts_only_what_remains_of_the_period():
    period = Period.parse("2026-Q4")
    half = period.end - timedelta(hours=100)
    most = rules.ceiling(gpus_up=8, availability_percent=95, period=period, now=half)
    assert most.amount == GpuMilliseconds.of_hours(760)


def test_a_pledge_for_a_period_ahead_counts_all_of_it():
    period = Period.parse("2027-Q1")
    most = rules.ceiling(gpus_up=1, availability_percent=100, period=period, now=NOW)
    # From winter to summer time the quarter is an hour short of its 90 days.
    assert most.amount == GpuMilliseconds.of_hours(90 * 24 - 1)


def test_nothing_can_be_pledged_for_a_period_that_is_over():
    most = rules.ceiling(gpus_up=8, availability_percent=95, period=Period.parse("2026-Q3"), now=NOW)
    assert most.amount == ZERO


def test_a_pledge_above_the_ceiling_is_refused_with_the_numbers():
    most = rules.Ceiling(gpus_up=8, remaining_ms=100 * 3_600_000, availability_percent=95)
    with pytest.raises(Refused) as refusal:
        rules.check_pledge(
            GpuMilliseconds.of_hours(Decimal("100.5")),
            pledged=GpuMilliseconds.of_hours(700),
            most=most,
            what="H100 at juelich in 2026-Q4",
        )
    assert refusal.value.sentence == (
        "100.50 GPU-hours of H100 at juelich in 2026-Q4 cannot be pledged: 8 GPUs that are up x 100.0 hours that "
        "remain x 95 % availability = 760.00 GPU-hours and 700.00 GPU-hours are pledged already. "
        "Pledge at most 60.00 GPU-hours."
    )


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 10**4), st.integers(1, 100))
def test_pledges_never_sum_up_above_the_ceiling(amount, pledged, gpus_up, percent):
    most = rules.Ceiling(gpus_up=gpus_up, remaining_ms=10**7, availability_percent=percent)
    is_above = (amount + pledged) * 100 > gpus_up * 10**7 * percent
    try:
        rules.check_pledge(GpuMilliseconds(amount), pledged=GpuMilliseconds(pledged), most=most, what="H100")
    except Refused:
        assert is_above
    else:
        assert not is_above
