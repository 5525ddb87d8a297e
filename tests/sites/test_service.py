"""Do sites keep what was said about them?"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from cesai.access.rules import Caller
from cesai.contract.messages import CapacitySnapshot, PoolReport, QueuedWork, RunningWork, SyncRequest
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.errors import NotFound, Refused
from cesai.kernel.periods import Period
from cesai.sites import service
from cesai.sites.service import ContactState, GpuClass, Mapped, NewPledge, NewSite

BY = Caller(principal_id=uuid4(), username="olga", name="Olga", memberships=frozenset())
MARKER = "0" * 32 + "-a1"


def report(**changes) -> PoolReport:
    told = {
        "cluster": "jsc",
        "partition": "gpu",
        "gres_type": "h100",
        "nodes": 2,
        "nodes_up": 2,
        "gpus_per_node": 4,
        "gpus": 8,
        "gpus_up": 8,
        "gpus_free": 3,
        "max_walltime_minutes": 1440,
    }
    return PoolReport.model_validate(told | changes)


def request(now, *pools, **changes) -> SyncRequest:
    capacity = CapacitySnapshot(
        taken_at=now,
        kind="slurm",
        backend="rest",
        dialect="v0.0.38",
        scheduler_version="22.05.8",
        pools=pools,
        running=(RunningWork(partition="gpu", gpus=5, ends_by=now + timedelta(hours=1), marker=MARKER),),
        queued=(QueuedWork(partition="gpu", gpus=4, walltime_minutes=30),),
    )
    told = {
        "agent_version": "0.1.0",
        "instance_id": "i",
        "sequence": 1,
        "site_epoch": "e",
        "clock": now,
        "is_reachable": True,
        "capacity": capacity if pools else None,
    }
    return SyncRequest.model_validate(told | changes)


@pytest.fixture
def site(db, now):
    service.add_gpu_class(db, GpuClass(id="H100", name="NVIDIA H100", memory_gb=80), by=BY, now=now)
    return service.register(db, NewSite(id="juelich", name="Jülich", kind="slurm", country="DE"), by=BY, now=now)


@pytest.mark.usefixtures("site")
def test_a_site_and_a_class_are_registered_once(db, now):
    with pytest.raises(Refused, match="There is a site juelich already"):
        service.register(db, NewSite(id="juelich", name="J", kind="slurm", country="DE"), by=BY, now=now)
    with pytest.raises(Refused, match="There is a GPU class H100 already"):
        service.add_gpu_class(db, GpuClass(id="H100", name="N", memory_gb=80), by=BY, now=now)


@pytest.mark.usefixtures("site")
def test_an_unknown_class_is_refused_with_the_nearest_known_one(db):
    with pytest.raises(Refused, match=r"There is no GPU class 'H10'. Did you mean H100?"):
        service.check_gpu_class(db, "H10")


@pytest.mark.usefixtures("site")
def test_what_the_agent_tells_is_kept_and_read_back(db, now):
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    heard = service.site(db, "juelich")
    assert heard.contact.state(now) is ContactState.OK
    assert (heard.contact.backend, heard.contact.scheduler_version) == ("rest", "22.05.8")
    assert heard.contact.inventory_taken_at == now
    assert service.closed_because(heard, now) is None
    (pool,) = service.pools(db, "juelich")
    assert (pool.gpus, pool.gpus_free, pool.proposed_class, pool.gpu_class) == (8, 3, "H100", None)
    running, queued = service.running_and_queued(db, "juelich")
    assert (running[0].gpus, running[0].marker) == (5, MARKER)
    assert (queued[0].gpus, queued[0].walltime_minutes) == (4, 30)


@pytest.mark.usefixtures("site")
def test_a_sync_without_inventory_keeps_the_last_one(db, now):
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    later = now + timedelta(minutes=1)
    service.record_contact(db, "juelich", request=request(later), now=later)
    assert service.site(db, "juelich").contact.inventory_taken_at == now
    assert len(service.pools(db)) == 1


@pytest.mark.usefixtures("site")
def test_an_inventory_that_contradicts_itself_is_set_aside_and_shown(db, now):
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    later = now + timedelta(minutes=1)
    service.record_contact(db, "juelich", request=request(later, report(gpus_free=9)), now=later)
    shown = service.site(db, "juelich").contact
    assert shown.trouble == (
        "The inventory contradicts itself and was set aside. Pool jsc/gpu/h100: 9 GPUs free, but 8 up."
    )
    assert (shown.last_heard_at, shown.inventory_taken_at) == (later, now)
    assert service.pools(db)[0].gpus_free == 3
    service.record_contact(db, "juelich", request=request(later, report(gpus_free=0)), now=later)
    assert service.site(db, "juelich").contact.trouble is None
    assert service.pools(db)[0].gpus_free == 0


@pytest.mark.usefixtures("site")
def test_an_agents_words_with_nul_characters_do_not_silence_the_site(db, now):
    told = request(now, report(features=("a\0b",)), trouble="bad\0disk", agent_version="0\0", site_epoch="\0")
    service.record_contact(db, "juelich", request=told, now=now)
    db.flush()
    assert service.site(db, "juelich").contact.trouble == "bad\N{REPLACEMENT CHARACTER}disk"


@pytest.mark.usefixtures("site")
def test_a_clock_an_hour_off_moves_what_the_site_says_onto_the_hubs_clock(db, now):
    ahead = now + timedelta(hours=1)
    service.record_contact(db, "juelich", request=request(ahead, report()), now=now)
    contact = service.site(db, "juelich").contact
    assert contact.clock_skew_s == 3600
    assert contact.inventory_taken_at == now
    assert "clock" in (contact.trouble or "")
    running, _ = service.running_and_queued(db, "juelich")
    assert running[0].ends_by == now + timedelta(hours=1)


@pytest.mark.usefixtures("site")
def test_a_pool_that_is_gone_is_forgotten_and_its_class_remembered(db, now):
    service.record_contact(db, "juelich", request=request(now, report(), report(gres_type=None)), now=now)
    service.confirm_mapping(db, "juelich", [Mapped("jsc", "gpu", None, "H100")], by=BY, now=now)
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    assert [pool.gpu_class for pool in service.pools(db)] == [None]
    service.record_contact(db, "juelich", request=request(now, report(), report(gres_type=None)), now=now)
    assert {pool.gres_type: pool.gpu_class for pool in service.pools(db)} == {"h100": None, None: "H100"}


@pytest.mark.usefixtures("site")
def test_the_mapping_is_replaced_whole(db, now):
    service.record_contact(db, "juelich", request=request(now, report(), report(partition="dev")), now=now)
    service.confirm_mapping(db, "juelich", [Mapped("jsc", "gpu", "h100", "H100")], by=BY, now=now)
    pools = service.confirm_mapping(db, "juelich", [Mapped("jsc", "dev", "h100", "H100")], by=BY, now=now)
    assert {pool.partition: pool.gpu_class for pool in pools} == {"gpu": None, "dev": "H100"}
    assert service.gpus_by_class(pools) == {"H100": 8}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([Mapped("jsc", "gpu", "a100", "H100")], "jsc/gpu/a100 is not in the site's inventory"),
        ([Mapped("jsc", "gpu", "h100", "H100")] * 2, "jsc/gpu/h100 is named twice"),
        ([Mapped("jsc", "gpu", "h100", "B200")], "There is no GPU class 'B200'"),
    ],
)
@pytest.mark.usefixtures("site")
def test_a_mapping_of_what_is_not_there_is_refused(db, now, entries, sentence):
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    with pytest.raises(Refused, match=sentence):
        service.confirm_mapping(db, "juelich", entries, by=BY, now=now)


@pytest.mark.usefixtures("site")
def test_a_draining_site_is_closed_until_it_is_not(db, now):
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    drained = service.set_draining(db, "juelich", is_draining=True, by=BY, now=now)
    assert "is draining" in (service.closed_because(drained, now) or "")
    assert service.closed_because(service.set_draining(db, "juelich", is_draining=False, by=BY, now=now), now) is None


@pytest.mark.usefixtures("site")
def test_the_order_counter_only_grows(db):
    assert service.order_revision(db, "juelich") == 0
    assert service.bump_order_revision(db, "juelich") == 1
    assert service.bump_order_revision(db, "juelich") == 2
    assert service.order_revision(db, "juelich") == 2


@pytest.mark.usefixtures("site")
def test_silence_is_counted_from_the_hubs_own_return(db, now):
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    service.look(db, now=now)
    back = now + timedelta(hours=1)
    assert service.look(db, now=back).doubt == "The hub itself did not look for 3600 s."
    assert service.site(db, "juelich").contact.state(back) is ContactState.SUSPECT
    for minute in range(1, 17):
        watch = service.look(db, now=back + timedelta(minutes=minute))
        assert watch.doubt is None
    assert service.site(db, "juelich").contact.state(back + timedelta(minutes=16)) is ContactState.LOST


@pytest.fixture
def mapped(db, now, site):  # noqa: ARG001  the pools are this site's
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    return service.confirm_mapping(db, "juelich", [Mapped("jsc", "gpu", "h100", "H100")], by=BY, now=now)


def pledge(hours: Decimal | int, period: str = "2027-Q1") -> NewPledge:
    return NewPledge("juelich", "H100", Period.parse(period), GpuMilliseconds.of_hours(hours))


@pytest.mark.usefixtures("mapped")
def test_pledges_add_up_to_what_the_inventory_can_give(db, now):
    most = Decimal(8 * (90 * 24 - 1) * 95) / 100
    service.record_pledge(db, pledge(most - 1), by=BY, now=now)
    with pytest.raises(Refused, match=r"Pledge at most 1.00 GPU-hours"):
        service.record_pledge(db, pledge(2), by=BY, now=now)
    service.record_pledge(db, pledge(1), by=BY, now=now)
    assert [each.amount for each in service.pledges(db, "juelich")] == [
        GpuMilliseconds.of_hours(most - 1),
        GpuMilliseconds.of_hours(1),
    ]


@pytest.mark.usefixtures("site")
def test_a_pledge_needs_a_confirmed_mapping(db, now):
    service.record_contact(db, "juelich", request=request(now, report()), now=now)
    with pytest.raises(Refused, match="confirm the mapping"):
        service.check_pledge(db, pledge(1), now=now)


@pytest.mark.usefixtures("mapped")
def test_a_pledge_of_nothing_or_for_the_past_is_refused(db, now):
    with pytest.raises(Refused, match="more than 0"):
        service.check_pledge(db, pledge(0), now=now)
    with pytest.raises(Refused, match=r"Pledge at most 0.00"):
        service.check_pledge(db, pledge(1, "2026-Q3"), now=now)


def test_an_unknown_site_is_not_found(db, now):
    with pytest.raises(NotFound):
        service.site(db, "nowhere")
    with pytest.raises(NotFound):
        service.record_pledge(db, NewPledge("nowhere", "H100", Period(2027, 1), GpuMilliseconds(1)), by=BY, now=now)
