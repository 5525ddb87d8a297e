"""Are the pages of the reference what the code says?"""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_says_what_the_code_says(generator):
    old = [name for name in generator.PAGES if (FOLDER / "reference" / name).read_text() != generator.text(name)]
    assert old == [], "run: python docs/generate.py"


def test_every_command_route_and_setting_stands_in_its_page(generator):
    assert "cesai job submit" in generator.text("cli.md")
    assert "cesai serve" in generator.text("cli.md")
    assert "### POST /api/v1/jobs\n" in generator.text("api.md")
    assert "CESAI_DATABASE_URL" in generator.text("settings.md")
    assert "| POST | `/api/v1/jobs` |" in generator.text("access.md")
    assert "| `gpus_per_node` | integer | yes |" in generator.text("job-file.md")
