"""Is a value from outside of the kind that it should be, and if not, where?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

NAME_LIMIT = 128
SENTENCE_LIMIT = 500
LIST_LIMIT = 1_000_000
COUNT_LIMIT = 10_000_000
SECONDS_LIMIT = 1e12
AMOUNT_LIMIT = 1 << 62

Value = TypeVar("Value")
Reader = Callable[[object, str], Value]


class WireError(ValueError):
    """Not of the wire form; the sentence begins with the path of what is wrong."""

    def __init__(self, path: str, sentence: str) -> None:
        super().__init__(f"{path or 'snapshot'}: {sentence}")
        self.path = path
        self.sentence = sentence


def table(content: object, path: str) -> Mapping[str, object]:
    """A table whose keys are texts."""
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise WireError(path, "must be a table of names and values")
    return content


def need(told: Mapping[str, object], key: str, path: str) -> object:
    """What stands under a key that must be there."""
    if key not in told:
        raise WireError(f"{path}.{key}" if path else key, "is missing")
    return told[key]


def many(content: object, path: str, read: Reader[Value]) -> tuple[Value, ...]:
    """A list, each entry read."""
    if not _is_list(content):
        raise WireError(path, "must be a list")
    entries = cast("Sequence[object]", content)
    if len(entries) > LIST_LIMIT:
        raise WireError(path, f"has more than {LIST_LIMIT} entries")
    return tuple(read(entry, f"{path}[{index}]") for index, entry in enumerate(entries))


def row(content: object, path: str, columns: tuple[str, ...]) -> Sequence[Any]:
    """A list with these columns at least."""
    if not _is_list(content) or len(cast("Sequence[object]", content)) < len(columns):
        raise WireError(path, f"must be a list of {', '.join(columns)}")
    return cast("Sequence[Any]", content)


def by_name(content: object, path: str, read: Reader[Value]) -> Mapping[str, Value]:
    """A table of names, each value read."""
    return {name(key, path): read(value, f"{path}.{key}") for key, value in table(content, path).items()}


def maybe(content: object, path: str, read: Reader[Value]) -> Value | None:
    """Nothing, or a value."""
    return None if content is None else read(content, path)


def one_or_more(content: object, path: str) -> tuple[str, ...]:
    """Nothing, a name, or a list of names."""
    if content is None:
        return ()
    return (name(content, path),) if isinstance(content, str) else many(content, path, name)


def name(content: object, path: str) -> str:
    """A name of bearable length."""
    return _text(content, path, NAME_LIMIT)


def sentence(content: object, path: str) -> str:
    """A sentence of bearable length."""
    return _text(content, path, SENTENCE_LIMIT)


def count(content: object, path: str) -> int:
    """How many."""
    if isinstance(content, bool) or not isinstance(content, int) or not 0 <= content <= COUNT_LIMIT:
        raise WireError(path, f"must be a whole number from 0 to {COUNT_LIMIT}")
    return content


def positive(content: object, path: str) -> int:
    """How many, one at least."""
    if isinstance(content, bool) or not isinstance(content, int) or not 1 <= content <= COUNT_LIMIT:
        raise WireError(path, f"must be a whole number from 1 to {COUNT_LIMIT}")
    return content


def amount(content: object, path: str) -> int:
    """GPU-milliseconds."""
    if isinstance(content, bool) or not isinstance(content, int) or abs(content) >= AMOUNT_LIMIT:
        raise WireError(path, "must be a whole number of GPU-milliseconds")
    return content


def instant(content: object, path: str) -> float:
    """Seconds on a clock that begins anywhere."""
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise WireError(path, "must be a number of seconds")
    # Said so that a NaN, an infinity and a whole number beyond all floats fail too.
    if not abs(content) <= SECONDS_LIMIT:
        raise WireError(path, "is no instant that can be meant")
    return content


def duration(content: object, path: str) -> float:
    """Seconds, none or more."""
    seconds = instant(content, path)
    if seconds < 0:
        raise WireError(path, "must be a number of seconds, 0 at least")
    return seconds


def claim(content: object, path: str) -> bool:
    """True or false."""
    if not isinstance(content, bool):
        raise WireError(path, "must be true or false")
    return content


def unique(names: Sequence[str], path: str, key: str) -> None:
    """Nothing, when no name comes twice."""
    seen: set[str] = set()
    for each in names:
        if each in seen:
            raise WireError(path, f"two entries have the {key} {each!r}")
        seen.add(each)


def _is_list(content: object) -> bool:
    return isinstance(content, Sequence) and not isinstance(content, str | bytes)


def _text(content: object, path: str, limit: int) -> str:
    if not isinstance(content, str) or len(content) > limit:
        raise WireError(path, f"must be a text of {limit} characters at most")
    return content
