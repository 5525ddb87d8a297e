"""Where are the files that travel with the code: migrations, templates?

In a checkout they stand beside the package under their own names, in an installed wheel under names that are ours.
"""

from __future__ import annotations

from pathlib import Path

_TOP = Path(__file__).resolve().parents[2]


def folder(name: str) -> Path:
    """The folder `dashboards` or `migrations`.

    Raises:
        FileNotFoundError: the installation is not whole.
    """
    for candidate in (_TOP / f"cesai_{name}", _TOP / name):
        if candidate.is_dir():
            return candidate
    msg = f"{name} is missing beside the package cesai: install it again."
    raise FileNotFoundError(msg)
