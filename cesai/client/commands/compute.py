"""What can be asked about pledges, awards, what is left of them, and the books?"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from cesai.client.answers import Award, AwardLine
from cesai.client.exits import BadInput, Exit
from cesai.client.tables import Column, print_json
from cesai.client.texts import Texts
from cesai.client.visit import SHOWN, Visit, command, tell

app = typer.Typer()
pledge_app = typer.Typer(no_args_is_help=True, help="What sites give.")
award_app = typer.Typer(no_args_is_help=True, help="What projects are given.")
ledger_app = typer.Typer(no_args_is_help=True, help="The books (operator, funder).")

SiteName = Annotated[str, typer.Argument(help="The site's short name.")]
ProjectName = Annotated[str, typer.Argument(help="The project's short name.")]
LimitOption = Annotated[int, typer.Option(min=1, help="How many at most.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.")]
_LINE_PARTS = 4


@command(pledge_app)
def make(
    visit: Visit,
    site: SiteName,
    gpu_class: Annotated[str, typer.Argument(metavar="CLASS", help="The GPU class, like H100.")],
    period: Annotated[str, typer.Argument(help="The quarter, like 2026-Q4.")],
    gpu_hours: Annotated[str, typer.Argument(metavar="GPU-HOURS", help="How much, like 5000 or 12.5.")],
) -> None:
    """Give so much of a site's compute in one quarter (site admin)."""
    hours = _hours(gpu_hours, visit.texts)
    visit.done(visit.hub.compute.pledge(site, gpu_class, period=period, gpu_hours=hours))


@command(pledge_app, "list")
def list_pledges(visit: Visit, site: SiteName) -> None:
    """What a site gives."""
    visit.list(
        visit.hub.compute.pledges(site),
        [
            Column("period", lambda each: each.period),
            Column("class", lambda each: each.gpu_class),
            Column("GPU-hours", lambda each: visit.texts.hours(each.gpu_ms), is_number=True),
        ],
    )


@command(award_app, "make")
def make_award(
    visit: Visit,
    project: ProjectName,
    lines: Annotated[list[str], typer.Argument(help="SITE:CLASS:PERIOD:GPU-HOURS, one or more.")],
    *,
    reason: Annotated[str | None, typer.Option(help="Why; it stands in the books.")] = None,
) -> None:
    """Give a project compute (operator)."""
    wished = [_line(text, visit.texts) for text in lines]
    visit.done(visit.hub.compute.award(project, wished, reason=reason))


@command(award_app, "list")
def list_awards(visit: Visit, project: ProjectName) -> None:
    """What a project was given."""
    awards = list(visit.hub.compute.awards(project))
    if visit.as_json:
        print_json(awards)
        return
    rows: list[tuple[Award, AwardLine]] = [(award, line) for award in awards for line in award.lines]
    visit.list(
        rows,
        [
            Column("awarded", lambda row: visit.texts.instant(row[0].awarded_at)),
            Column("site", lambda row: row[1].site_id),
            Column("class", lambda row: row[1].gpu_class),
            Column("period", lambda row: row[1].period),
            Column("GPU-hours", lambda row: visit.texts.hours(row[1].gpu_ms), is_number=True),
            Column("reason", lambda row: row[0].reason),
        ],
    )


@command(app)
def balance(visit: Visit, project: ProjectName) -> None:
    """What a project has left, line by line."""
    hours = visit.texts.hours
    visit.list(
        visit.hub.compute.balance(project),
        [
            Column("site", lambda line: line.site_id),
            Column("class", lambda line: line.gpu_class),
            Column("period", lambda line: line.period),
            Column("awarded", lambda line: hours(line.awarded_gpu_ms), is_number=True),
            Column("reserved", lambda line: hours(line.pending_gpu_ms), is_number=True),
            Column("used", lambda line: hours(line.used_gpu_ms), is_number=True),
            Column("left", lambda line: hours(line.left_gpu_ms), is_number=True),
        ],
    )


@command(ledger_app)
def verify(visit: Visit) -> None:
    """Check the books; exit code 1 when a check does not hold."""
    found = visit.hub.ledger.verify()
    if visit.as_json:
        print_json(found)
    else:
        visit.list(
            found.checks,
            [
                Column("check", lambda each: each.name),
                Column("holds", lambda each: visit.texts.yes_no(each.holds)),
                Column("detail", lambda each: each.detail),
            ],
        )
    if not visit.as_json:
        tell(visit.texts("ledger_holds" if found.invariants_hold else "ledger_broken"))
    raise typer.Exit(Exit.OK if found.invariants_hold else Exit.JOB_FAILED)


@command(ledger_app)
def balances(visit: Visit, *, account: Annotated[str | None, typer.Option(help="This account only.")] = None) -> None:
    """Accounts and what stands on them."""
    visit.list(
        visit.hub.ledger.balances(account=account),
        [
            Column("account", lambda each: each.account),
            Column("kind", lambda each: each.kind),
            Column("stands at", lambda each: visit.texts.hours(each.gpu_ms), is_number=True),
            Column("reserved", lambda each: visit.texts.hours(each.pending_gpu_ms), is_number=True),
        ],
    )


@command(ledger_app)
def entries(
    visit: Visit,
    *,
    account: Annotated[str | None, typer.Option(help="Of this account only.")] = None,
    attempt: Annotated[str | None, typer.Option(help="Of this attempt only (its id).")] = None,
    limit: LimitOption = SHOWN,
    everything: AllOption = False,
) -> None:
    """Every transfer."""
    visit.list(
        visit.hub.ledger.entries(account=account, attempt=attempt),
        [
            Column("", lambda each: each.number, is_number=True),
            Column("at", lambda each: visit.texts.instant(each.at)),
            Column("kind", lambda each: each.kind),
            Column("phase", lambda each: each.phase),
            Column("from", lambda each: each.debit),
            Column("to", lambda each: each.credit),
            Column("amount", lambda each: visit.texts.hours(each.gpu_ms), is_number=True),
        ],
        limit=None if everything else limit,
    )


def _line(text: str, texts: Texts) -> dict[str, object]:
    parts = text.split(":")
    if len(parts) != _LINE_PARTS or not all(parts):
        raise BadInput(texts("bad_line", text=text))
    site, gpu_class, period, hours = parts
    return {"site_id": site, "gpu_class": gpu_class, "period": period, "gpu_hours": str(_hours(hours, texts))}


def _hours(text: str, texts: Texts) -> Decimal:
    try:
        hours = Decimal(text)
    except InvalidOperation:
        raise BadInput(texts("bad_hours", text=text)) from None
    if not hours.is_finite() or hours <= 0:
        raise BadInput(texts("bad_hours", text=text))
    return hours
