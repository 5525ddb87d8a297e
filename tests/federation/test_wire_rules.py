"""Is a snapshot in the wire form read, and anything else refused at its place?"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from cesai.federation.rules import plan
from cesai.federation.rules.wire import Policy, Run, Snapshot, Wait, WireError, parse_now

WIRE: dict[str, Any] = {
    "now": 1000,
    "sites": [
        {"name": "juelich", "gpus": 8, "free": 0, "up": 8, "running": [[8, 5000]], "queued": [["b", 4, 600.5]]},
        {"name": "rwth", "gpus": 4, "free": 4, "up": True, "running": [], "queued": []},
    ],
    "jobs": [
        {
            "id": "a",
            "gpus": 4,
            "walltime_s": 600,
            "submit_s": 900,
            "project": "law",
            "user": "rita",
            "home": "juelich",
            "places": [],
        },
        {
            "id": "b",
            "gpus": 4,
            "walltime_s": 600,
            "submit_s": 950,
            "project": "bio",
            "user": "paul",
            "home": None,
            "places": ["juelich"],
        },
    ],
}


def changed(path: tuple[int | str, ...], value: object) -> dict[str, Any]:
    """The wire form with one value replaced, or left out when it is `...`."""
    told: Any = copy.deepcopy(WIRE)
    inner = told
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return told  # type: ignore[no-any-return]  # the top of it is a table


def test_the_least_wire_form_is_read_and_planned():
    snapshot = Snapshot.parse(WIRE)
    juelich, rwth = snapshot.places
    assert (juelich.running, juelich.queued) == ((Run(8, 5000),), (Wait("b", 4, 600.5),))
    assert (rwth.up, rwth.site_name) == (4, "rwth")
    decided = plan(snapshot, Policy(), parse_now(WIRE)).as_wire()
    assert decided == {
        "actions": [["place", "a", "rwth", "4 GPUs are needed, 4 are free: it starts now"]],
        "waiting": {},
    }


def test_richer_fields_stand_beside_the_least_and_unknown_ones_are_passed_over():
    told = copy.deepcopy(WIRE)
    told["sites"][0] |= {"gpu_type": "H100", "gpus_per_node": 4, "max_walltime_s": 3600, "colour": "blue"}
    told["jobs"][0] |= {"gpu_type": "H100", "allowed_sites": ["juelich"], "flexible_until": 9}
    told["acceptance"] = {"law": {"juelich": True, "rwth": "export rules"}}
    told["budgets"] = [["law", "juelich", "H100", [1000, -5]]]
    snapshot = Snapshot.parse(told)
    assert snapshot.places[0].gpu_class == "H100"
    assert snapshot.jobs[0].gpu_classes == ("H100",)
    assert snapshot.acceptance == {"law": {"juelich": None, "rwth": "export rules"}}
    assert snapshot.budgets == {("law", "juelich", "H100"): (1000, -5)}


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("sites",), ..., "sites: is missing"),
        (("sites",), "juelich", "sites: must be a list"),
        (("sites", 0), 3, "sites[0]: must be a table of names and values"),
        (("sites", 0, "gpus"), ..., "sites[0].gpus: is missing"),
        (("sites", 0, "gpus"), True, "sites[0].gpus: must be a whole number from 0 to 10000000"),
        (("sites", 0, "gpus"), -1, "sites[0].gpus: must be a whole number from 0 to 10000000"),
        (("sites", 0, "name"), "x" * 129, "sites[0].name: must be a text of 128 characters at most"),
        (("sites", 1, "name"), "juelich", "sites: two entries have the name 'juelich'"),
        (("sites", 0, "running", 0), [8], "sites[0].running[0]: must be a list of GPUs, end of the wall time"),
        (("sites", 0, "queued", 0, 2), -1, "sites[0].queued[0][2]: must be a number of seconds, 0 at least"),
        (("sites", 0, "queued", 0, 2), math.nan, "sites[0].queued[0][2]: is no instant that can be meant"),
        (("jobs", 1, "walltime_s"), math.inf, "jobs[1].walltime_s: is no instant that can be meant"),
        (("jobs", 1, "walltime_s"), 10**400, "jobs[1].walltime_s: is no instant that can be meant"),
        (("jobs", 1, "gpus"), 0, "jobs[1].gpus: must be a whole number from 1 to 10000000"),
        (("jobs", 1, "id"), "a", "jobs: two entries have the id 'a'"),
        (("jobs", 1, "places"), "juelich", "jobs[1].places: must be a list"),
        (("jobs", 1, "places", 0), None, "jobs[1].places[0]: must be a text of 128 characters at most"),
        (("jobs", 1, "project"), 7, "jobs[1].project: must be a text of 128 characters at most"),
        (("budgets",), [["law", "juelich", "H100", [0.5]]], "budgets[0][3][0]: must be a whole number of"),
        (("acceptance",), {"law": {"juelich": 1}}, "acceptance.law.juelich: must be a text of 500"),
        (("held",), {3: 4}, "held: must be a table of names and values"),
    ],
)
def test_what_is_not_of_the_wire_form_is_refused_at_its_place(path, value, sentence):
    with pytest.raises(WireError) as refusal:
        Snapshot.parse(changed(path, value))
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize("content", [None, [], "now", {"now": "1"}, {}])
def test_an_instant_is_needed(content):
    with pytest.raises(WireError):
        parse_now(content)
