"""How do the pages of the reference come from the code?

`python docs/generate.py` writes docs/reference/*.md anew; `python docs/generate.py --check` writes nothing and ends
with 1 when a page is not what the code says.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from cesai.client.cli import app as cesai
from cesai.client.exits import MEANING
from cesai.client.jobfile import TEMPLATE
from cesai.client.visit import VARIABLES
from cesai.contract.jobs import LATER, LATER_LAUNCHERS, json_schema
from cesai.hub import access_table
from cesai.hub import settings as hub_settings
from cesai.hub.app import create_app
from cesai.hub.settings import Settings

FOLDER = Path(__file__).parent / "reference"
MADE = "Made by `python docs/generate.py`; do not edit."
HELP_WIDTH = 100
# What every command has is told once, above all of them.
_EVERYWHERE = re.compile(
    r"\s+(--profile <str> +Who you are|--hub <str> +The hub's address|--json +Answer in|"
    r"--lang <de\|en> +Language of|--help +Show)"
)

Lines = Iterator[str]


def cli_page() -> Lines:
    """Every command with its help."""
    yield from ("# The command line", "", MADE, "")
    yield from (
        "`cesai` speaks to a hub over HTTP. Sign in once: `cesai login --hub URL`. Every command takes `--profile`,",
        "`--hub`, `--json` and `--lang` before or behind its name. Help is in English, messages are in German or",
        "English, amounts are in GPU-hours, times are those of your own clock.",
        "`cesai --install-completion` completes words in your shell.",
        "",
        "Commands of the hub itself (`serve`, `db`, …) are there where it is installed.",
        "",
    )
    yield from ("## Exit codes", "", "| code | meaning |", "|---:|---|")
    yield from (f"| {int(number)} | {meaning} |" for number, meaning in MEANING.items())
    yield from ("", "## Environment", "", "| variable | meaning |", "|---|---|")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items())
    yield ""
    root = typer.main.get_command(cesai)
    yield from _command_pages(root, typer.Context(root, info_name="cesai", terminal_width=HELP_WIDTH), level=2)


def _command_pages(command: Any, context: typer.Context, *, level: int) -> Lines:  # noqa: ANN401  Typer's own types
    if level > 2:  # noqa: PLR2004  the command `cesai` itself is the page
        said = "\n".join(line for line in command.get_help(context).splitlines() if not _EVERYWHERE.match(line))
        yield from (
            f"{'#' * level} {context.command_path}",
            "",
            "```text",
            said.rstrip().removesuffix("Options:").rstrip(),
        )
        yield from ("```", "")
    names = command.list_commands(context) if hasattr(command, "list_commands") else ()
    for name in names:
        below = command.get_command(context, name)
        inner = typer.Context(below, info_name=name, parent=context, terminal_width=HELP_WIDTH)
        yield from _command_pages(below, inner, level=min(level + 1, 4))


def job_page() -> Lines:
    """What a job file may say."""
    schema = json_schema()
    yield from ("# The job file", "", MADE, "")
    yield from ("YAML or JSON. `cesai schema job` prints the JSON Schema, `cesai job template` this file:", "")
    yield from ("```yaml", TEMPLATE.rstrip(), "```", "")
    yield from _fields(schema)
    yield from (
        "",
        "`script_file` names a file beside the job file whose text is sent as `script`.",
        "",
    )
    for name, kind in sorted(schema.get("$defs", {}).items()):
        yield from (f"## {name}", "", *_one_line(kind.get("description")), "")
        if "enum" in kind:
            yield from ("One of " + ", ".join(f"`{value}`" for value in kind["enum"]) + ".", "")
        else:
            yield from (*_fields(kind), "")
    yield from ("## What is not taken yet", "", "| key | instead |", "|---|---|")
    yield from (f"| `{name}` | {sentence} |" for name, sentence in sorted(LATER.items()))
    yield f"| `launcher: {' / '.join(LATER_LAUNCHERS)}` | Use srun, or start it from your script. |"


def api_page() -> Lines:
    """Every route with what it takes and gives."""
    app = create_app(Settings(_env_file=None))
    document = app.openapi()
    policies = {(row.path, row.method.lower()): row.policy for row in access_table.rows(app)}
    yield from ("# The API", "", MADE, "")
    yield from (*document["info"]["description"].splitlines(), "")
    yield from ("The hub gives the whole OpenAPI document under `/api/v1/openapi.json`.", "")
    described = {tag["name"]: tag.get("description", "") for tag in document.get("tags", [])}
    routes = list(_routes(document))
    for tag in [*described, *sorted({tag for tag, *_ in routes} - set(described))]:
        found = [route for route in routes if route[0] == tag]
        if found:
            yield from (f"## {tag}", "", *_one_line(described.get(tag)), "")
        for _, path, method, operation in found:
            yield from _route(path, method, operation=operation, policy=policies.get((path, method), ""))
    yield from ("## Schemas", "")
    for name, kind in sorted(document.get("components", {}).get("schemas", {}).items()):
        yield from (f"### {name}", "", *_one_line(kind.get("description")), "")
        yield from (*(_fields(kind) if "properties" in kind else [_type(kind)]), "")


def _routes(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            yield (operation.get("tags") or ["other"])[0], path, method, operation


def _route(path: str, method: str, *, operation: Mapping[str, Any], policy: str) -> Lines:
    yield from (f"### {method.upper()} {path}", "")
    yield from (*_one_line(operation.get("description") or operation.get("summary")), "")
    yield from _bullet("Who", policy)
    for parameter in operation.get("parameters", []):
        words = [f"`{parameter['name']}` ({parameter['in']}, {_type(parameter['schema'])}"]
        words.append(", required)" if parameter.get("required") else ")")
        words.append(f": {parameter['description']}" if parameter.get("description") else "")
        yield f"- Parameter {''.join(words)}"
    yield from _bullet("Body", _content(operation.get("requestBody")))
    for status, answer in operation.get("responses", {}).items():
        # Every route answers faults of its input in the same way.
        if status != "422":
            yield from _bullet(f"Answer {status}", _content(answer) or answer.get("description", ""))
    yield ""


def _bullet(name: str, text: str) -> Lines:
    if text:
        yield f"- {name}: {text}"


def _content(body: Mapping[str, Any] | None) -> str:
    kinds = (body or {}).get("content", {})
    return " or ".join(_type(kind["schema"]) for kind in kinds.values() if kind.get("schema"))


def _fields(schema: Mapping[str, Any]) -> Lines:
    required = set(schema.get("required", ()))
    yield from ("| field | type | required | default | |", "|---|---|---|---|---|")
    for name, field in schema.get("properties", {}).items():
        default = "" if field.get("default") is None else f"`{field['default']}`"
        words = " ".join(str(field.get("description", "")).split())
        yield f"| `{name}` | {_type(field)} | {'yes' if name in required else ''} | {default} | {words} |"


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON Schema's type in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if values := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " / ".join(f"`{value}`" for value in values)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(each) for each in schema[several])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"table of {_type(schema['additionalProperties'])}"
    kind, form = str(schema.get("type", "anything")), schema.get("format")
    return f"{kind} ({form})" if form else kind


def _one_line(text: str | None) -> list[str]:
    return [" ".join(text.split())] if text else []


def settings_page() -> Iterable[str]:
    """Every setting of the hub."""
    return hub_settings.page()


def access_page() -> Iterable[str]:
    """Who may call what."""
    return access_table.page(create_app(Settings(_env_file=None)))


PAGES: Mapping[str, Callable[[], Iterable[str]]] = {
    "access.md": access_page,
    "api.md": api_page,
    "cli.md": cli_page,
    "job-file.md": job_page,
    "settings.md": settings_page,
}


def text(name: str) -> str:
    """What a page says now."""
    return "\n".join(PAGES[name]()).rstrip() + "\n"


def main() -> int:
    """Write every page, or tell which are old."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 when a page is old")
    is_check = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    old = [name for name in PAGES if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text(name)]
    for name in old:
        sys.stdout.write(f"{'old' if is_check else 'written'}: docs/reference/{name}\n")
        if not is_check:
            (FOLDER / name).write_text(text(name))
    return 1 if is_check and old else 0


if __name__ == "__main__":
    sys.exit(main())
