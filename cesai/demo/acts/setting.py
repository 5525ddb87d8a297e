"""How do two sites, three groups and their awards come to be?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cesai.demo.cast import EVERYBODY, LEADS, OPERATOR, SITE_ADMINS, Part, Person
from cesai.demo.stage import Stage, await_
from cesai.demo.steps import StepFailed
from cesai.kernel.periods import Period

CLASSES = {"H100": ("NVIDIA H100 SXM 80 GB", "80"), "A100": ("NVIDIA A100 SXM 40 GB", "40")}
NAMES = {"juelich": "Jülich Supercomputing Centre", "rwth": "RWTH Aachen, IT Center"}
CLASS_OF = {"juelich": "H100", "rwth": "A100"}
PROJECTS = {
    "legal-llm": ("A language model for German law", "Forschungszentrum Jülich"),
    "speech": ("Speech recognition for dialects", "Universität Bonn"),
    "chem-lm": ("A language model of chemistry", "RWTH Aachen"),
}
PLEDGE_HOURS = 2_000
AWARDS = {  # GPU-hours by project and site
    "legal-llm": {"juelich": 300},
    "speech": {"juelich": 100, "rwth": 200},
    "chem-lm": {"rwth": 150},
}


@dataclass(frozen=True, slots=True)
class Setting:
    """The prologue; each step finds out what an earlier run has done already and goes on from there."""

    stage: Stage

    def person(self, part: Part) -> Person:
        """Somebody at a shell."""
        return self.stage.person(part)

    @property
    def operator(self) -> Person:
        """Who runs the hub."""
        return self.person(OPERATOR)

    @property
    def period(self) -> str:
        """The present quarter."""
        return str(Period.of(datetime.now(UTC)))

    def everybody_signs_in(self) -> str:
        """By the device flow, unless an earlier login still holds."""
        people = [self.person(part) for part in EVERYBODY]
        with ThreadPoolExecutor(len(people)) as at_once:
            held = list(at_once.map(Person.is_signed_in, people))
            fresh = [person for person, holds in zip(people, held, strict=True) if not holds]
            list(at_once.map(Person.signs_in, fresh))
        kept = len(EVERYBODY) - len(fresh)
        return f"{kept} earlier logins still hold, {len(fresh)} signed in" if kept else f"{len(fresh)} people signed in"

    def register_sites(self) -> str:
        """GPU classes, sites and who administers them."""
        known = {item["id"] for item in _items(self.operator.does("class", "list"))}
        for name, (title, memory) in CLASSES.items():
            if name not in known:
                self.operator.does("class", "add", name, "--name", title, "--memory-gb", memory)
        known = {item["id"] for item in _items(self.operator.does("site", "list"))}
        for site, title in NAMES.items():
            if site not in known:
                self.operator.does("site", "register", site, "--name", title, "--margin", "2")
                self.operator.does("member", "grant", SITE_ADMINS[site].username, "site-admin", "--scope", site)
        return "\n".join(f"{NAMES[site]}: administered by {SITE_ADMINS[site].name}" for site in NAMES)

    def enrol_agents(self) -> str:
        """One-time token, key pair at the site, first words."""
        said = []
        for site, admin in SITE_ADMINS.items():
            token = None
            if not self.stage.is_enrolled(site):
                token = self.person(admin).does("site", "enrol", site)["token"]
            self.stage.start_agent(site, token=token)
            said.append(f"{site}: " + ("enrolled with a one-time token" if token else "goes on with its identity"))
        return "\n".join(said)

    def discover(self) -> str:
        """Wait until both agents have told what their clusters have."""
        said = []
        for site, admin in SITE_ADMINS.items():
            self._await_pools(site, admin)
            for pool in self._pools(site, admin):
                proposed = pool["confirmed_class"] or pool["proposed_class"]
                kind = f"{pool['gpus']} GPUs {pool['gres_type']} in partition {pool['partition']}"
                said.append(f"{site}: {kind}, which look like {proposed}")
        return "\n".join(said)

    def confirm_mapping(self) -> str:
        """The admins take what the hub proposes."""
        for site, admin in SITE_ADMINS.items():
            self.person(admin).does("site", "map", site)
            classes = {pool["confirmed_class"] for pool in self._pools(site, admin)}
            if classes != {CLASS_OF[site]}:
                msg = f"{site} should have {CLASS_OF[site]}, the hub says {classes}"
                raise StepFailed(msg)
        return ", ".join(f"{site} has {CLASS_OF[site]}" for site in SITE_ADMINS)

    def pledge(self) -> str:
        """Each site gives GPU-hours of this quarter, once."""
        for site, admin in SITE_ADMINS.items():
            given = _items(self.person(admin).does("pledge", "list", site))
            if not any(item["period"] == self.period for item in given):
                words = ("pledge", "make", site, CLASS_OF[site], self.period, str(PLEDGE_HOURS))
                self.person(admin).does(*words)
        return f"{PLEDGE_HOURS} GPU-hours of {self.period} from each"

    def pledge_too_much(self) -> str:
        """More than the GPUs could give in what is left of the quarter."""
        words = ("pledge", "make", "juelich", CLASS_OF["juelich"], self.period, "1000000")
        return self.person(SITE_ADMINS["juelich"]).is_refused(*words, expect=("GPU-hours",))

    def found_groups(self) -> str:
        """Projects with their leads, taken by the sites, with awards."""
        known = {item["id"] for item in _items(self.operator.does("project", "list"))}
        for project, (title, organisation) in PROJECTS.items():
            if project not in known:
                self._found(project, title, organisation)
        return "\n".join(
            f"{title} ({organisation}): "
            + ", ".join(f"{hours} GPU-hours at {site}" for site, hours in AWARDS[project].items())
            for project, (title, organisation) in PROJECTS.items()
        )

    def _found(self, project: str, title: str, organisation: str) -> None:
        self.operator.does("project", "create", project, "--title", title, "--organisation", organisation)
        self.operator.does("project", "add-member", project, LEADS[project].username, "--role", "pi")
        for site in AWARDS[project]:
            self.person(SITE_ADMINS[site]).does("site", "accept", site, project, "--account", project)
        lines = [f"{site}:{CLASS_OF[site]}:{self.period}:{hours}" for site, hours in AWARDS[project].items()]
        self.operator.does("award", "make", project, *lines, "--reason", "board decision of the demonstration")

    def _await_pools(self, site: str, admin: Part) -> None:
        await_(f"{site} tells its inventory", lambda: bool(self._pools(site, admin)))

    def _pools(self, site: str, admin: Part) -> list[dict[str, Any]]:
        said = self.person(admin).tries("site", "inventory", site, "--json")
        return list(said.json().get("pools", [])) if said.code == 0 else []


def _items(answer: Any) -> list[dict[str, Any]]:  # noqa: ANN401  JSON
    return list(answer["items"] if isinstance(answer, dict) else answer)
