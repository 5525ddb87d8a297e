"""Does the story go on where it can, and tell the truth at its end?"""

import io

from rich.console import Console

from cesai.demo.steps import Programme, StepFailed, StepSkipped


def raises(error):
    def work():
        raise error

    return work


def programme():
    out = io.StringIO()
    return Programme(Console(file=out, width=200)), out


def test_a_step_that_does_not_hold_is_told_and_fails_the_whole():
    story, out = programme()
    assert not story.run("first", raises(StepFailed("expected 1, seen 2")))
    assert not story.all_held
    assert "expected 1, seen 2" in out.getvalue()
    assert story.verdict == "1 of 1 steps did not hold: first."


def test_what_needs_a_skipped_step_is_skipped_for_the_same_reason_told_once():
    story, out = programme()
    story.run("first", raises(StepSkipped("no Slurm here")))
    story.run("second", lambda: None, needs=("first",))
    assert [result.skipped for result in story.results] == ["no Slurm here"] * 2
    assert out.getvalue().count("no Slurm here") == 1
    assert story.all_held
    assert "2 were skipped" in story.verdict


def test_what_needs_a_failed_step_is_not_done():
    story, _ = programme()
    done = []
    story.run("first", raises(StepFailed("no")))
    story.run("second", lambda: done.append(1), needs=("first",))
    assert not done
    assert not story.held("second")


def test_a_step_that_holds_says_what_it_saw():
    story, out = programme()
    assert story.run("first", lambda: "8 GPUs")
    assert "8 GPUs" in out.getvalue()
    assert story.verdict == "Every step held."
