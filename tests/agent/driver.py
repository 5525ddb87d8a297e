"""What does the agent do without its loop, journal file and clock? Decide, journal, act, note; and die in between."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cesai.agent import rules
from cesai.agent.rules import Action, HeldAttempt, Patience, Phase, Sighting, Watch
from cesai.contract.connector import FolderReading, SiteUnavailable, SubmitRefused
from cesai.contract.messages import AttemptOrder, Wish
from tests.agent.fake_site import FakeSite

HASTY = Patience(
    absent_answers=2,
    absent_s=2,
    ghost_s=4,
    stamps_s=3,
    repeat_s=3,
    quick_s=1,
    releases=3,
    tries=4,
    longest_wait_s=8,
    lost_s=5,
)


@dataclass
class Driver:
    """One attempt at one fake site."""

    site: FakeSite
    order: AttemptOrder
    held: HeldAttempt | None = None
    patience: Patience = HASTY

    def __post_init__(self) -> None:
        self.held = HeldAttempt(order=self.order, accepted_at=self.site.now())

    @property
    def now_held(self) -> HeldAttempt:
        """What is journaled."""
        assert self.held is not None
        return self.held

    def cancel(self) -> None:
        """The hub wishes it gone."""
        self.order = self.order.model_copy(update={"wish": Wish.CANCEL})

    def turn(self, *, die: str | None = None) -> None:
        """One look and its step; `die` names the place after which everything in memory is gone."""
        seen = self.site.observe([self.order.marker], self.site.now())
        sighting = Sighting(
            seen.queue_answered,
            seen.accounting_answered,
            seen.of(self.order.marker),
            folder=self._folder(),
        )
        step = rules.decide(self.now_held, self.order, sighting=sighting, now=self.site.now(), patience=self.patience)
        if die == "decided":
            self._die()
            return
        self.held = step.held
        if die == "journaled":
            self._die()
            return
        came = self._act(step.action, step.ids)
        if die == "acted":
            self._die()
            return
        self.held = came

    def _folder(self) -> FolderReading | None:
        try:
            return self.site.read_folder(self.order.marker)
        except SiteUnavailable:
            return None

    def _die(self) -> None:
        self.held = replace(self.now_held, watch=Watch())

    def _act(self, action: Action | None, ids: tuple[str, ...]) -> HeldAttempt:
        held, site = self.now_held, self.site
        try:
            if action is Action.SUBMIT:
                site.prepare(held.order)
                held = rules.submitted(held, site.submit(held.order))
            elif action is Action.RELEASE:
                held = rules.released(held, site.now())
                site.release(ids)
            elif action is Action.CANCEL:
                held = rules.cancelled(held, site.now())
                site.cancel(ids)
            elif action is Action.BURY:
                site.bury(held.marker)
        except SubmitRefused as error:
            return rules.refused(held, str(error))
        except SiteUnavailable as error:
            return rules.doubtful(held, str(error)) if action is Action.SUBMIT else held
        return held

    def until_ended(self, limit: int = 200) -> HeldAttempt:
        """Let site and agent take turns until it is over."""
        for _ in range(limit):
            if self.now_held.phase is Phase.ENDED:
                return self.now_held
            self.turn()
            self.site.tick()
        msg = f"not ended after {limit} turns: {self.now_held}"
        raise AssertionError(msg)
