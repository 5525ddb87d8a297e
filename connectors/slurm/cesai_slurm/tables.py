"""How is a table read whose cells may hold anything that a user can type, newlines included?

Every cell is followed by a separator that is drawn anew for each question: who names his job cannot know it, so he
cannot forge a row; a cut answer has no separator at its end.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from cesai_slurm.words import garbled


def new_separator() -> str:
    """A separator that nobody can know beforehand; letters first, because squeue reads digits as a width."""
    return f"<{secrets.token_hex(8)}>"


def read_table(text: str, separator: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of the columns.

    Raises:
        SiteUnavailable: the text is cut or is no such table.
    """
    *cells, rest = text.split(separator)
    if rest not in {"", "\n"} or len(cells) % len(columns):
        garbled(f"the end of a table of {', '.join(columns[:3])} …", text[-80:])
    rows = []
    for start in range(0, len(cells), len(columns)):
        values = cells[start : start + len(columns)]
        if start:
            if not values[0].startswith("\n"):
                garbled("the start of a row", values[0])
            values[0] = values[0][1:]
        rows.append(dict(zip(columns, values, strict=True)))
    return rows
