"""What must a site know of a job to run it?"""

from __future__ import annotations

from uuid import UUID


def script_text(script: str | None, entrypoint: str | None) -> str:
    """The script that the site runs: the group's own, or a small one around its command line."""
    if script is not None:
        return script
    # Not `exec`: a command line may be compound. `set -e` ends it at the first failing part of a list.
    return f"#!/bin/sh\nset -e\n{entrypoint}\n"


def checkpoint_folder(job_id: UUID, checkpoint: str) -> str:
    """Where a job's checkpoints are, below its project's folder at the site; the same for all of its attempts."""
    return f"jobs/{job_id.hex}/{checkpoint}"
