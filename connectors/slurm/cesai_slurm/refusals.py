"""When has Slurm said clearly that it will not take a job, and nothing was made?

Time-outs, "unable to contact" and everything else that is not listed here prove nothing.
"""

from __future__ import annotations

# Source: slurm_errno.h and slurm_errno.c of 22.05; 24.11 has the same numbers and words.
REFUSALS = {
    2000: "Invalid partition name specified",
    2001: "No partition specified or system default partition",
    2002: "Access/permission denied",
    2003: "User's group not permitted to use this partition",
    2004: "Requested nodes not in this partition",
    2005: "More processors requested than permitted",
    2006: "Node count specification invalid",
    2014: "Requested node configuration is not available",
    2015: "Requested partition configuration not available now",
    2023: "Task distribution specification invalid",
    2025: "Task count specification invalid",
    2029: "Invalid feature specification",
    2041: "Requested more tasks than available processors",
    2044: "Memory required by task is not available",
    2045: "Invalid account or account/partition combination specified",
    2048: "Invalid license specification",
    2050: "Job violates accounting/QOS policy",
    2051: "Requested time limit is invalid",
    2057: "Invalid wckey specification",
    2066: "Invalid qos specification",
    2069: "CPU count specification invalid",
    2072: "Invalid generic resource (gres) specification",
    2102: "Duplicate generic resource (gres) specification",
    2115: "Invalid Trackable RESource (TRES) specification",
    2119: "Invalid GRES specification (with and without type identification)",
    2122: "Requested GRES option unsupported by configured SelectType plugin",
}


def sentence(text: str) -> str | None:
    """What the researcher is told, when these lines hold a clear no."""
    for line in reversed(text.splitlines()):
        if any(phrase in line for phrase in REFUSALS.values()):
            plain = line.rpartition("failed: ")[2].removeprefix("sbatch: error: ").strip().rstrip(".")
            return f"Slurm refuses the job: {plain}."
    return None
