"""Does each habit of the house catch who breaks it, and does the house keep them?"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from rules_check import RULES, TOP, File, breaches, house

QUESTION = '"""What is this?"""\n'
LONG = "def f():\n" + "    x = 1\n" * 40


def caught(path, text):
    return [breach.sentence for breach in breaches(File.read(path, QUESTION + text))]


# Which rule, where, what it catches, and its nearest neighbour that is fine.
EXAMPLES = [
    ("stays_short", "cesai/sites/rules.py", "x = 1\n" * 601, "x = 1\n" * 599),
    ("says_one_thing", "cesai/sites/rules.py", LONG, LONG.removesuffix("    x = 1\n" * 2)),
    ("says_one_thing", "cesai/sites/rules.py", "async " + LONG, 'def f():\n    """' + "a\n" * 60 + '    """\n'),
    ("imports_at_the_top", "cesai/sites/rules.py", "def f():\n    import os\n", "import os\n"),
    (
        "imports_at_the_top",
        "tests/sites/t.py",
        "def f():\n    if 1:\n        from os import path\n",
        "from os import path\n",
    ),
    ("commits_in_one_place", "cesai/sites/service.py", "db.commit()\n", "db.flush()\n"),
    ("commits_in_one_place", "cesai/hub/app.py", "self._session.commit()\n", "commit()\n"),
    ("is_told_the_time", "cesai/sites/rules.py", "datetime.now(UTC)\n", "clock.now()\n"),
    ("is_told_the_time", "cesai/sites/service/x.py", "datetime.datetime.utcnow()\n", "datetime.fromisoformat(x)\n"),
    ("is_told_the_time", "cesai/hub/app.py", "time.time()\n", "time.monotonic()\n"),
    ("is_told_the_time", "cesai/db/due.py", "datetime.date.today()\n", "now.date()\n"),
    ("queues_nothing", "cesai/federation/service/x.py", "run.delay(1)\n", "run(1)\n"),
    ("queues_nothing", "cesai/sites/service.py", "run.apply_async()\n", "run()\n"),
    ("queues_nothing", "cesai/sites/store.py", "app.send_task('x')\n", "app.send('x')\n"),
    ("says_why_it_looks_away", "cesai/sites/rules.py", "x = 1  # noqa: E501\n", "x = 1  # noqa: E501  a table\n"),
    ("says_why_it_looks_away", "cesai/sites/rules.py", "x = 1  # noqa\n", "x = '# noqa'\n"),
    ("says_why_it_looks_away", "tests/t.py", "x = 1  # type: ignore[a]\n", "x = 1  # type: ignore[a]  # untyped\n"),
    ("leaves_nothing_for_later", "cesai/sites/rules.py", "x = 1  # TODO: y\n", "x = 'TODO'\n"),
    ("leaves_nothing_for_later", "tests/t.py", "# FIXME\n", "# fix me\n"),
]


@pytest.mark.parametrize(("rule", "path", "bad", "good"), EXAMPLES)
def test_each_habit_catches_who_breaks_it_and_nobody_else(rule, path, bad, good):
    assert len(caught(path, bad)) == 1, rule
    assert caught(path, good) == []


def test_a_file_without_its_question_is_caught():
    assert len(breaches(File.read("cesai/sites/rules.py", '"""Sites."""\n'))) == 1
    assert len(breaches(File.read("cesai/sites/rules.py", ""))) == 1


def test_the_edges_may_read_a_clock_and_services_may_not():
    assert caught("cesai/client/login.py", "time.time()\n") == []
    assert caught("cesai/kernel/clock.py", "datetime.now(UTC)\n") == []
    assert caught("cesai/kernel/ids.py", "datetime.now(UTC)\n") != []


def test_every_habit_has_an_example():
    assert {rule.__name__ for rule in RULES} == {name for name, *_ in EXAMPLES} | {"opens_with_a_question"}


def test_the_house_keeps_its_habits():
    found = [str(breach) for file in house(TOP) for breach in breaches(file)]
    assert found == []
