"""Which processes does a site's Slurm have running for jobs?

They outlive slurmd on purpose, so whoever ends a site must find them himself.
"""

from __future__ import annotations

from pathlib import Path

from cesai.demo import processes


def of(slurm_conf: Path) -> list[int]:
    """Every slurmstepd of the site with this configuration, and what it started."""
    wanted = f"SLURM_CONF={slurm_conf}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_step(entry, wanted):
            found += [int(entry.name), *processes.descendants(int(entry.name))]
    return found


def _is_step(entry: Path, wanted: bytes) -> bool:
    try:
        if not (entry / "comm").read_text().startswith("slurmstepd"):
            return False
        return wanted in (entry / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
