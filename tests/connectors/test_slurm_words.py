"""Are Slurm's own ways of writing things read right, and a site's settings with clear errors?"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.contract.connector import SiteState, SiteUnavailable
from cesai.contract.loading import installed, load
from cesai_slurm import words
from cesai_slurm.rows import Gpus
from cesai_slurm.settings import read_settings
from cesai_slurm.states import site_state, strongest
from cesai_slurm.tables import new_separator, read_table

GOOD = {"backend": "cli", "cluster": "juelich", "base": "/data/projects"}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("5:00", 5), ("0:30", 1), ("1:30:00", 90), ("1-00:00:00", 1440), ("UNLIMITED", None), ("INVALID", None)],
)
def test_durations(text, minutes):
    assert words.read_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "5", "5:", "1-2", "a:b"])
def test_a_duration_that_is_none_is_no_answer(text):
    with pytest.raises(SiteUnavailable):
        words.read_minutes(text)


def test_times():
    assert words.read_time("2026-10-25T02:30:00") == datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    assert words.read_time("Unknown") is words.read_time("None") is words.read_time("N/A") is None
    assert words.read_epoch(0) is None
    with pytest.raises(SiteUnavailable):
        words.read_time("25.10.2026")
    with pytest.raises(SiteUnavailable):
        words.read_epoch(10**20)


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("cpu=4,node=2,gres/gpu:h100=4,gres/gpu=4", Gpus(4, "h100")),
        ("gres/gpu:h100=4", Gpus(4, "h100")),
        ("gres/gpu=4", Gpus(4, None)),
        ("gres/gpu=6,gres/gpu:h100=4,gres/gpu:a100=2", Gpus(6, None)),
        ("cpu=4,mem=1G", Gpus(0, None)),
        ("", Gpus(0, None)),
    ],
)
def test_gpus_of_a_job(text, gpus):
    assert words.read_tres(text) == gpus


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("gpu:h100:4", (Gpus(4, "h100"),)),
        ("gpu:h100:4(S:0-1)", (Gpus(4, "h100"),)),
        ("gpu:4", (Gpus(4, None),)),
        ("gpu:(null):2(IDX:0,3)", (Gpus(2, None),)),
        ("gpu:h100:2(IDX:0-1),gpu:a100:0(IDX:N/A)", (Gpus(2, "h100"), Gpus(0, "a100"))),
        ("shard:8,gpu:h100:4,tmp:100", (Gpus(4, "h100"),)),
        ("(null)", ()),
        ("", ()),
    ],
)
def test_gpus_of_a_node(text, gpus):
    assert words.read_gres(text) == gpus


@pytest.mark.parametrize(("text", "code"), [("7:0", 7), ("0:9", 137), ("0:0", 0), ("1792", 7), ("9", 137), ("0", 0)])
def test_exit_codes(text, code):
    assert words.read_exit(text) == code


@pytest.mark.parametrize(
    ("text", "tasks"),
    [("12", 1), ("12_3", 1), ("12_[0-3]", 4), ("12_[0-3,7%2]", 5), ("12_[0-8:4]", 3), ("12_[5%2]", 1)],
)
def test_tasks_of_an_array(text, tasks):
    assert words.count_tasks(text) == tasks


@pytest.mark.parametrize(
    ("native", "reason", "state"),
    [
        ("PENDING", "JobHeldUser", SiteState.HELD),
        ("PENDING", "JobHeldAdmin", SiteState.HELD),
        ("PENDING", "launch_failed_requeued_held", SiteState.HELD),
        ("PENDING", "launch failed requeued held", SiteState.HELD),
        ("PENDING", "BadConstraints", SiteState.IMPOSSIBLE),
        ("PENDING", "PartitionTimeLimit", SiteState.IMPOSSIBLE),
        ("PENDING", "AssocMaxWallDurationPerJobLimit", SiteState.IMPOSSIBLE),
        ("PENDING", "QOSMaxGRESPerJob", SiteState.IMPOSSIBLE),
        ("PENDING", "QOSMaxGRESPerUser", SiteState.PENDING),
        ("PENDING", "AssocGrpGRESMinutes", SiteState.PENDING),
        ("PENDING", "PartitionNodeLimit", SiteState.PENDING),
        ("PENDING", "Resources", SiteState.PENDING),
        ("CANCELLED by 1001", "None", SiteState.CANCELLED),
        ("COMPLETING", "None", SiteState.ENDING),
        ("BOOT_FAIL", "None", SiteState.NODE_FAIL),
        ("REQUEUED", "None", SiteState.PENDING),
        ("SOMETHING_NEW", "None", SiteState.UNKNOWN),
    ],
)
def test_states(native, reason, state):
    assert site_state(native, reason) is state


def test_of_several_words_the_one_that_says_most_counts():
    assert strongest(["COMPLETED", "COMPLETING"]) == "COMPLETING"
    assert strongest(["RUNNING", "CONFIGURING"]) == "CONFIGURING"
    assert strongest(["PENDING"]) == "PENDING"
    assert strongest([]) == "UNKNOWN"


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=6))
def test_a_table_is_read_back_whatever_its_cells_hold(rows):
    separator = new_separator()
    text = "".join("".join(f"{cell}{separator}" for cell in row) + "\n" for row in rows)
    assert [tuple(row.values()) for row in read_table(text, separator, ("a", "b", "c"))] == rows


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4), st.data())
def test_a_table_that_is_cut_is_no_answer(rows, data):
    separator = new_separator()
    text = "".join("".join(f"{cell}{separator}" for cell in row) + "\n" for row in rows)
    cut = text[: data.draw(st.integers(1, len(text) - 2))]
    is_between = cut.count(separator) % 2 == 0 and cut.removesuffix("\n").endswith(separator)
    if not is_between:
        with pytest.raises(SiteUnavailable):
            read_table(cut, separator, ("a", "b"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backend": "pigeon"}, "backend: Input should be 'cli' or 'rest'"),
        ({"cluster": None}, "cluster: Input should be a valid string"),
        ({"cluster": "a;b"}, "cluster: is the ClusterName of slurm.conf"),
        ({"base": "work"}, "base: is an absolute path"),
        ({"base": "/data/%j"}, "base: is an absolute path"),
        ({"base": "/data/../etc"}, "base: is an absolute path"),
        ({"base": "/work\n/x"}, "base: is an absolute path"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"timeout_s": 0}, "timeout_s: Input should be greater than 0"),
        ({"backend": "rest"}, "needs a table [connector.rest]"),
        ({"backend": "rest", "rest": {"url": "x", "user": "me", "token_file": "/t"}}, "rest.url: begins with http://"),
        ({"backend": "rest", "rest": {"url": "http://x", "user": "me"}}, "either token_command or token_file"),
        ({"accounts": "sudo"}, 'accounts = "sudo" is not taken yet'),
    ],
)
def test_a_setting_that_is_wrong_is_named(changes, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011  the sentence is looked at below
        read_settings(GOOD | changes)
    assert sentence in str(error.value)


def test_the_connector_is_found_by_its_name():
    assert "slurm" in installed()
    with pytest.raises(ValueError, match="base: Field required"):
        load("slurm", {"backend": "cli", "cluster": "juelich"})
