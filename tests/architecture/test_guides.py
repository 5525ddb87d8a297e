"""Does everything that the guides tell people to type exist, with exactly these options?

What stands in a block of code must parse whole; what is mentioned in a sentence may leave out arguments.
"""

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest
import typer

from cesai.agent.cli import _parser as agent_parser
from cesai.client.cli import app

TOP = Path(__file__).parent.parent.parent
GUIDES = (TOP / "README.md", *sorted((TOP / "docs").glob("*.md")), *sorted((TOP / "docs" / "adr").glob("*.md")))
SHELL = {"", "sh", "bash", "console", "ini"}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
# At the place of a command: at the beginning, in $( ), behind ; & |, in a unit file.
_COMMAND = re.compile(r"(?:^|\$\(|[;&|]|ExecStart=)\s*(?:[^\s=]*/)?(cesai(?:-agent)?)(?:\s+(.*))?$")
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_BY_HAND = re.compile(r"^\s*(?:\S*/)?make\s+([a-z-]+)", re.MULTILINE)
_SENTENCE_ENDS = {"…", "..."}


def commands(texts):
    """Program and words of each of our commands in lines of shell."""
    for line in "\n".join(texts).replace("\\\n", " ").splitlines():
        if found := _COMMAND.search(line):
            lexer = shlex.shlex(found[2] or "", posix=True, punctuation_chars="|&;()<>")
            lexer.whitespace_split = True
            yield found[1], list(takewhile(lambda word: not set(word) <= set("|&;()<>"), lexer))


def blocks(guide):
    return [text for kind, text in _BLOCK.findall(guide.read_text()) if kind in SHELL]


def mentioned(guide):
    return _INLINE.findall(_BLOCK.sub("", guide.read_text()))


def parse(program, words):
    """Parse as the program would, without doing anything.

    Raises:
        Exception or SystemExit: the program would not take it.
    """
    if program == "cesai-agent":
        agent_parser().parse_args(words)
        return
    command = typer.main.get_command(app)
    context = command.make_context("cesai", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def unknown(program, words):
    """The first word of a mention that is neither a command nor an option of it."""
    if program == "cesai-agent":
        commands_of_agent = agent_parser()._subparsers._group_actions[0].choices
        parts = (agent_parser(), *commands_of_agent.values())
        known = {*commands_of_agent, *(name for part in parts for name in part._option_string_actions)}
        said = [*(word for word in words if word.startswith("-")), *(w for w in words[:1] if not w.startswith("-"))]
        return next((word for word in said if word not in known), None)
    command, place = typer.main.get_command(app), None
    for word in takewhile(lambda word: word not in _SENTENCE_ENDS, words):
        if word.startswith("-"):
            if not any(word in parameter.opts for parameter in command.params):
                return word
        elif hasattr(command, "get_command"):
            command, place = command.get_command(typer.Context(command), word), word
            if command is None:
                return place
    return None


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_command_in_a_block_is_taken_as_it_stands(guide):
    for program, words in commands(blocks(guide)):
        try:
            parse(program, words)
        except (Exception, SystemExit) as error:  # noqa: BLE001  Typer's own errors are private
            pytest.fail(f"{guide.name}: {program} {shlex.join(words)}: {getattr(error, 'message', error)}")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_command_in_a_sentence_exists(guide):
    wrong = [(words, bad) for program, words in commands(mentioned(guide)) if (bad := unknown(program, words))]
    assert wrong == []


def test_a_command_or_option_that_does_not_exist_is_seen():
    shown = "$(cesai job submit job.yaml --follow) && echo\ncesai jobs list\ncesai-agent run | cat"
    found = list(commands([shown]))
    assert found == [
        ("cesai", ["job", "submit", "job.yaml", "--follow"]),
        ("cesai", ["jobs", "list"]),
        ("cesai-agent", ["run"]),
    ]
    parse(*found[0])
    for program, words in (*found[1:], ("cesai", ["job", "submit", "job.yaml", "--folow"])):
        with pytest.raises((Exception, SystemExit)):
            parse(program, words)
    assert unknown("cesai", ["site", "agent-reset"]) == "agent-reset"
    assert unknown("cesai", ["job", "submit", "--folow"]) == "--folow"
    assert unknown("cesai", ["job", "submit", "--follow"]) is None
    assert unknown("cesai-agent", ["start"]) == "start"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_link_leads_to_a_file(guide):
    targets = [target for target in _LINK.findall(guide.read_text()) if "://" not in target]
    assert [target for target in targets if not (guide.parent / target).exists()] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_target_of_make_exists(guide):
    makefile = (TOP / "Makefile").read_text()
    named = _BY_HAND.findall("\n".join([*blocks(guide), *mentioned(guide)]))
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_decisions_are_numbered_without_gaps_and_listed():
    pages = sorted((TOP / "docs" / "adr").glob("0*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    listed = (TOP / "docs" / "adr" / "README.md").read_text()
    for number, page in enumerate(pages, start=1):
        title = page.read_text().splitlines()[0].removeprefix(f"# {number}. ")
        assert f"| [{number}]({page.name}) | {title} |" in listed
