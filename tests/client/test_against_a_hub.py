"""Does every command do its work at a real hub, and does its exit code tell how that went?"""

import pytest

from cesai.client.api import Hub
from cesai.client.profiles import Profiles
from cesai.client.texts import Texts
from cesai.kernel.periods import Period
from tests.client.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="package")
def olga(shells):
    return shells["olga"]


@pytest.fixture(scope="package")
def country(olga, shells):
    """Two GPU classes, a site and a project, made by their commands."""
    olga.does("class", "add", "H100", "--name", "NVIDIA H100", "--memory-gb", "80")
    olga.does("class", "add", "A100", "--name", "NVIDIA A100", "--memory-gb", "40")
    olga.does("site", "register", "juelich", "--name", "Jülich", "--margin", "3")
    olga.does("member", "grant", "jonas", "site-admin", "--scope", "juelich")
    olga.does("project", "create", "legal-llm", "--title", "Legal texts", "--organisation", "FZJ")
    olga.does("project", "add-member", "legal-llm", "anna", "--role", "pi")
    return shells


def test_everybody_is_told_who_he_is(country):
    assert country["olga"].does("whoami", "--json").json["memberships"] == [{"role": "operator", "scope": None}]
    assert "pi (legal-llm)" in country["anna"].does("whoami").out


def test_lists_are_tables_for_people_and_json_for_programs(country):
    anna = country["anna"]
    assert [each["id"] for each in anna.does("class", "list", "--json").json] == ["A100", "H100"]
    assert "NVIDIA A100" in anna.does("class", "list").out
    assert "80 GB" in anna.does("class", "list").out
    assert anna.does("--json", "site", "show", "juelich").json["margin_minutes"] == 3
    assert "Jülich" in anna.does("site", "list").out
    assert "Legal texts" in anna.does("project", "show", "legal-llm").out
    assert anna.does("project", "members", "legal-llm", "--json").json == [{"username": "anna", "role": "pi"}]


def test_long_tables_are_whole_in_a_pipe(country):
    olga = country["olga"]
    olga.does("project", "create", "long-words", "--title", "word " * 23 + "END", "--organisation", "FZJ")
    assert "END" in olga.does("project", "list").out


def test_a_lead_takes_people_in_and_out(country):
    anna = country["anna"]
    anna.does("project", "add-member", "legal-llm", "robin")
    assert country["robin"].does("project", "show", "legal-llm", "--json").json["id"] == "legal-llm"
    anna.does("project", "remove-member", "legal-llm", "robin")
    assert country["robin"].run("project", "show", "legal-llm").code == 4


def test_an_operator_gives_and_takes_roles(country):
    olga = country["olga"]
    olga.does("member", "grant", "robin", "reviewer")
    assert "reviewer" in olga.does("member", "list", "--username", "robin").out
    olga.does("member", "revoke", "robin", "reviewer")
    assert olga.run("member", "revoke", "robin", "reviewer").code == 2


def test_a_site_admin_enrols_an_agent_and_decides_about_projects(country):
    jonas = country["jonas"]
    heard = jonas.does("site", "enrol", "juelich")
    assert "cesai-agent enroll" in heard.err
    assert len(jonas.does("site", "enrol", "juelich", "--json").json["token"]) >= 16
    jonas.does("site", "accept", "juelich", "legal-llm", "--account", "legal")
    assert jonas.does("site", "projects", "juelich", "--json").json[0]["account"] == "legal"
    jonas.does("site", "refuse", "juelich", "legal-llm", "--reason", "under review")
    assert "under review" in jonas.does("site", "projects", "juelich").out
    jonas.does("site", "accept", "juelich", "legal-llm", "--account", "legal")
    jonas.does("site", "drain", "juelich")
    assert jonas.does("site", "show", "juelich", "--json").json["is_draining"] is True
    jonas.does("site", "drain", "juelich", "--undo")


# Words of a command, who says them, the number it ends with, and what it says.
REFUSALS = [
    ("olga", ["nonsense"], 2, "No such command"),
    ("olga", ["site", "show"], 2, "Missing argument"),
    ("olga", ["site", "register", "Bad Name", "--name", "x"], 2, "id"),
    ("jonas", ["pledge", "make", "juelich", "H100", "2026-Q4", "lots"], 2, "no amount of GPU-hours"),
    ("jonas", ["pledge", "make", "juelich", "H100", "Q4", "5"], 2, "2026-Q4"),
    ("olga", ["award", "make", "legal-llm", "juelich:H100"], 2, "no award line"),
    ("jonas", ["site", "map", "juelich", "gpu"], 2, "no mapping"),
    ("jonas", ["site", "map", "juelich"], 2, "proposes no classes"),
    ("olga", ["class", "add", "H100", "--name", "x", "--memory-gb", "1"], 3, "H100"),
    ("olga", ["project", "create", "legal-llm", "--title", "x", "--organisation", "y"], 3, "legal-llm"),
    ("olga", ["site", "reset-agent", "juelich"], 3, "no agent to reset"),
    ("olga", ["site", "show", "nowhere"], 4, ""),
    ("robin", ["project", "show", "legal-llm"], 4, ""),
    ("robin", ["balance", "legal-llm"], 4, ""),
    ("anna", ["class", "add", "X100", "--name", "x", "--memory-gb", "1"], 5, ""),
    ("anna", ["ledger", "verify"], 5, ""),
]


@pytest.mark.parametrize(
    ("who", "words", "number", "said"), REFUSALS, ids=[" ".join(words) for _, words, *_ in REFUSALS]
)
def test_a_no_is_one_sentence_and_a_number(country, who, words, number, said):
    heard = country[who].run(*words)
    assert (heard.code, heard.out) == (number, "")
    assert said in heard.err
    assert heard.err.strip()
    assert "Traceback" not in heard.err


def test_who_is_not_signed_in_is_told_how_to(hub, tmp_path):
    nobody = Shell(hub, tmp_path, "nobody")
    assert nobody.run("whoami").code == 5
    assert "cesai login" in nobody.run("whoami").err
    heard = nobody.run("whoami", CESAI_HUB=hub, CESAI_TOKEN="wrong")
    assert heard.code == 5
    assert nobody.run("whoami", "--lang", "de").err.startswith("Für das Profil")


def test_a_hub_that_is_not_there_is_said_so(tmp_path):
    heard = Shell("", tmp_path, "nobody").run("whoami", CESAI_HUB="http://127.0.0.1:9", CESAI_TOKEN="x")
    assert heard.code == 6
    assert "http://127.0.0.1:9 is not reached" in heard.err


def test_what_everybody_may_know_needs_no_login(hub, tmp_path):
    nobody = Shell(hub, tmp_path, "nobody")
    assert set(nobody.does("version", "--hub", hub, "--json").json) == {"client", "hub"}
    assert nobody.does("schema", "job").json["title"] == "CESAI job file"


def test_a_login_at_one_hub_is_not_shown_to_another(country):
    heard = country["olga"].run("whoami", "--hub", "https://other.example")
    assert heard.code == 5
    assert "not at https://other.example" in heard.err


def test_profiles_are_listed_and_chosen(country):
    olga = country["olga"]
    heard = olga.sign_in("--profile", "second")
    assert heard.code == 0
    assert "default" in olga.does("profile", "list").out
    olga.does("profile", "use", "second")
    found = {each["name"]: each for each in olga.does("profile", "list", "--json").json}
    assert found["second"] == {
        "name": "second",
        "hub": olga.hub,
        "username": "olga",
        "is_signed_in": True,
        "is_current": True,
    }
    olga.does("logout")
    assert olga.run("whoami").code == 5
    assert olga.run("logout").code == 5
    assert olga.does("whoami", "--profile", "default", "--json").json["username"] == "olga"
    olga.does("profile", "use", "default")
    assert olga.run("profile", "use", "third").code == 2


def test_a_spent_token_is_renewed_without_a_word(country):
    anna = country["anna"]
    profiles = Profiles(anna.folder, Texts())
    kept = profiles.find("default")
    profiles.save(kept.model_copy(update={"tokens": kept.tokens.model_copy(update={"expires_at": 0.0})}))
    assert anna.does("whoami", "--json").json["username"] == "anna"
    assert profiles.find("default").tokens.refresh_token != kept.tokens.refresh_token


def test_a_logout_ends_the_login_at_the_server_too(hub, tmp_path):
    robin = Shell(hub, tmp_path, "robin")
    robin.sign_in()
    profiles = Profiles(tmp_path, Texts())
    kept = profiles.find("default")
    robin.does("logout")
    profiles.save(kept.model_copy(update={"tokens": kept.tokens.model_copy(update={"expires_at": 0.0})}))
    heard = robin.run("whoami")
    assert heard.code == 5
    assert "Sign in again" in heard.err


def test_the_same_key_makes_nothing_new(country, monkeypatch):
    monkeypatch.setenv("CESAI_CONFIG_DIR", str(country["olga"].folder))
    with Hub.signed_in("default") as hub:
        body = {"id": "once", "title": "Once", "organisation": "FZJ"}
        made = [hub.projects.create(body, key="wish-1") for _ in range(2)]
        assert made[0] == made[1]
        assert [each.id for each in hub.projects.list()].count("once") == 1


def test_the_books_are_read_by_who_may(country):
    frieda = country["frieda"]
    assert frieda.does("ledger", "verify", "--json").json["invariants_hold"] is True
    assert "The books are right" in frieda.does("ledger", "verify").err
    frieda.does("ledger", "balances")
    frieda.does("ledger", "entries", "--all")
    assert country["anna"].does("balance", "legal-llm", "--json").json == []
    assert country["anna"].does("award", "list", "legal-llm", "--json").json == []
    period = str(Period(2026, 4))
    heard = country["jonas"].run("pledge", "make", "juelich", "H100", period, "5000")
    assert heard.code == 3
    assert heard.err.strip()
    assert country["jonas"].does("pledge", "list", "juelich", "--json").json == []
