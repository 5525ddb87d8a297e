"""Does the keeper end all that it started, and nothing else?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from cesai.demo import accounts, processes
from cesai.demo.processes import Command, Keeper, NotReady

SLEEP = ["sleep", "600"]


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "logs")
    yield keeper
    keeper.stop_all()


@pytest.fixture
def command(tmp_path):
    def make(*line, is_ready=lambda: True, patience=5.0):
        return Command(line, {"PATH": os.environ["PATH"]}, accounts.current(), tmp_path, is_ready, patience=patience)

    return make


def test_it_waits_until_a_process_is_ready(keeper, command, tmp_path):
    line = ["sh", "-c", "sleep 0.2; touch ready; sleep 600"]
    keeper.start("one", command(*line, is_ready=(tmp_path / "ready").exists))
    assert (tmp_path / "ready").exists()
    assert keeper.is_running("one")


def test_a_process_that_ends_too_soon_is_told_with_its_last_words(keeper, command):
    with pytest.raises(NotReady, match=r"one ended with 3; .*\nno such key"):
        keeper.start("one", command("sh", "-c", "echo no such key; exit 3", is_ready=lambda: False))
    assert keeper.names() == ()


def test_a_process_that_never_gets_ready_is_ended(keeper, command):
    with pytest.raises(NotReady, match="was not ready after 0 s"):
        keeper.start("one", command(*SLEEP, is_ready=lambda: False, patience=0.3))
    assert keeper.names() == ()


def test_stop_ends_the_whole_group_even_what_will_not_hear(keeper, command, tmp_path):
    line = ["sh", "-c", "trap '' TERM; sleep 600 & echo $! >note; mv note child; sleep 600"]
    pid = keeper.start("deaf", command(*line, is_ready=(tmp_path / "child").exists))
    child = int((tmp_path / "child").read_text())
    keeper.stop("deaf", patience=0.2)
    deadline = time.monotonic() + 5
    while processes.is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes.is_alive(pid)
    assert not processes.is_alive(child)


def test_a_frozen_process_can_be_stopped(keeper, command):
    pid = keeper.start("one", command(*SLEEP))
    keeper.freeze("one")
    keeper.stop("one", patience=2)
    assert not processes.is_alive(pid)


def test_stop_all_goes_in_reverse_order(keeper, command, tmp_path):
    for name in ("first", "second", "third"):
        ready = tmp_path / name
        line = ["sh", "-c", f"trap 'echo {name} >>order; exit' TERM; touch {name}; while :; do sleep 0.05; done"]
        keeper.start(name, command(*line, is_ready=ready.exists))
    keeper.stop_all()
    assert (tmp_path / "order").read_text().split() == ["third", "second", "first"]


def test_a_killed_process_starts_again_with_the_same_words(keeper, command):
    before = keeper.start("one", command(*SLEEP))
    keeper.kill("one")
    assert not keeper.is_running("one")
    assert keeper.restart("one") != before
    assert keeper.is_running("one")


def test_what_a_killed_keeper_left_is_ended_by_the_next(keeper, command, tmp_path):
    left = keeper.start("one", command(*SLEEP))
    again = Keeper(tmp_path / "logs")
    again.start("one", command(*SLEEP))
    assert not processes.is_alive(left)
    again.stop_all()


def test_a_stranger_who_has_the_old_pid_is_left_alone(command, tmp_path):
    with subprocess.Popen(SLEEP) as stranger:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "one.run").write_text(f"{stranger.pid} 1\n")
        again = Keeper(tmp_path / "logs")
        again.start("one", command(*SLEEP))
        again.stop_all()
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGTERM)


def test_memory_is_told_by_name_with_children(keeper, command):
    hungry = "import time; x = bytearray(60_000_000); print('up', flush=True); time.sleep(600)"
    up = keeper.log("hungry")
    line = ["sh", "-c", f"{sys.executable} -c '{hungry.replace(chr(39), chr(34))}' & wait"]
    keeper.start("hungry", command(*line, is_ready=lambda: "up" in up.read_text()))
    assert keeper.rss_mb()["hungry"] > 55
