"""How does somebody see his job go on: its states in words, its log as it is written?"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, TypeVar

from cesai.client.answers import Job
from cesai.client.api import Jobs
from cesai.client.exits import NotReached
from cesai.client.texts import Texts
from cesai.kernel.states import JOB_FINAL, AttemptState, JobState

T = TypeVar("T")
LOG_PAUSE_S = 1.0
LONGEST_PAUSE_S = 5.0
# A hub that is being renewed comes back; a night's --wait should not end by it.
HUB_PATIENCE_S = 900.0
# How long a site may take to send the rest of a log after its job has ended.
LOG_PATIENCE_S = 90.0
# How long nothing may come of a log that is still being written until what is there is taken for the whole.
LOG_SILENCE_S = 5.0


def is_over(job: Job) -> bool:
    """Whether nothing more will become of it."""
    return job.state in JOB_FINAL


def progress(job: Job, texts: Texts) -> str:
    """Where a job is, in plain words."""
    last = job.attempts[-1] if job.attempts else None
    place = {"site": last.site, "number": last.number} if last else {"site": "–", "number": 0}
    if is_over(job):
        return _ending(job, texts)
    if job.cancel_wished_at is not None:
        return texts("job_cancelling")
    if job.state == JobState.RUNNING:
        return texts("job_running", **place)
    if job.state == JobState.PLACED:
        if last and last.reason and last.state == AttemptState.SUBMITTED:
            return texts("job_waits_at_site", reason=last.reason, **place)
        return texts("job_placed", **place)
    return texts("job_queued", reason=job.waiting_reason) if job.waiting_reason else texts("job_queued_plain")


def _ending(job: Job, texts: Texts) -> str:
    if job.state == JobState.SUCCEEDED:
        return texts("job_succeeded")
    if job.state == JobState.CANCELLED:
        return texts("job_cancelled")
    last = job.attempts[-1] if job.attempts else None
    reason = (last.reason if last else None) or job.cause or (last.outcome if last else None)
    if reason and last and last.exit_code:
        reason = f"{reason} (exit code {last.exit_code})"
    return texts("job_failed", reason=reason) if reason else texts("job_failed_plain")


class Watcher:
    """Looks at one hub's jobs again and again, and outlasts a hub that is away for a while."""

    def __init__(
        self,
        jobs: Jobs,
        texts: Texts,
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._texts = texts
        self._say = say
        self._sleep = sleep
        self._clock = clock

    def wait(self, job_id: str) -> Job:
        """The job when it is over; what changes meanwhile is said.

        Raises:
            CesaiError: the hub refused, or was away for too long.
        """
        said, pause = "", 0.5
        while True:
            job = self._patiently(partial(self._jobs.show, job_id))
            word = progress(job, self._texts)
            if word != said:
                self._say(f"{time.strftime('%H:%M:%S')} {job.name}: {word}")
                said, pause = word, 0.5
            if is_over(job):
                return job
            self._sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    def follow(self, job_id: str, out: BinaryIO, *, attempt: int | None = None) -> Job:
        """Write a job's log as it comes, attempt after attempt (or one only), until the end; the job as it is then.

        Raises:
            CesaiError: the hub refused, or was away for too long.
        """
        number, offset, over_since, said = attempt, 0, None, ""
        while True:
            job = self._patiently(partial(self._jobs.show, job_id))
            number = number or _last(job)
            if number is None:
                if is_over(job):
                    return job
                said = self._say_once(progress(job, self._texts), said)
            else:
                offset, is_end = self._drain(job_id, out, attempt=number, offset=offset)
                later = None if attempt else next((each.number for each in job.attempts if each.number > number), None)
                over_since = (over_since or self._clock()) if is_over(job) else None
                if is_end and later:
                    number, offset = later, 0
                    self._say(self._texts("follow_attempt", number=number, site=_site(job, number)))
                    continue
                if (is_end and (attempt or over_since)) or self._gave_up(job, number, over_since):
                    return job
            self._sleep(LOG_PAUSE_S)

    def write_log(self, job_id: str, out: BinaryIO, *, attempt: int | None = None) -> bool:
        """Write a log as far as it is there now; False when there is no attempt that could have one.

        Raises:
            CesaiError: the hub refused.
        """
        job = self._jobs.show(job_id)
        number = attempt or _last(job)
        if number is None:
            return False
        # The hub asks the site for what it does not have yet, and the site's agent answers within seconds.
        offset, since = 0, self._clock()
        patience = LOG_PATIENCE_S if is_over(job) else LOG_SILENCE_S
        while self._clock() - since <= patience:
            reached, is_end = self._drain(job_id, out, attempt=number, offset=offset)
            if is_end:
                return True
            # A job that runs may write for ever: only of one that is over every new byte buys more patience.
            if reached > offset and is_over(job):
                since = self._clock()
            offset = reached
            self._sleep(LOG_PAUSE_S)
        if is_over(job):
            self._say(self._texts("log_silent", site=_site(job, number), job=job_id))
        return True

    def _drain(self, job_id: str, out: BinaryIO, *, attempt: int, offset: int) -> tuple[int, bool]:
        """Write what is there from an offset on; the next offset, and whether it is the end."""
        while True:
            part = self._patiently(partial(self._jobs.log, job_id, attempt=attempt, offset=offset))
            written = base64.b64decode(part.base64)
            out.write(written)
            out.flush()
            offset = part.next_offset
            if part.is_end or not written:
                return offset, part.is_end

    def _gave_up(self, job: Job, number: int, over_since: float | None) -> bool:
        if over_since is None or self._clock() - over_since <= LOG_PATIENCE_S:
            return False
        self._say(self._texts("log_silent", site=_site(job, number), job=job.id))
        return True

    def _patiently(self, ask: Callable[[], T]) -> T:
        began, told = self._clock(), False
        while True:
            try:
                return ask()
            except NotReached as error:
                if self._clock() - began > HUB_PATIENCE_S:
                    raise
                if not told:
                    self._say(error.sentence)
                    told = True
                self._sleep(LONGEST_PAUSE_S)

    def _say_once(self, word: str, said: str) -> str:
        if word != said:
            self._say(word)
        return word


def _last(job: Job) -> int | None:
    return job.attempts[-1].number if job.attempts else None


def _site(job: Job, number: int) -> str:
    return next((each.site for each in job.attempts if each.number == number), "–")
