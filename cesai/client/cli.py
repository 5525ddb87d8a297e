"""How does `cesai` answer in a shell? Its commands, those of installed parts, one clear sentence for every error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cesai.client.commands import about, compute, jobs, projects, signing, sites
from cesai.client.exits import MEANING, Exit, of_error
from cesai.client.texts import Texts, language_of
from cesai.client.visit import HubOption, JsonOption, LangOption, ProfileOption, Wishes, tell
from cesai.kernel.errors import CesaiError

GROUP = "cesai.commands"
_EPILOG = "Exit codes: " + " · ".join(f"{int(number)} {meaning}" for number, meaning in MEANING.items())


class Commands(TyperGroup):
    """The client's commands at once; those of other installed parts only when they are asked for, for they are slow."""

    _are_parts_loaded = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401  Typer's own types are private
        """The command of this name."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            self._load_parts()
            found = super().get_command(ctx, cmd_name)
        return found

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401  Typer's own types are private
        """Every command, for the help."""
        self._load_parts()
        return super().list_commands(ctx)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  Typer's own types are private
        """Run a command; an error is one sentence and a number."""
        try:
            return super().invoke(ctx)
        except CesaiError as error:
            tell(error.sentence)
            raise typer.Exit(of_error(error)) from None

    def _load_parts(self) -> None:
        if not self._are_parts_loaded:
            self._are_parts_loaded = True
            # While the shell completes a word, nothing may be said between its lines.
            say = _silently if "_CESAI_COMPLETE" in os.environ else tell
            for name, command in parts(entry_points(group=GROUP), taken=self.commands, say=say):
                self.add_command(command, name)


def parts(
    points: Iterable[EntryPoint], *, taken: Iterable[str], say: Callable[[str], None]
) -> list[tuple[str, TyperCommand | TyperGroup]]:
    """The commands that other installed parts bring; a part that cannot be loaded is named and left out."""
    texts = Texts(language_of(os.environ))
    found: dict[str, TyperCommand | TyperGroup] = {}
    names = set(taken)
    for point in sorted(points, key=lambda each: each.name):
        try:
            group = typer.main.get_group(point.load())
        except Exception as error:  # noqa: BLE001  whatever is wrong with a part must not keep the others from working
            say(texts("plugin_broken", name=point.name, reason=f"{type(error).__name__}: {error}"))
            continue
        for name, command in group.commands.items():
            if name in names:
                say(texts("plugin_clash", name=point.name, command=name))
            else:
                names.add(name)
                _speak_plainly(command)
                found[name] = command  # type: ignore[assignment]  # Typer makes only these two kinds
    return list(found.items())


def _speak_plainly(command: Any) -> None:  # noqa: ANN401  Typer's own types are private
    """Let the help of a part look like that of the others."""
    command.rich_markup_mode = None
    for below in getattr(command, "commands", {}).values():
        _speak_plainly(below)


def _silently(_sentence: str) -> None:
    """Say nothing."""


app = typer.Typer(
    cls=Commands,
    name="cesai",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def everywhere(
    ctx: typer.Context,
    *,
    profile: ProfileOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
    language: LangOption = None,
) -> None:
    """CESAI hub: one place that coordinates national compute for sovereign AI models."""
    ctx.obj = Wishes(profile=profile, hub=hub, as_json=as_json, language=language)


for _app in (signing.app, compute.app, about.app):
    app.registered_commands.extend(_app.registered_commands)
for _name, _group in (
    ("profile", signing.profile_app),
    ("site", sites.app),
    ("class", sites.class_app),
    ("project", projects.app),
    ("member", projects.member_app),
    ("pledge", compute.pledge_app),
    ("award", compute.award_app),
    ("job", jobs.app),
    ("ledger", compute.ledger_app),
    ("schema", about.schema_app),
):
    app.add_typer(_group, name=_name)


def main() -> None:
    """Answer the shell; a fault of our own is a sentence too, never a traceback."""
    try:
        app()
    except Exception as error:  # noqa: BLE001  the edge: nothing above could say it better
        if os.environ.get("CESAI_DEBUG"):
            traceback.print_exc()
        tell(Texts(language_of(os.environ))("bug", reason=f"{type(error).__name__}: {error}"))
        sys.exit(Exit.BUG)


if __name__ == "__main__":
    main()
