"""Does hostile input, wherever it stands, end in a clear error and never in a mistake of the hub?"""

from __future__ import annotations

from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from cesai.hub import access_table
from tests.acting import Api

NASTY = (
    "a\0b",
    "a\nb",
    "../../etc/passwd",
    "'; DROP TABLE principal; --",
    "$(reboot)`id`|&;<>",
    "=cmd|' /C calc'!A0",
    "\u2028\u202e\ufeff",
    "\x1b[31mred",
    "{{7*7}}${7*7}",
    "💥" * 300,
    "9" * 400,
    "-1",
    "",
)


@pytest.fixture
def operator(api, db):
    """Somebody who may do everything, before a hub whose mistakes are answers and not exceptions."""
    lenient = Api(api.app, TestClient(api.app, raise_server_exceptions=False), db)
    return lenient.as_("operator")


@pytest.fixture
def send(operator, db):
    """Sends a request and undoes what it did; its status."""

    def send(method: str, path: str, **options):
        undone = db.begin_nested()
        answer = operator.request(method, path, **options)
        undone.rollback()
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]
        return answer.status_code

    return send


def routes(api):
    return [row for row in access_table.rows(api.app) if row.policy != access_table.PROTOCOL]


def test_no_path_makes_the_hub_stumble(api, send):
    for row in routes(api):
        for text in NASTY if "{" in row.path else ():
            holes = dict.fromkeys(
                ("site_id", "project_id", "job_id", "membership_id", "username"), quote(text, safe="")
            )
            body = {"json": {}} if row.method in {"POST", "PUT"} else {}
            assert send(row.method, row.path.format_map(holes), **body) < 500, (row, text)


def test_no_query_makes_the_hub_stumble(api, send):
    document = api.app.openapi()
    for path, methods in document["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query" and "{" not in path:
                for text in NASTY:
                    assert send("GET", path, params={parameter["name"]: text}) < 500, (path, parameter["name"], text)


def test_no_body_makes_the_hub_stumble(api, send):
    document = api.app.openapi()
    schemas = document["components"]["schemas"]
    tried = 0
    for path, methods in document["paths"].items():
        for method in {"post", "put"} & set(methods):
            content = methods[method].get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            named = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
            address = path.replace("{", "").replace("}", "").replace("_id", "")
            for text in NASTY:
                tried += 1
                body = dict.fromkeys(named.get("properties", {}), text)
                assert send(method.upper(), address, json=body) < 500, (method, path, text)
    assert tried > 100


@pytest.mark.parametrize("body", ["[]", "null", "1", '"x"', "[" * 100_000, '{"a":' * 50_000, "NaN", '{"role": 1e999}'])
def test_no_json_makes_the_hub_stumble(api, send, body):
    for row in routes(api):
        if row.method in {"POST", "PUT"} and "{" not in row.path:
            status = send(row.method, row.path, content=body, headers={"Content-Type": "application/json"})
            assert status < 500, (row, body[:20])
