"""Is a job file read whole, and every fault told at once?"""

import io
import json

import pytest

from cesai.client.exits import BadInput
from cesai.client.jobfile import TEMPLATE, read_job_file
from cesai.client.texts import Texts

GOOD = "name: a\nproject: legal-llm\ngpus_per_node: 1\ngpu_class: H100\nwalltime: 10m\nscript: 'true'\n"


@pytest.fixture
def read(tmp_path):
    def read(text, name="job.yaml", **more):
        file = tmp_path / name
        file.write_text(text)
        return read_job_file(str(file), Texts(), **more)

    return read


@pytest.fixture
def refusal(read, tmp_path):
    def refusal(text, **more):
        with pytest.raises(BadInput) as caught:
            read(text, **more)
        return caught.value.sentence.replace(str(tmp_path), "DIR")

    return refusal


def test_the_template_is_a_good_job_file(read):
    assert read(TEMPLATE).walltime == 30


@pytest.mark.parametrize(
    ("written", "minutes"), [("10:00:00", 600), ("00:10:00", 10), ("1:30", 90), ("090", 90), ("2-00:00", 2880)]
)
def test_a_wall_time_is_never_taken_for_a_number_in_base_sixty(read, written, minutes):
    assert read(GOOD.replace("10m", written)).walltime == minutes


def test_json_is_taken_as_well(read):
    content = {
        "name": "a",
        "project": "p1",
        "gpus_per_node": 1,
        "gpu_class": ["H100"],
        "walltime": 1,
        "entrypoint": "x",
    }
    assert read(json.dumps(content, indent="\t"), name="job.json").entrypoint == "x"


def test_standard_input_is_taken_as_well(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(GOOD))
    assert read_job_file("-", Texts()).name == "a"


def test_the_script_beside_the_file_is_taken_in(read, tmp_path):
    (tmp_path / "train.sh").write_text("#!/bin/sh\necho ü\n")
    job = read(GOOD.replace("script: 'true'", "script_file: train.sh"))
    assert job.script == "#!/bin/sh\necho ü\n"


def test_every_fault_is_told_at_once_with_file_and_key(refusal):
    said = refusal(
        "name: a\nproject: P\ngpu_per_node: 1\ngpu_class: H100\nwalltime: 400d\nscript_file: no.sh\narray: 3\n"
    )
    assert said.splitlines() == [
        "DIR/job.yaml cannot be taken:",
        "  script_file: DIR/no.sh cannot be read: No such file or directory",
        "  gpu_per_node: is no key of a job file; did you mean gpus_per_node?",
        "  array: Job arrays are not taken yet: submit one job per task.",
        "  project: a project's name has lower-case letters, digits and hyphens only",
        "  gpus_per_node: is missing",
        "  walltime: must be between 1 minute and 31 days, is 576000 minutes",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (GOOD + "name: b\n", "line 7, column 1: the key 'name' stands there twice"),
        (GOOD + "  x: [\n", "line"),
        ('{"name": "a", "name": "b"}', "the key 'name' stands there twice"),
        ("[" * 5000, "neither YAML nor JSON"),
        ("- 1\n", "a job file is a table of keys and values"),
        ("", "a job file is a table of keys and values"),
        (GOOD + "script_file: x.sh\n", "give either script or script_file"),
        (GOOD.replace("script: 'true'", "script_file: 3"), "write the path of a file"),
        (GOOD.replace("script: 'true'", 'script_file: "a\\0b"'), "script_file: "),
        (GOOD + "environment: {A: yes please, B: !!python/object:os.x {}}\n", "neither YAML nor JSON"),
        (GOOD.replace("name: a", "name: 2026-11-24x\nwalltime2: 1"), "did you mean walltime?"),
        (GOOD + "? [1, 2]\n: 3\n", "neither YAML nor JSON"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(refusal, change, said):
    assert said in refusal(change)


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "$(rm x)", "a;b", "\x1b[31m", ""])
def test_a_name_that_a_shell_or_terminal_could_take_is_refused(refusal, name):
    assert "  name: " in refusal(GOOD.replace("name: a", "name: " + json.dumps(name)))


def test_a_file_that_is_not_there_or_no_text_says_so(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, said in (("none.yaml", "No such file"), ("binary", "no UTF-8"), (".", "Is a directory")):
        with pytest.raises(BadInput, match=said):
            read_job_file(str(tmp_path / name), Texts())


def test_the_job_to_resume_may_be_named_on_the_command_line(read):
    earlier = "019aa0f0-0000-7000-8000-000000000001"
    assert str(read(GOOD, resume=earlier).resume) == earlier
