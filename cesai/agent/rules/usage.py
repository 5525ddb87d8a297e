"""Which launches cost whom how much, and which of that is news?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cesai.agent.rules.held import SAME_INSTANT_S, HeldAttempt, Owner, Phase
from cesai.contract.connector import Launch
from cesai.contract.messages import UsageKind, UsageRecord
from cesai.kernel.amounts import MS_PER_SECOND

BY_STAMPS = "BY-STAMPS"  # accounting never told the end: the wrapper did
_HEARD_LATE = timedelta(minutes=1)  # the agent hears of an account a moment after the hub has it
WITHDRAWN = "WITHDRAWN"  # accounting no longer has it


@dataclass(frozen=True, slots=True)
class Told:
    """A usage record and the launch that it tells of."""

    record: UsageRecord
    launch: str


def launch_of(external_id: str, submit_time: datetime | None) -> str:
    """A name for one submission; an id used again does not share it."""
    return f"{external_id}@{_stamp(submit_time)}"


def tell(launches: Iterable[Launch], held: Mapping[str, HeldAttempt], *, epoch: str, cluster: str) -> tuple[Told, ...]:
    """A record of every launch that started and has ended; `held` is by marker."""
    return tuple(
        _told(launch, held.get(launch.name), epoch=epoch, cluster=cluster)
        for launch in launches
        if launch.is_final and launch.started_at is not None
    )


def is_due(launch: Launch, accounts: Mapping[str, datetime]) -> bool:
    """Whether a stranger's launch is told: what ran before the account was the hub's is not the hub's matter."""
    since = accounts.get(launch.account)
    return since is not None and launch.submit_time >= since - _HEARD_LATE


def kind_of(launch: Launch, held: HeldAttempt | None) -> UsageKind:
    """Own when it holds the fence, or nobody does; duplicate when another launch does."""
    if held is None or launch.account != held.order.account:
        return UsageKind.UNATTRIBUTED
    owner = held.owner
    if owner is None:
        return UsageKind.OWN
    if launch.external_id != owner.external_id:
        return UsageKind.DUPLICATE
    is_fenced = launch.external_id in held.duplicate_ids and not _is_same_instant(launch.submit_time, owner)
    return UsageKind.DUPLICATE if is_fenced else UsageKind.OWN


def _is_same_instant(submit_time: datetime, owner: Owner) -> bool:
    if owner.submit_time is None:
        return True
    return abs((submit_time - owner.submit_time).total_seconds()) <= SAME_INSTANT_S


def _told(launch: Launch, held: HeldAttempt | None, *, epoch: str, cluster: str) -> Told:
    kind = kind_of(launch, held)
    started_at = launch.started_at or launch.submit_time
    record = UsageRecord(
        key=_key(epoch, launch.external_id, launch.submit_time, started_at),
        revision=1,
        kind=kind,
        attempt_id=held.attempt_id if held is not None and kind is not UsageKind.UNATTRIBUTED else None,
        account=launch.account,
        cluster=held.order.cluster if held is not None else cluster,
        partition=launch.partition,
        external_id=launch.external_id,
        gres_type=launch.gres_type,
        state=launch.native_state,
        started_at=started_at,
        ended_at=launch.ended_at,
        gpus=launch.gpus,
        gpu_ms=launch.gpus * launch.elapsed_s * MS_PER_SECOND,
        is_final=True,
    )
    return Told(record, launch_of(launch.external_id, launch.submit_time))


def tell_by_stamps(held: HeldAttempt, *, epoch: str) -> Told | None:
    """What the wrapper's stamps say, when accounting owes the end; None when they do not say it either."""
    stamps, owner, order = held.stamps, held.owner, held.order
    if stamps is None or stamps.ended_at is None or owner is None:
        return None
    submit_time = owner.submit_time or held.submit_time
    seconds = max(0, int((stamps.ended_at - stamps.started_at).total_seconds()))
    record = UsageRecord(
        key=_key(epoch, owner.external_id, submit_time, stamps.started_at),
        revision=1,
        kind=UsageKind.OWN,
        attempt_id=held.attempt_id,
        account=order.account,
        cluster=order.cluster,
        partition=order.partition,
        external_id=owner.external_id,
        gres_type=order.gres_type,
        state=BY_STAMPS,
        started_at=stamps.started_at,
        ended_at=stamps.ended_at,
        gpus=order.charged_gpus,
        gpu_ms=order.charged_gpus * seconds * MS_PER_SECOND,
        is_final=True,
    )
    return Told(record, launch_of(owner.external_id, submit_time))


def revise(stored: Sequence[Told], fresh: Sequence[Told]) -> tuple[tuple[Told, ...], tuple[Told, ...]]:
    """What to write down anew, and what is stored but was not told this time.

    A key once given stays: a start time that accounting corrects, or a new epoch, makes a new revision, not a new key.
    """
    former: dict[str, list[Told]] = defaultdict(list)
    for each in stored:
        former[each.launch].append(each)
    news: list[Told] = []
    for launch, told in _by_launch(fresh).items():
        news += _revise_launch(former[launch], told)
    return tuple(news), tuple(each for rest in former.values() for each in rest)


def _by_launch(fresh: Sequence[Told]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = defaultdict(list)
    for each in fresh:
        found[each.launch].append(each)
    return found


def _revise_launch(former: list[Told], told: list[Told]) -> list[Told]:
    """Pairs by start time first; one left on each side is the same launch with a corrected start."""
    news, unpaired = [], []
    for each in told:
        match = next((old for old in former if old.record.started_at == each.record.started_at), None)
        if match is None:
            unpaired.append(each)
            continue
        former.remove(match)
        news += _revision(match, each)
    if len(unpaired) == 1 and len(former) == 1:
        return news + _revision(former.pop(), unpaired[0])
    return news + unpaired


def _revision(old: Told, new: Told) -> list[Told]:
    same = new.record.model_copy(update={"key": old.record.key, "revision": old.record.revision})
    if same == old.record:
        return []
    return [Told(same.model_copy(update={"revision": old.record.revision + 1}), old.launch)]


def withdraw(old: Told) -> Told | None:
    """Accounting does not have it any more: it costs nothing; None when that was told already."""
    if old.record.state in {WITHDRAWN, BY_STAMPS}:
        return None
    record = old.record.model_copy(
        update={"revision": old.record.revision + 1, "state": WITHDRAWN, "gpu_ms": 0, "gpus": 0}
    )
    return Told(record, old.launch)


def reading(launches: Iterable[Launch]) -> frozenset[tuple[object, ...]]:
    """What one reading said of an attempt; two that are the same mean that accounting has settled down."""
    return frozenset(
        (each.external_id, each.submit_time, each.started_at, each.ended_at, each.elapsed_s, each.gpus)
        for each in launches
    )


def is_told_whole(held: HeldAttempt, launches: Sequence[Launch]) -> bool:
    """Whether accounting has an end for every launch of this ended attempt, and the one that ran is among them."""
    if held.phase is not Phase.ENDED or not all(launch.is_final for launch in launches):
        return False
    started = [launch for launch in launches if launch.started_at is not None]
    if held.owner is not None:
        return any(launch.external_id == held.owner.external_id for launch in started)
    return held.started_at is None or bool(started)


def _key(epoch: str, external_id: str, submit_time: datetime | None, started_at: datetime) -> str:
    return f"{epoch[:64]}/{external_id}/{_stamp(submit_time)}/{_stamp(started_at)}"


def _stamp(when: datetime | None) -> str:
    return when.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ") if when else "-"
