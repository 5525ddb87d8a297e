"""Which habits of this house does no ready-made tool check?

`python tests/architecture/rules_check.py` prints each breach as path:line: sentence and ends with 1 when there is one.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath

TOP = Path(__file__).parent.parent.parent
FOLDERS = ("cesai", "connectors", "migrations", "dashboards", "benchmarks", "docs", "tests")
FUNCTION_LINES = 40
FILE_LINES = 600

# Each names the time to whoever asks; rules and services are told it instead.
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("time", "time")}
CLOCK_PLACES = ("cesai/kernel/clock.py", "cesai/agent/", "cesai/client/", "cesai/demo/", "connectors/", "benchmarks/")
QUEUES = {"delay", "apply_async", "send_task"}
_SUPPRESSION = re.compile(r"#\s*(noqa\b|type:\s*ignore\b)")
_WITH_REASON = re.compile(r"#\s*(?:noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*\s\s*\S|type:\s*ignore\[[a-z0-9, -]+\]\s+#\s*\S)")
_LATER = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b")


@dataclass(frozen=True, slots=True)
class File:
    """One file of the house: where it stands, what it says."""

    path: PurePosixPath
    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    comments: tuple[tuple[int, str], ...]

    @classmethod
    def read(cls, path: str, text: str) -> File:
        """The file of this text."""
        tree = ast.parse(text)
        return cls(PurePosixPath(path), text, tree, nodes=tuple(ast.walk(tree)), comments=tuple(_comments(text)))

    def is_in(self, *places: str) -> bool:
        """Whether it is one of these files or stands in one of these folders."""
        return str(self.path).startswith(places)

    @property
    def is_migration(self) -> bool:
        """Whether it is one step of the tables, written by Alembic and read by a person."""
        return self.is_in("migrations/versions/")

    @property
    def is_test(self) -> bool:
        """Whether it only shows that others are right."""
        return self.is_in("tests/")


@dataclass(frozen=True, slots=True, order=True)
class Breach:
    """A habit that was not kept."""

    path: str
    line: int
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.sentence}"


Found = Iterator[tuple[int, str]]


def opens_with_a_question(file: File) -> Found:
    """A file says which one question it answers."""
    if not file.is_migration and "?" not in (ast.get_docstring(file.tree) or ""):
        yield 1, "the file does not open with the question that it answers"


def stays_short(file: File) -> Found:
    """A file of more than 600 lines has a seam somewhere."""
    lines = file.text.count("\n")
    if lines > FILE_LINES:
        yield lines, f"{lines} lines; {FILE_LINES} is the wall: make it a folder of the same name"


def says_one_thing(file: File) -> Found:
    """A function of more than 40 lines, its docstring apart, says several things."""
    if file.is_test or file.is_migration:
        return
    for node in file.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _length(node)
            if lines > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines; {FUNCTION_LINES} is the wall"


def imports_at_the_top(file: File) -> Found:
    """An import inside a function hides who knows whom."""
    for function in file.nodes:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield node.lineno, "import at the top of the file, not inside a function"


def commits_in_one_place(file: File) -> Found:
    """A transaction begins and ends in db/session.py alone."""
    # The agent's journal is SQLite of its own; a migration is Alembic's transaction.
    if file.is_test or file.is_in("cesai/db/", "cesai/agent/", "migrations/"):
        return
    for node in _calls(file):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "commit":
            yield node.lineno, "only db/session.py commits"


def is_told_the_time(file: File) -> Found:
    """Whoever reads the clock himself cannot be tested on New Year's Eve."""
    if file.is_test or file.is_in(*CLOCK_PLACES):
        return
    for node in _calls(file):
        if isinstance(node.func, ast.Attribute) and (_owner(node.func), node.func.attr) in CLOCKS:
            yield node.lineno, "the time is passed in; only kernel/clock.py and the edges read a clock"


def queues_nothing(file: File) -> Found:
    """A service that queues sends before the commit; what must be done later is a row that is due."""
    if not re.match(r"cesai/\w+/(service|store|rules)(\.py|/)", str(file.path)):
        return
    for node in _calls(file):
        if isinstance(node.func, ast.Attribute) and node.func.attr in QUEUES:
            yield node.lineno, "services queue nothing: leave a row that is due"


def says_why_it_looks_away(file: File) -> Found:
    """A suppressed warning has a reason that stands beside it."""
    for line, comment in file.comments:
        if _SUPPRESSION.search(comment) and not _WITH_REASON.search(comment):
            yield line, "say why: `# noqa: X123  reason` or `# type: ignore[code]  # reason`"


def leaves_nothing_for_later(file: File) -> Found:
    """What is not done is said in the closing note, not left in a comment."""
    for line, comment in file.comments:
        if match := _LATER.search(comment):
            yield line, f"{match[1]}: finish it, or say elsewhere that it is missing"


RULES: tuple[Callable[[File], Found], ...] = (
    opens_with_a_question,
    stays_short,
    says_one_thing,
    imports_at_the_top,
    commits_in_one_place,
    is_told_the_time,
    queues_nothing,
    says_why_it_looks_away,
    leaves_nothing_for_later,
)


def breaches(file: File) -> list[Breach]:
    """Every breach in one file, in the order of its lines."""
    found = {Breach(str(file.path), line, sentence) for rule in RULES for line, sentence in rule(file)}
    return sorted(found)


def house(top: Path) -> Iterator[File]:
    """Every Python file of the house."""
    for folder in FOLDERS:
        for path in sorted((top / folder).rglob("*.py")):
            relative = path.relative_to(top)
            if not any(part.startswith(".") or part in {"build", "__pycache__"} for part in relative.parts):
                yield File.read(relative.as_posix(), path.read_text(encoding="utf-8"))


def _calls(file: File) -> Iterator[ast.Call]:
    return (node for node in file.nodes if isinstance(node, ast.Call))


def _owner(attribute: ast.Attribute) -> str:
    """The last word before the dot: datetime in datetime.datetime.now."""
    value = attribute.value
    if isinstance(value, ast.Attribute):
        return value.attr
    return value.id if isinstance(value, ast.Name) else ""


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _comments(text: str) -> Iterator[tuple[int, str]]:
    if "#" not in text:
        return
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def main() -> int:
    """Print every breach of the house."""
    found = [breach for file in house(TOP) for breach in breaches(file)]
    sys.stdout.writelines(f"{breach}\n" for breach in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
