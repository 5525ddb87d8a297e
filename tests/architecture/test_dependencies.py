"""Has every package that a pyproject.toml names its reason on the page of dependencies, and no other?"""

import re
import tomllib
from pathlib import Path

TOP = Path(__file__).parent.parent.parent
PAGE = TOP / "docs" / "dependencies.md"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def names(pyproject: Path) -> set[str]:
    """What a distribution, its extras and its build need, itself left out."""
    content = tomllib.loads(pyproject.read_text())
    project = content["project"]
    wanted = [*project.get("dependencies", ()), *content["build-system"]["requires"]]
    for extra in project.get("optional-dependencies", {}).values():
        wanted += extra
    return {_NAME.match(each)[0].lower().replace("_", "-") for each in wanted} - {project["name"]}


def reasons() -> dict[str, str]:
    rows = [line.strip("| \n").split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert all(len(row) == 3 for row in rows), "three columns"
    return {row[0].strip(): row[2].strip() for row in rows[1:]}


def test_every_package_has_its_reason_and_no_reason_is_without_a_package():
    found = set().union(*(names(file) for file in (TOP / "pyproject.toml", *TOP.glob("connectors/*/pyproject.toml"))))
    assert found == set(reasons())
    assert all(reasons().values())


def test_every_package_of_every_extra_is_locked():
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (TOP / "requirements.lock").read_text(), re.MULTILINE))
    assert names(TOP / "pyproject.toml") <= locked
