"""Who acts in the story, and how does each use the command line as a user of his own?"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cesai.demo.steps import StepFailed

PASSWORD = "demo"  # noqa: S105  the demonstration's people are no secret; the issuer refuses to run in production
LOGIN_SECONDS = 30
COMMAND_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Part:
    """One person of the story."""

    username: str
    name: str
    email: str
    roles: tuple[str, ...] = ()


OPERATOR = Part("olga", "Olga Operator", "olga@hub.example", ("operator",))
FUNDER = Part("frieda", "Frieda Fischer", "frieda@ministry.example", ("funder",))
SITE_ADMINS = {
    "juelich": Part("jonas", "Jonas Jülich", "jonas@juelich.example"),
    "rwth": Part("rieke", "Rieke Rath", "rieke@rwth.example"),
}
LEADS = {
    "legal-llm": Part("anna", "Anna Albrecht", "anna@juelich.example"),
    "speech": Part("bruno", "Bruno Becker", "bruno@bonn.example"),
    "chem-lm": Part("clara", "Clara Conrad", "clara@aachen.example"),
}
EVERYBODY = (OPERATOR, FUNDER, *SITE_ADMINS.values(), *LEADS.values())


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401  whatever the command prints
        """The answer as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a shell: a folder of his own for logins, and the `cesai` command."""

    part: Part
    cesai: Path
    config: Path
    hub: str

    def environment(self) -> dict[str, str]:
        """What the command is started with."""
        return {
            "CESAI_CONFIG_DIR": str(self.config),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.config),
        }

    def tries(self, *words: str, given: str | None = None) -> Said:
        """Run a command and hear what it says, be it yes or no."""
        done = subprocess.run(  # noqa: S603  our own command line
            [self.cesai, *words],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def does(self, *words: str, given: str | None = None) -> Any:  # noqa: ANN401  JSON
        """Run a command that must succeed; its JSON answer.

        Raises:
            StepFailed: it did not.
        """
        said = self.tries(*words, "--json", given=given)
        if said.code != 0:
            heard = said.err.strip() or said.out.strip()
            msg = f"`cesai {' '.join(words)}` as {self.part.username} ended with {said.code}: {heard}"
            raise StepFailed(msg)
        return said.json() if said.out.strip() else None

    def is_refused(self, *words: str, expect: Sequence[str], given: str | None = None) -> str:
        """Run a command that must be refused with a sentence holding all of these words; that sentence.

        Raises:
            StepFailed: it was not refused, or not so.
        """
        said = self.tries(*words, given=given)
        sentence = " ".join(said.err.split())
        if said.code == 0 or any(word not in sentence for word in expect):
            wanted = ", ".join(expect)
            msg = f"`cesai {' '.join(words)}` should be refused with {wanted}; it ended with {said.code}: {sentence}"
            raise StepFailed(msg)
        return sentence

    def is_signed_in(self) -> bool:
        """Whether an earlier login still holds."""
        return self.tries("whoami", "--json").code == 0

    def signs_in(self) -> None:
        """Log in by the device flow: the command shows a code, and the login page is filled in as in a browser.

        Raises:
            StepFailed: the page or the command said no.
        """
        self.config.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(  # noqa: S603  our own command line
            [self.cesai, "login", "--hub", self.hub, "--no-browser"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as login:
            said = self._approve(login)
            if login.wait(LOGIN_SECONDS) != 0:
                msg = f"{self.part.username} could not log in: {said}{login.stdout.read() if login.stdout else ''}"
                raise StepFailed(msg)

    def _approve(self, login: subprocess.Popen[str]) -> str:
        said = ""
        for line in login.stdout or ():
            said += line
            if address := re.search(r"https?://\S+user_code=\S+", line):
                fill_in(address[0], self.part.username)
                break
        return said


def fill_in(address: str, username: str) -> None:
    """Fill in the issuer's pages as a person does, form by form, until there is none left.

    Raises:
        StepFailed: more pages than a login has.
    """
    with httpx.Client(follow_redirects=True, headers={"Accept": "text/html"}, timeout=LOGIN_SECONDS) as browser:
        page = browser.get(address)
        for _ in range(4):
            form = re.search(r"<form[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", page.text, re.DOTALL)
            if not form:
                return
            fields = dict(re.findall(r"<input[^>]*name=\"([^\"]+)\"[^>]*value=\"([^\"]*)\"", form[2]))
            fields |= dict(re.findall(r"<button[^>]*name=\"([^\"]+)\"[^>]*value=\"([^\"]*)\"", form[2])[:1])
            fields |= {"username": username, "password": PASSWORD} if "password" in form[2] else {}
            page = browser.post(page.url.join(form[1].replace("&amp;", "&")), data=fields)
    msg = f"the login pages of {address} did not come to an end"
    raise StepFailed(msg)
