"""Are names unique, ordered and safe to hand to a scheduler?"""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from cesai.kernel.ids import MARKER, marker, new_id, read_marker


def test_later_ids_sort_later_across_milliseconds():
    ids = [new_id() for _ in range(2000)]
    stamps = [made.int >> 80 for made in ids]
    assert stamps == sorted(stamps)
    assert len(set(ids)) == len(ids)
    assert {made.version for made in ids} == {7}


@given(st.uuids(), st.integers(1, 99_999))
def test_a_marker_names_its_job_and_attempt_and_is_safe(job, number):
    text = marker(job, number)
    assert read_marker(text) == (job, number)
    assert MARKER.fullmatch(text)


def test_a_strangers_name_is_no_marker():
    for text in ("", "job", marker(uuid4(), 1).upper(), marker(uuid4(), 1) + "\n", uuid4().hex + "-a0"):
        assert read_marker(text) is None
