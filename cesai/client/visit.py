"""Who asks, at which hub, in which language and in which form? One visit is one run of a command.

`command` gives every command the same four options behind its own, and hands it a `Visit`.
"""

from __future__ import annotations

import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from cesai.client.api import Hub
from cesai.client.profiles import Profiles, config_folder
from cesai.client.tables import Column, print_json, print_table, tame
from cesai.client.texts import Texts, language_of

T = TypeVar("T")
_PANEL = "Everywhere"
SHOWN = 50


# What the client reads from its environment, for the reference.
VARIABLES = {
    "CESAI_PROFILE": "The profile to use, where --profile does not say.",
    "CESAI_HUB": "The hub's address, where --hub does not say.",
    "CESAI_TOKEN": "An access token from elsewhere, such as a pipeline's secret; with CESAI_HUB no login is needed.",
    "CESAI_CONFIG_DIR": "Where profiles are kept; otherwise $XDG_CONFIG_HOME/cesai or ~/.config/cesai.",
    "CESAI_LANG": "de or en, before LC_ALL, LC_MESSAGES and LANG, where --lang does not say.",
    "CESAI_PLAIN_HTTP": "1 lets a login travel unencrypted to another machine; for networks protected otherwise.",
    "CESAI_DEBUG": "1 shows where cesai itself failed.",
}


class Language(StrEnum):
    """What the command line speaks."""

    DE = "de"
    EN = "en"


ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Who you are: a profile made by `cesai login`.", rich_help_panel=_PANEL)
]
HubOption = Annotated[
    str | None, typer.Option("--hub", help="The hub's address, if not the profile's.", rich_help_panel=_PANEL)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.", rich_help_panel=_PANEL)]
LangOption = Annotated[Language | None, typer.Option("--lang", help="Language of messages.", rich_help_panel=_PANEL)]


@dataclass(frozen=True, slots=True)
class Wishes:
    """The four options that stand before or behind a command."""

    profile: str | None = None
    hub: str | None = None
    as_json: bool = False
    language: Language | None = None

    def over(self, earlier: Wishes) -> Wishes:
        """These, and what was said earlier where these say nothing."""
        return Wishes(
            profile=self.profile or earlier.profile,
            hub=self.hub or earlier.hub,
            as_json=self.as_json or earlier.as_json,
            language=self.language or earlier.language,
        )


@dataclass(slots=True)
class Visit:
    """One run of a command."""

    wishes: Wishes
    texts: Texts = field(init=False)
    profiles: Profiles = field(init=False)
    _hub: Hub | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        language = self.wishes.language or language_of(os.environ)
        self.texts = Texts(str(language))
        self.profiles = Profiles(config_folder(os.environ), self.texts)

    @property
    def profile(self) -> str:
        """The profile's name."""
        return self.wishes.profile or os.environ.get("CESAI_PROFILE") or self.profiles.current()

    @property
    def as_json(self) -> bool:
        """Whether a program reads the answer."""
        return self.wishes.as_json

    @property
    def hub(self) -> Hub:
        """The hub, signed in.

        Raises:
            SignInNeeded: nobody is.
        """
        if self._hub is None:
            self._hub = Hub.signed_in(self.profile, hub=self.wishes.hub, texts=self.texts)
        return self._hub

    def end(self) -> None:
        """Leave nothing open."""
        if self._hub is not None:
            self._hub.close()

    def say(self, key: str, **values: object) -> None:
        """Tell the person; never in the way of a program that reads standard output."""
        tell(self.texts(key, **values))

    def list(self, found: Iterable[T], columns: Sequence[Column[T]], *, limit: int | None = None) -> None:
        """Show a list, as a table or as JSON."""
        rows = iter(found)
        shown = list(itertools.islice(rows, limit))
        more = limit is not None and next(rows, None) is not None
        if self.as_json:
            print_json(shown)
        elif not print_table(shown, columns):
            self.say("nothing")
        if more:
            self.say("more")

    def done(self, answer: object = None) -> None:
        """Something was done: what came of it for programs, a word for people."""
        if self.as_json:
            print_json(answer if answer is not None else {"done": True})
        else:
            self.say("done")


def tell(sentence: str) -> None:
    """A sentence on standard error."""
    sys.stderr.write(tame(sentence) + "\n")
    sys.stderr.flush()


def command(app: typer.Typer, name: str | None = None, **settings: Any) -> Callable[[Callable[..., None]], Any]:  # noqa: ANN401  what Typer takes
    """Make a function a command: its first parameter is the visit, the others are its own options."""

    def make(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        def run(ctx: typer.Context, **options: Any) -> None:  # noqa: ANN401  the function's own parameters
            said = {each.name: options.pop(each.name) for each in _COMMON}
            visit = Visit(Wishes(**said).over(ctx.obj or Wishes()))
            try:
                function(visit, **options)
            finally:
                visit.end()

        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = [context, *(_by_name(each) for each in (*own, *_COMMON))]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        run.__module__ = function.__module__
        app.command(name, **settings)(run)
        return function

    return make


def _by_name(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _everywhere(
    *,
    profile: ProfileOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
    language: LangOption = None,
) -> None:
    """Whose parameters every command has."""


_COMMON = tuple(inspect.signature(_everywhere, eval_str=True).parameters.values())
