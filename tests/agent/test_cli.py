"""Does `cesai-agent` say clearly what is wrong, keep its key to itself, and end with the right code?"""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from cesai.agent import cli, identity
from cesai.agent.cli import Exit
from cesai.agent.config import ConfigWrong, load_config, read_config, template
from cesai.agent.journal import Journal
from cesai.contract.connector import Finding
from tests.agent.fake_site import FakeSite
from tests.agent.stub_hub import AUDIENCE, TOKEN, Problem, StubHub, an_hour_ahead, serving

SMALLEST = {"hub": "https://hub.test", "state": "state", "connector": {"name": "slurm"}}


class ExaminedSite(FakeSite):
    """A site that can say what is missing."""

    findings: tuple[Finding, ...] = ()

    def examine(self) -> tuple[Finding, ...]:
        """What the test put there."""
        return self.findings


@pytest.fixture
def hub() -> StubHub:
    return StubHub()


@pytest.fixture
def url(hub: StubHub) -> Iterator[str]:
    with serving(hub) as address:
        yield address


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> ExaminedSite:
    site = ExaminedSite()
    for place in ("cesai.agent.cli.load", "cesai.agent.doctor.load"):
        monkeypatch.setattr(place, lambda _name, _settings: site)
    return site


def enroll(url: str, folder: Path, token: str = TOKEN) -> int:
    state, config = str(folder / "state"), str(folder / "agent.toml")
    return cli.main(["enroll", "--hub", url, "--token", token, "--state", state, "--config", config])


def doctor(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, object]]]:
    code = cli.main(["doctor", "--config", str(folder / "agent.toml"), "--json"])
    out = capsys.readouterr().out
    return code, {finding["name"]: finding for finding in json.loads(out[out.index("[") :])}


def test_enrolment_makes_a_key_that_stays_here_and_an_identity(url: str, hub: StubHub, tmp_path: Path) -> None:
    assert enroll(url, tmp_path) == Exit.OK
    signer = identity.load(tmp_path / "state")
    assert (signer.identity.site_id, signer.identity.audience) == ("fake", AUDIENCE)
    assert hub.public_key is not None
    token = jwt.decode(signer.token(datetime.now(UTC)), ECKey.import_key(hub.public_key))
    assert token.header["kid"] == "agent-1"
    for name in ("key.json", "identity.json", "journal.sqlite"):
        assert stat.S_IMODE((tmp_path / "state" / name).stat().st_mode) == 0o600


def test_each_token_lives_for_minutes_and_is_another_one(url: str, tmp_path: Path) -> None:
    enroll(url, tmp_path)
    signer = identity.load(tmp_path / "state")
    now = datetime.now(UTC)
    claims = [jwt.decode(signer.token(now), signer.key).claims for _ in range(2)]
    assert claims[0]["exp"] - claims[0]["iat"] <= 300
    assert claims[0]["jti"] != claims[1]["jti"]


def test_a_used_token_is_refused_with_the_hubs_sentence_and_changes_nothing(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enroll(url, tmp_path)
    before = (tmp_path / "state" / "key.json").read_bytes()
    assert enroll(url, tmp_path) == Exit.REFUSED
    assert "ask for a new one" in capsys.readouterr().err
    assert (tmp_path / "state" / "key.json").read_bytes() == before


def test_a_new_enrolment_keeps_the_journal_and_its_instance(url: str, hub: StubHub, tmp_path: Path) -> None:
    enroll(url, tmp_path)
    first = hub.instance_id
    hub.public_key = None
    enroll(url, tmp_path)
    assert hub.instance_id == first


def test_the_token_is_also_read_from_stdin(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.readline", lambda: TOKEN + "\n")
    assert enroll(url, tmp_path, "-") == Exit.OK


def test_an_unreachable_hub_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enroll("http://127.0.0.1:9", tmp_path) == Exit.UNREACHABLE
    assert "not reached" in capsys.readouterr().err
    assert not (tmp_path / "state" / "key.json").exists()


def test_the_written_template_is_a_valid_configuration(tmp_path: Path) -> None:
    text = template(hub="https://hub.test", state=Path("/var/lib/agent"))
    assert read_config(tomllib.loads(text)).connector_name == "slurm"
    every = "\n".join(line.removeprefix("# ") if " = " in line else line for line in text.splitlines())
    config = read_config(tomllib.loads(every))
    assert config.limits.accounts == ("proj1", "proj2")
    assert (tmp_path / "x").parent.exists()


def test_an_existing_configuration_is_left_alone(url: str, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("# mine\n")
    enroll(url, tmp_path)
    assert (tmp_path / "agent.toml").read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"hubb": "x"}, "hubb is no key; did you mean hub?"),
        ({"limits": {"acounts": []}}, "limits.acounts is no key; did you mean accounts?"),
        ({"pace": {"poll_second": 3}}, "pace.poll_second is no key; did you mean poll_seconds?"),
        ({"pace": {"poll_seconds": 0}}, "pace.poll_seconds: input should be greater than or equal to 0.05"),
        ({"hub": "hub.test"}, "hub: input should be a valid URL"),
        ({"connector": {}}, "connector.name is missing"),
        ({"logs": {"zzz": 1}}, "logs.zzz is no key; known are"),
    ],
)
def test_a_wrong_configuration_is_told_with_the_nearest_key(content: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigWrong) as wrong:
        read_config({**SMALLEST, **content})
    assert sentence in str(wrong.value)


def test_a_missing_state_is_named() -> None:
    with pytest.raises(ConfigWrong, match="state is missing"):
        read_config({"hub": "https://hub.test", "connector": {"name": "slurm"}})


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('hub = "https://hub.test/"\nstate = "mine"\n[connector]\nname = "slurm"\n')
    config = load_config(tmp_path / "agent.toml")
    assert config.state == tmp_path / "mine"
    assert config.hub_url == "https://hub.test"


@pytest.mark.parametrize("text", ["hub = ", "\x00", "hub = 'https://hub.test'"])
def test_an_unreadable_configuration_ends_the_program_with_2(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text(text)
    assert cli.main(["run", "--config", str(tmp_path / "agent.toml")]) == Exit.WRONG
    assert "agent.toml" in capsys.readouterr().err


def test_running_without_identity_says_how_to_enrol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], site: ExaminedSite
) -> None:
    (tmp_path / "agent.toml").write_text('hub = "https://hub.test"\nstate = "s"\n[connector]\nname = "slurm"\n')
    assert cli.main(["run", "--config", str(tmp_path / "agent.toml")]) == Exit.WRONG
    assert "cesai-agent enroll" in capsys.readouterr().err
    assert not site.world.jobs


def test_a_second_agent_on_the_same_folder_ends_with_5(url: str, tmp_path: Path, site: ExaminedSite) -> None:
    enroll(url, tmp_path)
    journal = Journal(tmp_path / "state")
    assert cli.main(["run", "--config", str(tmp_path / "agent.toml")]) == Exit.BUSY
    assert not site.world.jobs
    journal.close()


@pytest.mark.usefixtures("site")
def test_a_refused_agent_ends_with_3_and_the_hubs_sentence(
    url: str, hub: StubHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enroll(url, tmp_path)
    hub.fail = Problem(401, "urn:cesai:not-signed-in", "This agent was replaced by another.")
    assert cli.main(["run", "--config", str(tmp_path / "agent.toml")]) == Exit.REFUSED
    assert "replaced by another" in capsys.readouterr().err


def test_an_unknown_connector_names_those_that_are_installed(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enroll(url, tmp_path)
    path = tmp_path / "agent.toml"
    path.write_text(path.read_text().replace('"slurm"', '"pbs"'))
    assert cli.main(["run", "--config", str(path)]) == Exit.WRONG
    assert "no connector 'pbs' is installed" in capsys.readouterr().err


@pytest.mark.usefixtures("site")
def test_doctor_is_content_with_a_healthy_agent(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enroll(url, tmp_path)
    code, findings = doctor(tmp_path, capsys)
    assert code == Exit.OK
    assert list(findings) == ["identity", "files", "journal", "hub", "clock", "connector"]
    assert all(finding["is_ok"] for finding in findings.values())


def test_doctor_tells_what_to_mend(
    url: str, hub: StubHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], site: ExaminedSite
) -> None:
    enroll(url, tmp_path)
    (tmp_path / "state" / "key.json").chmod(0o644)
    hub.clock = an_hour_ahead
    site.findings = (
        Finding("scheduler", is_ok=False, text="slurmctld is silent", mend="start it"),
        Finding("quota", is_ok=None, text="needs operator level"),
    )
    code, findings = doctor(tmp_path, capsys)
    assert code == Exit.UNWELL
    assert {name for name, finding in findings.items() if finding["is_ok"] is False} == {"files", "clock", "scheduler"}
    assert " s off the hub" in str(findings["clock"]["text"])
    assert all(finding["mend"] for finding in findings.values() if finding["is_ok"] is False)
    cli.main(["doctor", "--config", str(tmp_path / "agent.toml")])
    out = capsys.readouterr().out
    assert "MEND    scheduler: slurmctld is silent\n        -> start it" in out
    assert "skipped quota: needs operator level" in out


@pytest.mark.usefixtures("site")
def test_doctor_sees_an_agent_that_was_never_enrolled_and_a_hub_that_is_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text('hub = "http://127.0.0.1:9"\nstate = "s"\n[connector]\nname = "slurm"\n')
    code, findings = doctor(tmp_path, capsys)
    assert code == Exit.UNWELL
    assert not findings["identity"]["is_ok"]
    assert not findings["hub"]["is_ok"]
    assert findings["journal"]["is_ok"]


def test_help_names_the_three_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("enroll", "run", "doctor"))


def test_no_secret_is_logged(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    enroll(url, tmp_path)
    key = json.loads((tmp_path / "state" / "key.json").read_text())
    assert TOKEN not in caplog.text
    assert key["d"] not in caplog.text


def test_a_token_is_not_valid_for_long() -> None:
    assert timedelta(minutes=5) >= identity.TOKEN_LIVES
