"""Which processes does a site's Slurm have running for jobs?

They outlive slurmd on purpose, so whoever ends a site must find them himself. Newer ones overwrite their environment
with their title, so it is the working folder, which they have from slurmd, that tells whose they are.
"""

from __future__ import annotations

from pathlib import Path

from cesai.demo import processes


def of(folder: Path) -> list[int]:
    """Every slurmstepd of the site in this folder, and what it started."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_step(entry, folder):
            found += [int(entry.name), *processes.descendants(int(entry.name))]
    return found


def _is_step(entry: Path, folder: Path) -> bool:
    try:
        return (entry / "comm").read_text().startswith("slurmstepd") and (entry / "cwd").readlink() == folder
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
