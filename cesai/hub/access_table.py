"""Who may call which route? Read from the routes themselves, for a page and for the test of every route and role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from cesai.access.callers import policies_of

PROTOCOL = "the issuer's own protocol"
OPEN = "anyone"


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One route and its policy."""

    path: str
    method: str
    policy: str


def rows(app: FastAPI) -> tuple[Row, ...]:
    """Every route of the tree. Included routers are branches: a loop over app.routes would see none of their leaves."""
    return tuple(sorted(row for row in _walk(app)))


def _walk(app: FastAPI) -> Iterator[Row]:
    for context in iter_route_contexts(app.routes):
        for method in sorted((context.methods or {"GET"}) - {"HEAD"}):
            yield Row(str(context.path), method, _policy(context.original_route))


def _policy(route: object) -> str:
    if not isinstance(route, APIRoute):
        return OPEN  # the OpenAPI document
    policies = policies_of(route)
    if policies:
        return policies[0]
    if route.endpoint.__module__.startswith("cesai.issuer."):
        return PROTOCOL
    msg = f"{route.path} says nowhere who may call it"
    raise LookupError(msg)


def page(app: FastAPI) -> Iterator[str]:
    """The access reference, line by line, as Markdown."""
    yield from ("# Who may call what", "", "Made by `python docs/generate.py`; do not edit.", "")
    yield from ("| method | path | who |", "|---|---|---|")
    for row in rows(app):
        yield f"| {row.method} | `{row.path}` | {row.policy} |"
