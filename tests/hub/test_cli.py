"""Do the hub's commands refuse in a sentence what cannot work, and keep the tables?"""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cesai.hub.cli import app


@pytest.fixture
def run(empty_database_url):
    """Run a command over a database without tables."""

    def run(*words: str, **settings: str):
        environment = {"CESAI_DATABASE_URL": empty_database_url} | settings
        return CliRunner().invoke(app, list(words), env=environment)

    return run


@pytest.mark.parametrize(
    ("words", "settings", "sentence"),
    [
        (["serve"], {"CESAI_ENVIRONMENT": "production"}, "not for production"),
        (["serve", "--host", "0.0.0.0"], {}, "127.0.0.1 only"),  # noqa: S104  it is refused
        (["serve"], {"CESAI_PUBLIC_URL": "http://hub.example.org"}, "this machine alone"),
        (["serve", "--processes", "2"], {}, "CESAI_BROKER_URL"),
        (["worker"], {}, "lives inside"),
        (["beat"], {}, "lives inside"),
        (["db", "check"], {}, "cesai db upgrade"),
        (["serve"], {"CESAI_POOL_SIZE": "many"}, "CESAI_POOL_SIZE"),
        (["serve"], {"CESAI_ISSUER_USERS_FILE": "/nowhere/people.json"}, "people.json"),
        (["db", "upgrade"], {"CESAI_DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:1/x"}, "does not answer"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(run, words, settings, sentence):
    said = run(*words, **settings)
    assert said.exit_code in {1, 2}
    assert sentence in " ".join(said.stderr.split())
    assert said.exception is None or isinstance(said.exception, SystemExit)


def test_the_tables_are_those_of_the_code_and_an_upgrade_may_come_twice(run):
    for _ in range(2):
        assert run("db", "upgrade").exit_code == 0
    check = run("db", "check")
    assert check.exit_code == 0, check.stderr


def test_the_references_are_printed(run):
    assert "CESAI_DATABASE_URL" in run("settings").stdout
    assert "| GET | `/api/v1/me` | signed in |" in run("access-page").stdout
