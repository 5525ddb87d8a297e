"""Which one step does the submit protocol ask for now?

Rules stand in order; the first that has something to say decides. Each may be repeated after a crash at any place:
what counts is the journal, what the site shows, and the fence in the attempt's folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from cesai.agent.rules.ending import end_by_record, end_by_stamps, end_lost, end_without_start, lost_at
from cesai.agent.rules.held import (
    Action,
    HeldAttempt,
    Patience,
    Phase,
    Revoke,
    Sighting,
    Step,
    Watch,
    identity,
)
from cesai.agent.rules.readback import mismatch
from cesai.agent.rules.view import View, is_absence_proven, is_gone, keeper, look, note, own_final
from cesai.contract.connector import JobRecord, SiteState
from cesai.contract.messages import AttemptOrder, Wish

Rule = Callable[[HeldAttempt, View], Step | None]

_UNREAD_LIMIT = 5
_LONGEST_DOUBLING = 8


def decide(
    held: HeldAttempt,
    order: AttemptOrder | None,
    *,
    sighting: Sighting,
    now: datetime,
    patience: Patience = Patience(),
) -> Step:
    """The next step of this attempt; `order` is the hub's newest word, if it has one."""
    view = look(held, sighting, now=now, patience=patience)
    if held.phase is Phase.ENDED:
        return _after_the_end(held, view)
    seen = note(_take_wish(held, order), view)
    for rule in RULES:
        step = rule(seen, view)
        if step is not None:
            return step
    return Step(seen)


def _take_wish(held: HeldAttempt, order: AttemptOrder | None) -> HeldAttempt:
    """A cancel once wished stays wished; nothing else of a held order ever changes."""
    if order is None or order.wish is not Wish.CANCEL:
        return held
    return replace(held, is_cancel_wished=True)


def _after_the_end(held: HeldAttempt, view: View) -> Step:
    """The end is final: whatever of this attempt still shows up, or comes back, is taken away."""
    ids = tuple(job.external_id for job in view.live if job.state is not SiteState.ENDING)
    if not ids or not _is_cancel_due(held, view):
        return Step(held)
    return Step(held, Action.CANCEL, ids, again_s=view.patience.quick_s)


def _site_is_silent(held: HeldAttempt, view: View) -> Step | None:
    """No answer proves nothing; only a tombstone can be set without the scheduler."""
    if view.queue:
        return None
    if _needs_burial(held, view):
        return Step(held, Action.BURY)
    return Step(held)


def _too_many_copies(held: HeldAttempt, view: View) -> Step | None:
    """One copy is kept, the fence's owner before any other; the rest are cancelled."""
    if held.must_go:
        return None
    kept = keeper(view, held.owner)
    surplus = [job for job in view.live if job is not kept and job.state is not SiteState.ENDING]
    if not surplus or not _is_cancel_due(held, view):
        return None
    return _cancel(held, view, surplus)


def _going(held: HeldAttempt, view: View) -> Step | None:
    """Cancelled, refused or stuck: bury what has not started, cancel what is there, and wait for the proof."""
    if not held.must_go:
        return None
    if _needs_burial(held, view):
        return Step(held, Action.BURY, again_s=view.patience.quick_s)
    if view.live:
        if _is_cancel_due(held, view):
            return _cancel(held, view, [job for job in view.live if job.state is not SiteState.ENDING])
        return Step(held, again_s=view.patience.quick_s)
    return _gone(held, view) if held.owner is None else None


def _gone(held: HeldAttempt, view: View) -> Step:
    """Nothing lives and nothing started: once that is proven it is over, or another copy follows."""
    if not is_gone(held, view) or not _is_shut(held, view):
        return Step(held, again_s=view.patience.quick_s)
    if held.is_cancel_wished or held.revoke is Revoke.REJECT:
        return Step(end_without_start(held, view))
    if not _is_submit_due(held, view):
        return Step(held, again_s=view.patience.quick_s)
    return _submit_again(held, view)


def _started(held: HeldAttempt, view: View) -> Step | None:
    """The fence was taken: the end is what its owner's final state and the wrapper's stamps say together."""
    if held.owner is None or view.live:
        return None
    stamped = held.stamps is not None and held.stamps.ended_at is not None
    record = own_final(view, held.owner)
    # A launch of the same id that found the fence taken: its quick end is not the end of the owner.
    is_shadowed = held.owner.external_id in held.duplicate_ids and not stamped
    if record is not None and not is_shadowed:
        return _agreed_end(held, view, record=record, stamped=stamped)
    return _vanished(held, view, stamped=stamped)


def _agreed_end(held: HeldAttempt, view: View, *, record: JobRecord, stamped: bool) -> Step:
    if stamped or (view.folder is not None and view.passed(held.watch.final_since, view.patience.stamps_s)):
        return Step(end_by_record(held, view, record=record))
    return Step(held, again_s=view.patience.quick_s)


def _vanished(held: HeldAttempt, view: View, *, stamped: bool) -> Step:
    """It started, and the scheduler no longer knows it: the stamps decide, or time does."""
    # Final records of other copies say nothing of the owner.
    watch = held.watch
    is_away = view.is_healthy and (
        is_absence_proven(held, view) or view.passed(watch.final_since, view.patience.ghost_s)
    )
    if not is_away:
        return Step(held, again_s=view.patience.quick_s)
    if stamped and held.stamps is not None:
        return Step(end_by_stamps(held, view, stamps=held.stamps))
    if view.now >= lost_at(held, lost_s=view.patience.lost_s):
        return Step(end_lost(held, view))
    reason = "The scheduler does not know the running job any more; waiting for the end mark of its wrapper."
    return Step(replace(held, reason=reason))


def _ended_without_fence(held: HeldAttempt, view: View) -> Step | None:
    """A final state, and the fence was never taken: nothing ran."""
    if view.live or not view.final:
        return None
    record = max(view.final, key=lambda job: (job.submit_time or held.accepted_at, not job.from_accounting))
    if not view.keeps_folders:
        return Step(end_by_record(held, view, record=record))
    if view.folder is None or not view.passed(held.watch.final_since, view.patience.stamps_s):
        return Step(held, again_s=view.patience.quick_s)
    if record.started_at is not None or record.state is not SiteState.CANCELLED:
        return _revoke(held, view, why=Revoke.AGAIN, sentence=_why_never_launched(record, view))
    if not held.is_buried:
        return Step(held, Action.BURY, again_s=view.patience.quick_s)
    return Step(end_by_record(held, view, record=record))


def _why_never_launched(record: JobRecord, view: View) -> str:
    """A launch that failed, or a job that the controller lost: nobody cancels in the moment before the fence."""
    if view.folder is not None and view.folder.trouble:
        return view.folder.trouble
    return (
        f"The site ended the job ({record.native_state}) before its wrapper could take the start fence; "
        "is the agent's folder shared with the nodes, and may the account write there?"
    )


def _impossible(held: HeldAttempt, view: View) -> Step | None:
    """The scheduler says that it waits for something that can never come."""
    kept = keeper(view, held.owner)
    if kept is None or kept.state is not SiteState.IMPOSSIBLE:
        return None
    sentence = f"The site can never start it: {kept.reason or kept.native_state}."
    return _revoke(held, view, why=Revoke.REJECT, sentence=sentence)


def _not_read_back(held: HeldAttempt, view: View) -> Step | None:
    """What was accepted must be what was ordered, or the reservation would be wrong."""
    kept = keeper(view, held.owner)
    if kept is None or held.is_accepted_as_ordered:
        return None
    if kept.gpus is None or kept.walltime_minutes is None:
        unread = held.watch.unread + 1
        if unread >= _UNREAD_LIMIT:
            sentence = "The site does not tell what it accepted, so it cannot be compared with the reservation."
            return _revoke(held, view, why=Revoke.REJECT, sentence=sentence)
        watch = replace(held.watch, unread=unread)
        return Step(replace(held, watch=watch), again_s=view.patience.quick_s)
    fault = mismatch(held.order, kept)
    if fault is not None:
        return _revoke(held, view, why=Revoke.REJECT, sentence=fault)
    accepted = replace(held, is_accepted_as_ordered=True)
    return _held_back(accepted, view) or Step(accepted)


def _held_back(held: HeldAttempt, view: View) -> Step | None:
    """Read back and as ordered: let it run."""
    kept = keeper(view, held.owner)
    if kept is None or kept.state is not SiteState.HELD:
        return None
    if is_operators_hold(kept):
        return Step(replace(held, reason="An operator of the site holds the job back."))
    watch, patience = held.watch, view.patience
    if watch.released_at is not None and not view.passed(watch.released_at, _release_wait(watch, patience)):
        return Step(held, again_s=patience.quick_s)
    if watch.releases >= patience.releases:
        return _revoke(held, view, why=Revoke.AGAIN, sentence="The site does not let the held job go.")
    return Step(held, Action.RELEASE, (kept.external_id,), again_s=patience.quick_s)


def _release_wait(watch: Watch, patience: Patience) -> float:
    # The first repeat comes soon: right after a crash of the controller the first release may be forgotten.
    return patience.quick_s * 2 if watch.releases <= 1 else min(patience.repeat_s, patience.quick_s * 2**watch.releases)


def is_operators_hold(job: JobRecord) -> bool:
    """Held by the site's operator, who has his reasons: the agent does not fight him.

    Source: Slurm's reason JobHeldAdmin; a job submitted held has JobHeldUser.
    """
    return "heldadmin" in job.reason.replace("_", "").replace(" ", "").lower()


def _absent(held: HeldAttempt, view: View) -> Step | None:
    """Nothing of it is at the site: submit, the first time at once, later only when the absence is proven."""
    if view.live or view.final or held.owner is not None:
        return None
    if view.keeps_folders and view.folder is None:
        return Step(held, again_s=view.patience.quick_s)
    if held.is_buried:
        # A tombstone that this journal does not remember setting: nothing can start under this marker any more.
        return _revoke(held, view, why=Revoke.REJECT, sentence="The attempt was called back at the site before.")
    if held.tries == 0 and not view.ghosts:
        return _submit(held, view)
    if not is_absence_proven(held, view) or not _is_submit_due(held, view):
        return Step(held, again_s=view.patience.quick_s)
    return _submit(held, view)


def _is_submit_due(held: HeldAttempt, view: View) -> bool:
    if held.tries <= 1:
        return True
    wait = min(2.0 ** min(held.tries, _LONGEST_DOUBLING), view.patience.longest_wait_s)
    return held.submit_called_at is None or view.now >= held.submit_called_at + timedelta(seconds=wait)


def _submit(held: HeldAttempt, view: View) -> Step:
    """The intent; the journal has it before the site hears of it."""
    intent = replace(
        held,
        phase=Phase.INTENDED,
        tries=held.tries + 1,
        submit_called_at=view.now,
        external_id=None,
        submit_time=None,
        is_accepted_as_ordered=False,
        is_released=False,
        started_at=None,
        reason=None,
        watch=Watch(),
    )
    return Step(intent, Action.SUBMIT, again_s=view.patience.quick_s)


def _submit_again(held: HeldAttempt, view: View) -> Step:
    """The stuck copy is gone: another one, unless too many were stuck already."""
    gone = tuple(identity(job) for job in view.final)
    if held.tries >= view.patience.tries:
        sentence = f"{held.sentence} It was tried {held.tries} times."
        return _revoke(held, view, why=Revoke.REJECT, sentence=sentence)
    return _submit(replace(held, revoke=None, sentence=None, discarded=(*held.discarded, *gone)), view)


def _revoke(held: HeldAttempt, view: View, *, why: Revoke, sentence: str) -> Step:
    """Take it back, and journal why before anything is cancelled."""
    revoked = replace(held, revoke=why, sentence=sentence, reason=sentence)
    return _going(revoked, view) or Step(revoked, again_s=view.patience.quick_s)


def _cancel(held: HeldAttempt, view: View, jobs: list[JobRecord]) -> Step:
    ids = tuple(job.external_id for job in jobs)
    return Step(held, Action.CANCEL if ids else None, ids, again_s=view.patience.quick_s)


def _is_cancel_due(held: HeldAttempt, view: View) -> bool:
    sent = held.watch.cancelled_at
    return sent is None or view.passed(sent, view.patience.repeat_s)


def _needs_burial(held: HeldAttempt, view: View) -> bool:
    """A tombstone is wanted: it may never start, it has not, and the file system answers."""
    is_for_good = held.is_cancel_wished or held.revoke is Revoke.REJECT
    return is_for_good and view.keeps_folders and view.folder is not None and not held.is_buried and held.owner is None


def _is_shut(held: HeldAttempt, view: View) -> bool:
    """Nothing of it can start any more; a stuck copy needs no tombstone, since another one follows."""
    if not view.keeps_folders or held.is_buried:
        return True
    return held.revoke is Revoke.AGAIN and not held.is_cancel_wished and view.folder is not None


RULES: tuple[Rule, ...] = (
    _site_is_silent,
    _too_many_copies,
    _going,
    _started,
    _ended_without_fence,
    _impossible,
    _not_read_back,
    _held_back,
    _absent,
)
