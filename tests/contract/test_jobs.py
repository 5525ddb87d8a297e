"""Is every job file taken whole or refused with a sentence?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.contract.jobs import JobFile, JobFileError, json_schema, read_job, read_walltime

GOOD = {
    "name": "legal-lm",
    "project": "legal-llm",
    "script": "#!/bin/sh\ntrue\n",
    "gpus_per_node": 2,
    "gpu_class": "H100",
    "walltime": "00:10:00",
}


def faults(**changes):
    with pytest.raises(JobFileError) as caught:
        read_job({key: value for key, value in (GOOD | changes).items() if value is not ...})
    return dict(caught.value.faults)


def test_the_least_job_file_is_taken():
    job = read_job(GOOD)
    assert (job.gpus, job.walltime, job.gpu_class) == (2, 10, ("H100",))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        (90, 90),
        ("90", 90),
        ("90m", 90),
        ("2h", 120),
        ("1d", 1440),
        ("01:30:00", 90),
        ("00:00:01", 1),
        ("2-03:00", 3060),
    ],
)
def test_a_wall_time_is_whole_minutes_rounded_up(text, minutes):
    assert read_walltime(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5h", True, None, 3.0, "1-25:00", "00:60"])
def test_other_wall_times_are_told_how_to_write_one(text):
    with pytest.raises(ValueError, match=r"wall time|more than 23"):
        read_walltime(text)


@pytest.mark.parametrize("value", [0, "400d", "00:00:00"])
def test_a_wall_time_of_nothing_or_of_400_days_is_refused(value):
    assert "between 1 minute and 31 days" in faults(walltime=value)["walltime"]


def test_an_unknown_key_is_told_the_nearest_known_one():
    found = faults(gpus_per_nod=2)
    assert found["gpus_per_nod"] == "is no key of a job file; did you mean gpus_per_node?"


def test_every_fault_is_told_at_once():
    assert set(faults(walltime=0, project="Not A Slug", nodes=0, wallclock=1)) == {
        "walltime",
        "project",
        "nodes",
        "wallclock",
    }


@pytest.mark.parametrize("key", ["array", "dependencies", "depends_on", "container"])
def test_what_comes_later_is_refused_with_a_sentence(key):
    assert "not taken yet" in faults(**{key: "x"})[key]


@pytest.mark.parametrize("launcher", ["ray", "torchrun"])
def test_launchers_that_come_later_are_refused_with_a_sentence(launcher):
    assert "not taken yet" in faults(launcher=launcher)["launcher"]


@pytest.mark.parametrize(
    "name", ["a\nb", "a\0b", "$(reboot)", "a;b", "`id`", "-rf", "a|b", "a,b", "", "x" * 64, "a\x1b[0m"]
)
def test_names_that_a_shell_or_a_table_could_read_are_refused(name):
    assert "name" in faults(name=name)


def test_names_may_be_german():
    assert read_job(GOOD | {"name": "Übersetzer für Öffentliches 2.0"}).name.startswith("Ü")


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "PATH", "SLURM_JOB_ID", "CESAI_X", "a-b", "A=B", "", "BASH_ENV"])
def test_variables_that_belong_to_the_site_are_refused(variable):
    assert "environment" in faults(environment={variable: "1"})


def test_values_with_commas_and_newlines_are_only_values():
    assert read_job(GOOD | {"environment": {"A": "1,LD_X=/evil.so\nB=2"}}).environment["A"].startswith("1,")


@pytest.mark.parametrize("folder", ["/etc", "../x", "a/../../b", "a//b", "", "a\nb"])
def test_checkpoints_stay_below_the_jobs_folder(folder):
    assert "checkpoint" in faults(checkpoint=folder)


def test_a_job_has_one_program():
    assert "either a script or an entrypoint" in faults(entrypoint="true")[""]
    assert "either a script or an entrypoint" in faults(script=...)[""]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_comes_is_taken_or_refused_never_a_crash(content):
    with pytest.raises(JobFileError):
        read_job(content)


@given(
    st.sampled_from(sorted(JobFile.model_fields)),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
)
def test_any_value_of_any_key_is_taken_or_refused(key, value):
    try:
        read_job(GOOD | {key: value})
    except JobFileError as error:
        assert error.faults  # noqa: PT017  both ways are right, a third is not


def test_the_schema_names_every_key_and_forbids_others():
    schema = json_schema()
    assert set(schema["properties"]) == set(JobFile.model_fields)
    assert schema["additionalProperties"] is False
    json.dumps(schema)
