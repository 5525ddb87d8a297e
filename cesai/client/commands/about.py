"""Which hub and which client is this, and what does it take?"""

from __future__ import annotations

from importlib.metadata import version as installed_version

import typer

from cesai.client.api import Hub
from cesai.client.tables import print_fields, print_json
from cesai.client.visit import Visit, command
from cesai.contract.jobs import json_schema

app = typer.Typer()
schema_app = typer.Typer(no_args_is_help=True, help="Schemas of what the hub takes.")


@command(schema_app)
def job(visit: Visit) -> None:
    """JSON Schema of a job file, for editors and checks; with --hub as that hub takes it."""
    if visit.wishes.hub is None:
        print_json(json_schema())
        return
    with Hub.anonymous(visit.wishes.hub, texts=visit.texts) as hub:
        print_json(hub.jobs.schema())


@command(app)
def version(visit: Visit) -> None:
    """The version of this client; with --hub also that hub's."""
    found = {"client": installed_version("cesai")}
    if visit.wishes.hub is not None:
        with Hub.anonymous(visit.wishes.hub, texts=visit.texts) as hub:
            found["hub"] = hub.people.health().version or "–"
    if visit.as_json:
        print_json(found)
    else:
        print_fields(found.items())
