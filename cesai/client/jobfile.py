"""How does a file on the researcher's disk become a job? Read whole, checked whole, before anything is sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from cesai.client.exits import BadInput
from cesai.client.texts import Texts
from cesai.contract.jobs import JobFile, JobFileError, read_job

STANDARD_INPUT = "-"
SCRIPT_FILE = "script_file"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: 10:00:00 is a text (YAML 1.1 makes it 36000), 010 is ten, no date is guessed."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own pattern

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  PyYAML's
        """A table; a key that stands twice is a mistake, not a choice."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool | None) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands there twice", key_node.start_mark
                )
            seen.add(str(key) if isinstance(key, list | dict) else key)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+0123456789."),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def read_job_file(file: str, texts: Texts, *, resume: str | None = None) -> JobFile:
    """The job that a file asks for; "-" is standard input.

    Raises:
        BadInput: every fault at once, each with its key.
    """
    content, faults = _inlined(_parsed(file, texts), folder=_folder(file), texts=texts)
    if resume is not None and isinstance(content, dict):
        content = {**content, "resume": UUID(resume)}
    try:
        job = read_job(content)
    except JobFileError as error:
        about_script = {place for place, _ in faults}
        rest = [f"{place}: {said}" if place else said for place, said in error.faults if not about_script or place]
        raise _refusal(file, [*(said for _, said in faults), *rest], texts) from None
    if faults:
        raise _refusal(file, [said for _, said in faults], texts)
    return job


def _refusal(file: str, faults: Iterable[str], texts: Texts) -> BadInput:
    return BadInput("\n".join([texts("faults", file=_spoken(file)), *(f"  {fault}" for fault in faults)]))


def _parsed(file: str, texts: Texts) -> object:
    try:
        text = sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise BadInput(texts("no_file", file=_spoken(file), reason=_reason(error))) from None
    try:
        if text.lstrip().startswith("{"):
            return json.loads(text, object_pairs_hook=_without_doubles)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader with fewer guesses
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(texts("no_yaml", file=_spoken(file), reason=_place(error))) from None


def _inlined(content: object, *, folder: Path, texts: Texts) -> tuple[object, list[tuple[str, str]]]:
    """The content with the text of its script file, and what is wrong with that."""
    if not isinstance(content, dict) or SCRIPT_FILE not in content:
        return content, []
    rest = {key: value for key, value in content.items() if key != SCRIPT_FILE}
    named = content[SCRIPT_FILE]
    if "script" in content:
        return rest, [(SCRIPT_FILE, texts("script_twice"))]
    if not isinstance(named, str) or not named:
        return rest, [(SCRIPT_FILE, texts("script_file_text"))]
    try:
        return {**rest, "script": (folder / named).read_text(encoding="utf-8")}, []
    except (OSError, UnicodeError, ValueError) as error:
        return rest, [(SCRIPT_FILE, texts("script_unread", path=folder / named, reason=_reason(error)))]


def _folder(file: str) -> Path:
    return Path() if file == STANDARD_INPUT else Path(file).parent


def _spoken(file: str) -> str:
    return "<stdin>" if file == STANDARD_INPUT else file


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "no UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _place(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            msg = f"the key {key!r} stands there twice"
            raise ValueError(msg)
        found[key] = value
    return found


TEMPLATE = """\
# A job for the CESAI hub. Submit it: cesai job submit job.yaml --wait
name: my-first-job            # what you call it
project: my-project           # whose award pays for it (see: cesai project list)

# Either a script (here, or in a file beside this one by script_file: train.sh) or one command line as entrypoint.
script: |
  #!/bin/bash
  set -euo pipefail
  echo "running on $(hostname)"

nodes: 1
gpus_per_node: 1
gpu_class: H100               # or several of which any will do: [H100, A100]  (see: cesai class list)
walltime: 30m                 # 90, 90m, 2h, 1d, HH:MM:SS; your award is charged for what is used, not for this

# sites: [juelich]            # only these sites will do; left out: any
# launcher: srun              # start the program once per GPU by srun; left out: plain, once on the first node
# environment:                # variables for the program
#   EPOCHS: "3"
# checkpoint: checkpoints     # where the program writes its checkpoints, below the job's folder
# resume: 0192…               # an earlier job whose checkpoints this one goes on from
# retry:                      # after which ends it is tried again, and how often
#   causes: [NODE_FAIL, PREEMPTED]
#   limit: 1
# on_site_loss: wait          # or rerun: start elsewhere when the site falls silent for good
"""
