"""In which four ways can the hub say no?"""

from __future__ import annotations


class CesaiError(Exception):
    """Something went wrong; the sentence says what a person can do about it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class NotFound(CesaiError):
    """It does not exist, or the caller may not know that it does."""

    def __init__(self, sentence: str = "There is nothing here under this name.") -> None:
        super().__init__(sentence)


class Refused(CesaiError):
    """A rule says no; nothing was changed."""


class Stale(CesaiError):
    """The world moved on since the caller looked; look again."""


class OnRecord(Refused):
    """A rule says no, and what was written down about that stays."""
