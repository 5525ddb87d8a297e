"""What can be asked about sites and GPU classes?"""

from __future__ import annotations

import re
from typing import Annotated

import typer

from cesai.client.answers import Pool, Site
from cesai.client.exits import BadInput
from cesai.client.tables import Column, print_fields, print_json
from cesai.client.texts import Texts
from cesai.client.visit import Visit, command

app = typer.Typer(no_args_is_help=True, help="Sites: what they have, what they take.")
class_app = typer.Typer(no_args_is_help=True, help="GPU classes.")

SiteName = Annotated[str, typer.Argument(help="The site's short name, like juelich.")]
ProjectName = Annotated[str, typer.Argument(help="The project's short name.")]
_ENTRY = re.compile(r"([^/=]+)/([^/=]+)(?:/([^/=]+))?=([^/=]+)")


@command(app, "list")
def list_sites(visit: Visit) -> None:
    """Every site, how it is and what it has."""
    visit.list(
        visit.hub.sites.list(),
        [
            Column("site", lambda site: site.id),
            Column("name", lambda site: site.name),
            Column("kind", lambda site: site.kind),
            Column("contact", lambda site: site.contact.state),
            Column("draining", lambda site: visit.texts.yes_no(site.is_draining)),
            Column("GPUs", _gpus),
            Column("last heard", lambda site: visit.texts.instant(site.contact.last_heard_at)),
        ],
    )


@command(app)
def show(visit: Visit, site: SiteName) -> None:
    """One site in full."""
    found = visit.hub.sites.show(site)
    if visit.as_json:
        print_json(found)
        return
    contact, texts = found.contact, visit.texts
    print_fields(
        [
            ("site", found.id),
            ("name", found.name),
            ("kind", found.kind),
            ("country", found.country),
            ("GPUs", _gpus(found)),
            ("contact", contact.state),
            ("last heard", texts.instant(contact.last_heard_at)),
            ("trouble", contact.trouble),
            ("no new work", found.closed),
            ("agent", contact.agent_version),
            ("scheduler", " ".join(filter(None, [contact.scheduler_version, contact.backend]))),
            ("inventory", texts.instant(contact.inventory_taken_at)),
            ("clock off by", texts.span(contact.clock_skew_s)),
            ("draining", texts.yes_no(found.is_draining)),
            ("patience", f"{found.patience_minutes} min"),
            ("margin", f"{found.margin_minutes} min"),
            ("availability", f"{found.availability_percent} %"),
        ]
    )


@command(app)
def register(
    visit: Visit,
    site: SiteName,
    *,
    name: Annotated[str, typer.Option(help="What people call it.")],
    country: Annotated[str, typer.Option(help="Two letters, like DE.")] = "DE",
    kind: Annotated[str, typer.Option(help="slurm or ray.")] = "slurm",
    patience: Annotated[int | None, typer.Option(help="Minutes that a job may wait there.")] = None,
    margin: Annotated[int | None, typer.Option(help="Minutes added to each reservation.")] = None,
    availability: Annotated[int | None, typer.Option(help="Percent of its time that the site is up.")] = None,
) -> None:
    """Make a site known (operator)."""
    body: dict[str, object] = {"id": site, "name": name, "kind": kind, "country": country}
    more = {"patience_minutes": patience, "margin_minutes": margin, "availability_percent": availability}
    visit.done(visit.hub.sites.register({**body, **{key: value for key, value in more.items() if value is not None}}))


@command(app)
def inventory(visit: Visit, site: SiteName) -> None:
    """What the site's agent found, and which class each pool is of."""
    found = visit.hub.sites.inventory(site)
    if visit.as_json:
        print_json(found)
        return
    visit.list(
        found.pools,
        [
            Column("cluster", lambda pool: pool.cluster),
            Column("partition", lambda pool: pool.partition),
            Column("type", lambda pool: pool.gres_type),
            Column("nodes up", lambda pool: f"{pool.nodes_up} / {pool.nodes}", is_number=True),
            Column("GPUs up", lambda pool: f"{pool.gpus_up} / {pool.gpus}", is_number=True),
            Column("free", lambda pool: pool.gpus_free, is_number=True),
            Column("proposed", lambda pool: pool.proposed_class),
            Column("confirmed", lambda pool: pool.confirmed_class),
        ],
    )


@command(app, "map")
def map_classes(
    visit: Visit,
    site: SiteName,
    entries: Annotated[
        list[str] | None, typer.Argument(help="CLUSTER/PARTITION/TYPE=CLASS; none: take what the hub proposes.")
    ] = None,
) -> None:
    """Confirm which GPU class each pool is of (site admin)."""
    wished = [_entry(text, visit.texts) for text in entries or ()] or _proposed(visit, site)
    answer = visit.hub.sites.map(site, wished)
    visit.done(answer if answer is not None else {"entries": wished})


def _proposed(visit: Visit, site: str) -> list[dict[str, object]]:
    pools = visit.hub.sites.inventory(site).pools
    wished = [_mapped(pool) for pool in pools if pool.confirmed_class or pool.proposed_class]
    if not wished:
        raise BadInput(visit.texts("nothing_proposed", site=site))
    return wished


def _mapped(pool: Pool) -> dict[str, object]:
    return {
        "cluster": pool.cluster,
        "partition": pool.partition,
        "gres_type": pool.gres_type,
        "gpu_class": pool.confirmed_class or pool.proposed_class,
    }


def _entry(text: str, texts: Texts) -> dict[str, object]:
    match = _ENTRY.fullmatch(text)
    if not match:
        raise BadInput(texts("bad_entry", text=text))
    cluster, partition, gres_type, gpu_class = match.groups()
    return {"cluster": cluster, "partition": partition, "gres_type": gres_type, "gpu_class": gpu_class}


@command(app)
def enrol(visit: Visit, site: SiteName) -> None:
    """Make a one-time token for the site's agent (site admin)."""
    found = visit.hub.sites.enrol(site)
    if visit.as_json:
        print_json(found)
        return
    print_fields([("token", found.token), ("expires", visit.texts.instant(found.expires_at))])
    expires = visit.texts.instant(found.expires_at)
    visit.say("enrol_hint", token=found.token, hub=visit.hub.address, expires=expires)


@command(app)
def drain(
    visit: Visit,
    site: SiteName,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Give it work again.")] = False,
) -> None:
    """Give the site no new work; what runs goes on (site admin)."""
    visit.hub.sites.drain(site, is_draining=not undo)
    visit.done()


@command(app, "reset-agent")
def reset_agent(visit: Visit, site: SiteName) -> None:
    """Let a new instance of the site's agent take the old one's place (operator)."""
    visit.hub.sites.reset_agent(site)
    visit.done()


@command(app)
def accept(
    visit: Visit,
    site: SiteName,
    project: ProjectName,
    *,
    account: Annotated[str, typer.Option(help="The local account that its jobs run as.")],
) -> None:
    """Take a project's jobs (site admin)."""
    visit.hub.sites.accept(site, project, account=account)
    visit.done()


@command(app)
def refuse(
    visit: Visit,
    site: SiteName,
    project: ProjectName,
    *,
    reason: Annotated[str, typer.Option(help="Why; the group will read it.")],
) -> None:
    """Take none of a project's jobs (site admin)."""
    visit.hub.sites.refuse(site, project, reason=reason)
    visit.done()


@command(app)
def projects(visit: Visit, site: SiteName) -> None:
    """Which projects the site takes, and which it refused (site admin)."""
    visit.list(
        visit.hub.sites.projects(site),
        [
            Column("project", lambda each: each.project_id),
            Column("account", lambda each: each.account),
            Column("refused because", lambda each: each.refused),
            Column("decided", lambda each: visit.texts.instant(each.decided_at)),
            Column("by", lambda each: each.decided_by),
        ],
    )


@command(class_app, "list")
def list_classes(visit: Visit) -> None:
    """Every GPU class."""
    visit.list(
        visit.hub.sites.classes(),
        [
            Column("class", lambda each: each.id),
            Column("name", lambda each: each.name),
            Column("memory", lambda each: f"{each.memory_gb} GB", is_number=True),
        ],
    )


@command(class_app, "add")
def add_class(
    visit: Visit,
    gpu_class: Annotated[str, typer.Argument(metavar="CLASS", help="Upper case, like H100.")],
    *,
    name: Annotated[str, typer.Option(help="What people call it.")],
    memory_gb: Annotated[int, typer.Option(help="Memory of one GPU in GB.")],
) -> None:
    """Make a GPU class known (operator)."""
    visit.done(visit.hub.sites.add_class({"id": gpu_class, "name": name, "memory_gb": memory_gb}))


def _gpus(site: Site) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted((site.gpus or {}).items())) or "–"
