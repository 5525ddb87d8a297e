"""How does one look at the scheduler become the next journaled steps of every attempt?

Runs in a worker thread of its own: a scheduler that hangs stops nothing but this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cesai.agent import rules
from cesai.agent.journal import Journal
from cesai.agent.rules import Action, HeldAttempt, Patience, Phase, Revoke, Sighting, Step
from cesai.agent.rules.policy import Policy, refusal
from cesai.contract.connector import FolderReading, KeepsFolders, Observation, RunsJobs, SiteUnavailable, SubmitRefused
from cesai.contract.messages import AttemptOrder, Wish
from cesai.kernel.clock import Clock
from cesai.kernel.crash import CrashPoint, reach
from cesai.kernel.states import Outcome

log = logging.getLogger(__name__)

QUICK_FOR = timedelta(seconds=30)  # how long after a change something is expected within seconds
LEFTOVERS_FOR = timedelta(minutes=10)  # how long an ended attempt is watched for copies that come back
LEFTOVERS_EVERY = timedelta(seconds=30)
LEFTOVERS_AT_ONCE = 200
LOOK_BACK = timedelta(days=1)  # accounting is asked from so long before the oldest open attempt
_LONGEST_DOUBLING = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn brought."""

    again_s: float
    is_reachable: bool
    has_news: bool = False
    has_ended: bool = False


class Scheduler:
    """Drives every attempt of one cluster, one bulk look per turn."""

    def __init__(
        self,
        connector: RunsJobs,
        journal: Journal,
        *,
        policy: Policy,
        patience: Patience,
        poll_s: float,
        clock: Clock,
        submits_per_turn: int = 25,
        open_attempts: int = 10_000,
    ) -> None:
        self._connector = connector
        self._folders = connector if isinstance(connector, KeepsFolders) else None
        self._journal = journal
        self._policy, self._patience, self._poll_s, self._clock = policy, patience, poll_s, clock
        self._submits_per_turn, self._open_attempts = submits_per_turn, open_attempts
        self._held = {key: entry.held for key, entry in journal.entries().items()}
        self._quick_until = clock.now() + QUICK_FOR
        self._silent_turns = 0
        self._leftovers_at = clock.now()

    def turn(self, orders: Sequence[AttemptOrder]) -> Turn:
        """Take the orders, look once, decide, write down, act.

        Raises:
            JournalBroken: something could not be written; what depended on it was not done.
        """
        now = self._clock.now()
        has_news = self._take(orders, now)
        wishes = {order.attempt_id: order for order in orders}
        followed = self._followed(wishes, now)
        seen = self._connector.observe([held.marker for held in followed], _since(followed, now))
        steps = [self._decide(held, wishes.get(held.attempt_id), seen=seen) for held in followed]
        steps = self._at_most(steps)
        changed, has_ended = self._write_down(steps, now)
        acted = self._act([step for step in steps if step.action is not None])
        return Turn(
            again_s=self._again(steps, has_acted=acted, seen=seen, now=now),
            is_reachable=seen.queue_answered,
            has_news=has_news or changed or acted,
            has_ended=has_ended,
        )

    # Orders

    def _take(self, orders: Sequence[AttemptOrder], now: datetime) -> bool:
        """Write down each order that is new; one that the journal knows as ended is never run again."""
        open_now = self._forget_settled(now)
        fresh: list[HeldAttempt] = []
        again: list[str] = []
        for order in orders:
            if order.attempt_id in open_now:
                continue
            known = self._journal.find(order.attempt_id)
            if known is not None:
                again.append(order.attempt_id)
                self._held[order.attempt_id] = known.held
            elif self._has_room(len(fresh)):
                reach(CrashPoint.AGENT_ORDER_RECEIVED)
                fresh.append(self._received(order, now))
        self._journal.unsettle(again)
        self._journal.save(fresh, now)
        self._held.update({held.attempt_id: held for held in fresh})
        if fresh:
            self._quick_until = now + QUICK_FOR
        return bool(fresh or again)

    def _has_room(self, fresh: int) -> bool:
        is_open = sum(held.phase is not Phase.ENDED for held in self._held.values())
        return is_open + fresh < self._open_attempts

    def _received(self, order: AttemptOrder, now: datetime) -> HeldAttempt:
        held = HeldAttempt(order=order, accepted_at=now)
        same = self._journal.by_marker([order.marker])
        sentence = refusal(order, self._policy)
        if same:
            sentence = "Another attempt has this marker already: the hub may not use a marker twice."
        if sentence is None:
            log.info("order taken: attempt=%s marker=%s", order.attempt_id, order.marker)
            return held
        log.warning("order refused: attempt=%s: %s", order.attempt_id, sentence)
        return replace(
            held, phase=Phase.ENDED, outcome=Outcome.REJECTED, reason=sentence, ended_seen_at=now, scheduler_gpu_ms=0
        )

    def _forget_settled(self, now: datetime) -> Collection[str]:
        """What the hub has not settled; the rest is let go once nothing of it can come back."""
        known = self._journal.entries()
        for held in [held for key, held in self._held.items() if key not in known]:
            if not _is_followed(held, now):
                del self._held[held.attempt_id]
        return known

    # Look and decide

    def _followed(self, wishes: Mapping[str, AttemptOrder], now: datetime) -> list[HeldAttempt]:
        """Whom to ask about: not more new ones than can be submitted, and what has ended only now and then."""
        is_open = [held for held in self._held.values() if held.phase is not Phase.ENDED]
        tried = [held for held in is_open if held.tries > 0]
        fresh = [held for held in is_open if held.tries == 0]
        fresh.sort(key=lambda held: not _is_cancelled(wishes.get(held.attempt_id)))
        followed = [*tried, *fresh[: self._submits_per_turn]]
        if now - self._leftovers_at < LEFTOVERS_EVERY:
            return followed
        self._leftovers_at = now
        ended = [held for held in self._held.values() if held.phase is Phase.ENDED and _is_followed(held, now)]
        return [*followed, *ended[-LEFTOVERS_AT_ONCE:]]

    def _decide(self, held: HeldAttempt, order: AttemptOrder | None, *, seen: Observation) -> Step:
        jobs = seen.of(held.marker)
        sighting = Sighting(
            queue_answered=seen.queue_answered,
            accounting_answered=seen.accounting_answered,
            jobs=jobs,
            keeps_folders=self._folders is not None,
            folder=self._folder(held),
        )
        now = self._clock.now()
        step = rules.decide(held, order, sighting=sighting, now=now, patience=self._patience)
        if step.action is Action.BURY and self._bury(step.held):
            # A tombstone needs no new look at the scheduler, only at the folder.
            sighting = replace(sighting, folder=self._folder(held))
            return rules.decide(step.held, order, sighting=sighting, now=now, patience=self._patience)
        return step

    def _folder(self, held: HeldAttempt) -> FolderReading | None:
        if self._folders is None or held.phase is Phase.ENDED:
            return None
        try:
            return self._folders.read_folder(held.marker)
        except SiteUnavailable as error:
            log.warning("folder not read: marker=%s: %s", held.marker, error)
            return None

    def _bury(self, held: HeldAttempt) -> bool:
        if self._folders is None:
            return False
        try:
            is_buried = self._folders.bury(held.marker)
        except SiteUnavailable as error:
            log.warning("not buried: marker=%s: %s", held.marker, error)
            return False
        log.info("buried: marker=%s can_start=%s", held.marker, not is_buried)
        return True

    def _at_most(self, steps: list[Step]) -> list[Step]:
        """No more submissions than one turn may make; the rest keep their place."""
        taken = 0
        kept = []
        for step in steps:
            if step.action is Action.SUBMIT:
                taken += 1
                if taken > self._submits_per_turn:
                    continue
            kept.append(step)
        return kept

    # Write down

    def _write_down(self, steps: Sequence[Step], now: datetime) -> tuple[bool, bool]:
        """Journal what was decided, before any of it is done."""
        former = {step.held.attempt_id: self._held[step.held.attempt_id] for step in steps}
        changed = [step.held for step in steps if step.held != former[step.held.attempt_id]]
        started = [held for held in changed if _is_new(held, former, Phase.RUNNING)]
        ended = [held for held in changed if _is_new(held, former, Phase.ENDED)]
        for point, found in ((CrashPoint.AGENT_FENCE_SEEN, started), (CrashPoint.AGENT_END_SEEN, ended)):
            if found:
                reach(point)
        has_news = self._save(changed, now)
        self._held.update({step.held.attempt_id: step.held for step in steps})
        for held in changed:
            _tell(held, former[held.attempt_id])
        if ended:
            reach(CrashPoint.AGENT_END_JOURNALED)
        if any(held.is_accepted_as_ordered > former[held.attempt_id].is_accepted_as_ordered for held in changed):
            reach(CrashPoint.AGENT_READ_BACK)
        if started or ended:
            self._quick_until = now + QUICK_FOR
        return has_news, bool(ended)

    def _save(self, helds: Sequence[HeldAttempt], now: datetime) -> bool:
        return self._journal.save(helds, now) if helds else False

    def _keep(self, helds: Iterable[HeldAttempt]) -> None:
        """Journal what came of an action."""
        kept = list(helds)
        self._save([held for held in kept if held != self._held[held.attempt_id]], self._clock.now())
        self._held.update({held.attempt_id: held for held in kept})

    # Act

    def _act(self, steps: Sequence[Step]) -> bool:
        by_action = {action: [step for step in steps if step.action is action] for action in Action}
        # What was read back runs before the next batch takes its time.
        self._release(by_action[Action.RELEASE])
        self._cancel(by_action[Action.CANCEL])
        self._submit([step.held for step in by_action[Action.SUBMIT]])
        has_acted = any(by_action[action] for action in (Action.SUBMIT, Action.RELEASE, Action.CANCEL))
        if has_acted:
            self._quick_until = self._clock.now() + QUICK_FOR
        return has_acted

    def _submit(self, intents: Sequence[HeldAttempt]) -> None:
        """One after the other; the first silence ends the batch, since the rest would meet the same."""
        if not intents:
            return
        reach(CrashPoint.AGENT_INTENT_JOURNALED)
        results: list[HeldAttempt] = []
        for place, intent in enumerate(intents):
            result = self._submit_one(intent)
            results.append(result)
            if result.is_unanswered:
                results += [_not_called(rest) for rest in intents[place + 1 :]]
                break
        self._keep(results)
        reach(CrashPoint.AGENT_ID_JOURNALED)

    def _submit_one(self, intent: HeldAttempt) -> HeldAttempt:
        try:
            self._connector.prepare(intent.order)
        except SubmitRefused as error:
            log.warning("refused: marker=%s: %s", intent.marker, error)
            return rules.refused(intent, str(error))
        except SiteUnavailable as error:
            log.warning("not prepared: marker=%s: %s", intent.marker, error)
            return rules.doubtful(_not_called(intent), f"The attempt's folder cannot be written: {error}")
        return self._call_submit(intent)

    def _call_submit(self, intent: HeldAttempt) -> HeldAttempt:
        try:
            external_id = self._connector.submit(intent.order)
        except SubmitRefused as error:
            log.warning("refused: marker=%s: %s", intent.marker, error)
            return rules.refused(intent, str(error))
        except SiteUnavailable as error:
            log.warning("submit in doubt: marker=%s: %s", intent.marker, error)
            return rules.doubtful(intent, f"The site gave no usable answer to the submission: {error}")
        reach(CrashPoint.AGENT_SUBMITTED)
        log.info("submitted: marker=%s id=%s try=%d", intent.marker, external_id, intent.tries)
        return rules.submitted(intent, external_id)

    def _release(self, steps: Sequence[Step]) -> None:
        if not steps:
            return
        ids = [each for step in steps for each in step.ids]
        self._attempted("release", self._connector.release, ids)
        reach(CrashPoint.AGENT_RELEASED)
        self._keep(rules.released(step.held, self._clock.now()) for step in steps)

    def _cancel(self, steps: Sequence[Step]) -> None:
        if not steps:
            return
        ids = [each for step in steps for each in step.ids]
        self._attempted("cancel", self._connector.cancel, ids)
        reach(CrashPoint.AGENT_CANCEL_SENT)
        self._keep(rules.cancelled(step.held, self._clock.now()) for step in steps)

    def _attempted(self, word: str, call: Callable[[Sequence[str]], None], ids: Sequence[str]) -> None:
        try:
            call(ids)
        except SiteUnavailable as error:
            log.warning("%s not proven: ids=%s: %s", word, ",".join(ids), error)
        else:
            log.info("%s asked: ids=%s", word, ",".join(ids))

    # When to look again

    def _again(self, steps: Sequence[Step], *, has_acted: bool, seen: Observation, now: datetime) -> float:
        if not seen.queue_answered:
            self._silent_turns += 1
            doubled: float = self._patience.quick_s * 2.0 ** min(self._silent_turns - 1, _LONGEST_DOUBLING)
            return min(doubled, self._patience.longest_wait_s)
        self._silent_turns = 0
        if has_acted:
            return 0.0
        hints = [step.again_s for step in steps if step.again_s is not None]
        is_quick = now < self._quick_until
        if hints and is_quick:
            return min(*hints, self._poll_s)
        if is_quick and any(step.held.phase is Phase.SUBMITTED for step in steps):
            return min(self._patience.quick_s, self._poll_s)
        return self._poll_s


def _is_followed(held: HeldAttempt, now: datetime) -> bool:
    """Open ones, and ended ones for a while: a copy that comes back must not be left in the queue."""
    if held.phase is not Phase.ENDED:
        return True
    return held.tries > 0 and held.ended_seen_at is not None and now - held.ended_seen_at < LEFTOVERS_FOR


def _is_cancelled(order: AttemptOrder | None) -> bool:
    return order is not None and order.wish is Wish.CANCEL


def _since(followed: Sequence[HeldAttempt], now: datetime) -> datetime:
    return min((held.accepted_at for held in followed), default=now) - LOOK_BACK


def _not_called(intent: HeldAttempt) -> HeldAttempt:
    """The intent was written down, and submit was surely not called."""
    return replace(intent, tries=intent.tries - 1)


def _is_new(held: HeldAttempt, former: dict[str, HeldAttempt], phase: Phase) -> bool:
    return held.phase is phase and former[held.attempt_id].phase is not phase


def _tell(held: HeldAttempt, former: HeldAttempt) -> None:
    if held.phase is not former.phase:
        log.info(
            "attempt %s: marker=%s id=%s outcome=%s", held.phase, held.marker, held.external_id, held.outcome or "-"
        )
    if held.revoke is not former.revoke and held.revoke is not None:
        word = "taken back" if held.revoke is Revoke.REJECT else "to be submitted again"
        log.warning("%s: marker=%s: %s", word, held.marker, held.sentence)
