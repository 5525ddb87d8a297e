"""Which connector does a name stand for? Installed is not enabled: the agent names the one it wants."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "cesai.connectors"


def installed() -> tuple[str, ...]:
    """Names of the connectors that are installed here."""
    return tuple(sorted(point.name for point in entry_points(group=GROUP)))


def load(name: str, settings: Mapping[str, object]) -> object:
    """The connector of this name, made from its settings.

    Raises:
        ValueError: none of this name is installed, or its settings are wrong.
    """
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        have = ", ".join(installed()) or "none"
        msg = f"no connector {name!r} is installed (installed: {have}); install cesai-{name} beside the agent"
        raise ValueError(msg)
    factory = found[0].load()
    return factory(settings)
