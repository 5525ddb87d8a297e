"""Does the command line stay one sentence long when things go wrong, and light when they go right?"""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cesai.client import cli
from cesai.client.exits import MEANING, Exit

part = typer.Typer()
group = typer.Typer()


@part.command()
def dance() -> None:
    """What a part can do."""


@part.command()
def whoami() -> None:
    """What the client can do already."""


@group.command()
def step() -> None:
    """One step."""


part.add_typer(group, name="waltz")


def point(name, value):
    return EntryPoint(name=name, value=value, group=cli.GROUP)


def test_a_parts_commands_and_groups_are_taken_in_and_a_broken_part_is_named():
    said = []
    sys.modules["part_of_a_test"] = sys.modules[__name__]
    points = [point("dancing", "part_of_a_test:part"), point("broken", "no_such_module:app"), point("odd", "os:path")]
    found = dict(cli.parts(points, taken={"whoami"}, say=said.append))
    assert set(found) == {"dance", "waltz"}
    assert [line.split(":")[1] for line in said] == [
        " the commands of broken are not there",
        " dancing brings a command 'whoami' that is there already; it is left out",
        " the commands of odd are not there",
    ]


def run(*words, **more):
    return subprocess.run(
        [Path(sys.executable).parent / "cesai", *words],
        env=os.environ | {"CESAI_LANG": "en"} | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_clients_command_loads_nothing_of_the_hub(tmp_path):
    heavy = "sqlalchemy fastapi celery alembic cesai.hub cesai.access cesai.demo"
    program = (
        "import sys; from cesai.client.cli import app\n"
        "try: app(['job', 'list'])\n"
        "except SystemExit as end: code = end.code\n"
        f"print(int(code), sorted(set({heavy.split()!r}) & set(sys.modules)))"
    )
    line = [sys.executable, "-c", program]
    environment = os.environ | {"CESAI_CONFIG_DIR": str(tmp_path)}
    told = subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert told.stdout == "5 []\n"


def test_a_shell_completes_commands():
    heard = run(_CESAI_COMPLETE="complete_bash", COMP_WORDS="cesai jo", COMP_CWORD="1")
    assert heard.stdout.split() == ["job"]
    assert heard.stderr == ""


def test_a_fault_of_our_own_is_a_sentence_and_not_a_traceback(monkeypatch, capsys):
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == Exit.BUG
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "Traceback" not in said


def test_every_exit_code_is_explained_in_the_help():
    said = " ".join(run("--help").stdout.split())
    for number, meaning in MEANING.items():
        assert f"{int(number)} {meaning}" in said


def test_options_stand_before_or_behind_a_command():
    for words in (["--json", "version"], ["version", "--json"]):
        assert CliRunner().invoke(cli.app, words).stdout.startswith("{")


def test_the_language_of_messages_is_chosen(tmp_path):
    for words in (["--lang", "de", "whoami"], ["whoami", "--lang", "de"]):
        heard = CliRunner().invoke(cli.app, words, env={"CESAI_CONFIG_DIR": str(tmp_path)})
        assert heard.stderr.startswith("Für das Profil default ist kein Hub bekannt")


def test_a_job_template_is_a_file_to_begin_with_and_never_written_over(tmp_path):
    file = tmp_path / "job.yaml"
    assert CliRunner().invoke(cli.app, ["job", "template", str(file)]).exit_code == 0
    assert CliRunner().invoke(cli.app, ["job", "submit", "--dry-run", str(file)]).exit_code == 0
    again = CliRunner().invoke(cli.app, ["job", "template", str(file)])
    assert again.exit_code == Exit.BAD_INPUT
    assert "exists" in again.stderr


def test_what_a_hub_says_cannot_steer_a_terminal(capsys):
    cli.tell("red \x1b[31m and \x9b bell \a")
    assert capsys.readouterr().err == "red \ufffd[31m and \ufffd bell \ufffd\n"
