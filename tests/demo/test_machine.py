"""Is a machine on which the demonstration was tried as it was before?"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cesai.demo import accounts, local_users, machine, runtime
from cesai.demo.clean import clean

POLICY = "#!/bin/sh\nexit 104\n"


@pytest.fixture
def etc(tmp_path, monkeypatch):
    """A machine's folders, and an apt that enables what it installs, as Debian's does."""
    units = tmp_path / "systemd" / "system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    monkeypatch.setattr(machine, "ETC", tmp_path)
    monkeypatch.setattr(machine, "UNITS", units)
    monkeypatch.setattr(machine, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(machine, "POLICY_ASIDE", tmp_path / "policy-rc.d.before-cesai")
    monkeypatch.setattr(machine, "INSTALLED", tmp_path / "installed" / "apt-installed")
    monkeypatch.setattr(machine, "may_install", lambda: True)
    present = [{"git"}, {"git", "munge", "libmunge2"}]
    monkeypatch.setattr(machine, "_present", lambda: present.pop(0))
    return tmp_path


def links(folder):
    return {path.name for path in folder.rglob("*") if path.is_symlink()}


def test_what_apt_enables_is_disabled_again_and_what_was_enabled_stays(etc, monkeypatch):
    wants = machine.UNITS / "multi-user.target.wants"
    (wants / "mariadb.service").symlink_to("/lib/systemd/system/mariadb.service")
    (wants / "cron.service").symlink_to("/lib/systemd/system/cron.service")
    policies = []

    def apt(*_words):
        policies.append(machine.POLICY.read_text())
        for name in ("munge", "getty@tty1"):
            link = wants / f"{name}.service"
            if not link.is_symlink():
                link.symlink_to(f"/lib/systemd/system/{name}.service")

    monkeypatch.setattr(machine, "_apt", apt)
    assert machine.install(("munge",)) == ("libmunge2", "munge")
    assert links(etc) == {"mariadb.service", "cron.service", "getty@tty1.service"}
    assert set(policies) == {machine.START_NOTHING}
    assert not machine.POLICY.exists()
    assert machine.INSTALLED.read_text().split() == ["libmunge2", "munge"]


@pytest.mark.usefixtures("etc")
def test_a_policy_that_was_there_comes_back_even_when_apt_fails(monkeypatch):
    machine.POLICY.write_text(POLICY)
    machine.POLICY.chmod(0o750)

    def apt(*_words):
        msg = "no such package"
        raise machine.CannotInstall(msg)

    monkeypatch.setattr(machine, "_apt", apt)
    with pytest.raises(machine.CannotInstall):
        machine.install(("munge",))
    assert machine.POLICY.read_text() == POLICY
    assert stat.S_IMODE(machine.POLICY.stat().st_mode) == 0o750
    assert not machine.POLICY_ASIDE.exists()


def test_without_root_it_names_the_command(monkeypatch):
    monkeypatch.setattr(machine, "may_install", lambda: False)
    with pytest.raises(machine.CannotInstall, match="apt-get install munge sudo"):
        machine.install(("munge", "sudo"))


def test_when_all_is_there_nothing_is_asked_of_apt(monkeypatch):
    monkeypatch.setattr(machine, "may_install", lambda: False)
    assert machine.install(()) == ()


def snapshot():
    """Accounts, groups, rules, modes on the way to the checkout, and what lies in the shared folders."""
    modes = {str(path): path.stat().st_mode for path in (Path("/root"), Path("/var/lib"), Path("/tmp"), Path("/etc"))}  # noqa: S108  only looked at
    lists = [Path(name).read_text() for name in ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")]
    return (
        modes,
        lists,
        sorted(machine.ETC.glob("sudoers.d/*")),
        sorted(path for path in Path("/var/lib").glob("cesai-demo/*") if path.is_dir()),
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's demonstration makes accounts")
def test_clean_leaves_accounts_modes_and_folders_as_before(tmp_path):
    before = snapshot()
    checkout = tmp_path / "checkout"
    checkout.mkdir(mode=0o700)
    who = runtime.account(checkout)
    local_users.make(runtime.digest(checkout))
    state = who.folder(runtime.LIBRARY / runtime.digest(checkout) / "state")
    (checkout / ".cesai").symlink_to(state)
    assert snapshot() != before
    clean(checkout)
    assert snapshot() == before
    assert not (checkout / ".cesai").is_symlink()
    assert not accounts.exists(who.name)


def test_clean_refuses_while_the_demonstration_runs(tmp_path):
    state = tmp_path / ".cesai"
    state.mkdir()
    with runtime.alone(state), pytest.raises(runtime.RuntimeTrouble, match="Ctrl-C first"):
        clean(tmp_path)
    assert state.exists()


def test_the_account_s_name_is_short_enough_and_one_per_checkout(tmp_path):
    one, two = (runtime.account_name(tmp_path / name) for name in ("one", "two"))
    assert one != two
    assert len(one) <= 31


def test_files_are_never_open_more_widely_than_wished(tmp_path):
    me = accounts.current()
    secret = me.file(tmp_path / "secret", "x", mode=0o400)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o400
    assert me.file(tmp_path / "secret", "y", mode=0o400).read_text() == "y"
