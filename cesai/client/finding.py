"""Which job does somebody mean who gives only a part of its id?"""

from __future__ import annotations

import itertools
import re
from uuid import UUID

from cesai.client.api import Jobs
from cesai.client.exits import BadInput
from cesai.client.texts import Texts
from cesai.kernel.errors import NotFound

LEAST = 6
SHORT = 8
LOOKED = 2_000
_WHOLE = 32
_HEX = re.compile(r"[0-9a-f]+")


def short(job_id: str) -> str:
    """The end of an id: ids begin with the time they were made, so that neighbours differ at the end."""
    return job_id.replace("-", "")[-SHORT:]


def find_job(jobs: Jobs, part: str, texts: Texts) -> str:
    """The whole id of the job that a whole id, or the beginning or end of one, names.

    Raises:
        BadInput: too short, or it names several.
        NotFound: it names none of the newest jobs.
    """
    wanted = part.strip().lower().replace("-", "").removeprefix("…")
    if len(wanted) == _WHOLE and _HEX.fullmatch(wanted):
        return str(UUID(wanted))
    if len(wanted) < LEAST:
        raise BadInput(texts("short_prefix", part=part, least=LEAST))
    ids = [job.id for job in itertools.islice(jobs.list(), LOOKED)]
    found = [job_id for job_id in ids if names(wanted, job_id)]
    if not found:
        raise NotFound(texts("no_such_job", part=part, looked=len(ids)))
    if len(found) > 1:
        raise BadInput(texts("many_such_jobs", part=part, found=", ".join(found[:5])))
    return found[0]


def names(wanted: str, job_id: str) -> bool:
    """Whether these digits begin or end an id."""
    digits = job_id.replace("-", "")
    return digits.startswith(wanted) or digits.endswith(wanted)
