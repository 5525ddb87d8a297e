"""Does the demonstration's job learn, go on where it was, and share its work?"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from cesai.demo.train import checkpoints
from cesai.demo.train.__main__ import Wish, read_wish, train
from cesai.demo.train.model import Corpus, Model, NothingToRead
from cesai.demo.train.ranks import Ranks

TEXT = "# Compute\n\nA group spends its award; every GPU-second is accounted for.\n" * 20


@pytest.fixture
def wish(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "text.md").write_text(TEXT)
    return Wish(corpus=tmp_path / "docs", folder=tmp_path / "checkpoints", steps=60, batch=64, say_every=10)


def losses(said):
    return [float(line.split()[3]) for line in said.splitlines() if line.startswith("step ")]


def in_ranks(size, wish):
    def one(rank):
        step = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": str(size), "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
        ranks = Ranks.join(step, wish.folder)
        try:
            return train(wish, ranks)
        finally:
            ranks.leave()

    wish.folder.mkdir(exist_ok=True)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def test_the_loss_falls(wish, capsys):
    train(wish, Ranks())
    seen = losses(capsys.readouterr().out)
    assert len(seen) == 6
    assert seen[-1] < seen[0] - 1


def test_the_gradient_is_the_slope_of_the_loss(wish):
    corpus = Corpus.read(wish.corpus)
    model = Model.fresh(corpus.symbols, seed=3)
    batch = corpus.batch(seed=3, step=0, size=16)
    _, gradient = model.gradient(*batch, of=16)
    for place in np.random.default_rng(0).choice(len(gradient), 40, replace=False):
        nudge = np.zeros_like(gradient)
        nudge[place] = 1e-5
        up, down = (replace(model, parameters=model.parameters + sign * nudge) for sign in (1, -1))
        slope = (up.gradient(*batch, of=16)[0] - down.gradient(*batch, of=16)[0]) / 2e-5
        assert slope == pytest.approx(gradient[place], abs=1e-7)


def test_a_resumed_training_equals_one_that_was_never_interrupted(wish, tmp_path, capsys):
    whole = train(wish, Ranks())
    half = replace(wish, folder=tmp_path / "first", steps=30)
    train(half, Ranks())
    rest = train(replace(wish, folder=tmp_path / "second", resume=half.folder), Ranks())
    assert "resumed at step 30" in capsys.readouterr().out
    assert rest.step == whole.step == 60
    assert np.array_equal(rest.parameters, whole.parameters)


def test_its_own_checkpoint_is_newer_than_the_one_it_resumed_from(wish, tmp_path):
    train(replace(wish, folder=tmp_path / "old", steps=10), Ranks())
    train(replace(wish, resume=tmp_path / "old", steps=20), Ranks())
    assert checkpoints.newest(wish.folder, tmp_path / "old") == wish.folder / "step-00000020.npz"


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_together_learn_what_one_learns_alone(wish, tmp_path, size):
    alone = train(replace(wish, folder=tmp_path / "alone"), Ranks())
    together = in_ranks(size, wish)
    for model in together:
        assert model.step == alone.step
        assert np.allclose(model.parameters, alone.parameters, rtol=0, atol=1e-9)
        assert np.array_equal(model.parameters, together[0].parameters)


def test_ranks_go_on_from_what_rank_0_has(wish, tmp_path):
    half = replace(wish, folder=tmp_path / "half", steps=30)
    train(half, Ranks())
    resumed = in_ranks(2, replace(wish, resume=half.folder))
    whole = train(replace(wish, folder=tmp_path / "whole"), Ranks())
    assert np.allclose(resumed[1].parameters, whole.parameters, rtol=0, atol=1e-9)


def test_a_torn_checkpoint_is_passed_over(wish):
    train(wish, Ranks())
    (wish.folder / "step-00009999.npz").write_bytes(b"PK torn")
    assert checkpoints.newest(wish.folder) == wish.folder / "step-00000060.npz"


def test_only_the_last_checkpoints_are_kept(wish):
    train(replace(wish, save_every=10), Ranks())
    assert [path.name for path in sorted(wish.folder.glob("*"))] == ["step-00000050.npz", "step-00000060.npz"]


def test_time_that_is_up_ends_the_training_with_a_checkpoint(wish):
    model = train(replace(wish, steps=10**9, seconds=0.2), Ranks())
    assert 0 < model.step < 10**9
    assert checkpoints.newest(wish.folder) == wish.folder / f"step-{model.step:08}.npz"


def test_the_site_says_where_checkpoints_are(tmp_path):
    words = ["--corpus", str(tmp_path), "--steps", "5"]
    wish = read_wish(words, {"CESAI_CHECKPOINT_DIR": "/here", "CESAI_RESUME_FROM": "/there"})
    assert (str(wish.folder), str(wish.resume), wish.steps) == ("/here", "/there", 5)
    assert read_wish(words, {}).resume is None


def test_without_text_it_says_so(tmp_path):
    with pytest.raises(NothingToRead, match="no Markdown"):
        Corpus.read(tmp_path)
    line = [sys.executable, "-m", "cesai.demo.train", "--corpus", tmp_path]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 1
    assert done.stderr.startswith("there is no Markdown")


def test_the_program_needs_nothing_of_the_hub():
    code = "import sys, cesai.demo.train.__main__; print([m for m in sys.modules if m.startswith('cesai.')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cesai.hub" not in said
    assert "cesai.db" not in said


@pytest.mark.slurm
def test_two_nodes_train_together_by_srun(juelich, demo_runtime):
    docs = juelich.account.folder(juelich.work / "docs")
    juelich.account.file(docs / "text.md", TEXT)
    script = (
        f"export CESAI_CHECKPOINT_DIR=$PWD/ckpt OPENBLAS_NUM_THREADS=1\nsrun {demo_runtime.python} -m cesai.demo.train"
    )
    line = ["sbatch", "--wait", "-Alegal-llm", "-N2", "--ntasks-per-node=1", "--gres=gpu:h100:4", "-otrain.out"]
    juelich.run(line, given=f"#!/bin/sh\n{script} --corpus {docs} --steps 60\n")
    said = (juelich.work / "train.out").read_text()
    assert said.startswith("2 ranks, rank 0 on juelich-n1 with GPUs 0,1,2,3;")
    assert losses(said)[-1] < losses(said)[0] - 1
    assert (juelich.work / "ckpt" / "step-00000060.npz").exists()
