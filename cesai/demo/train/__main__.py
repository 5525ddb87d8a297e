"""How does one job train, and how does it go on where another ended?

Every rank runs this program; srun tells it which one it is. Batches are shared out evenly, gradients are added up, and
all ranks take the same step. Rank 0 speaks and writes the checkpoints.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cesai.demo.train import checkpoints
from cesai.demo.train.model import Corpus, Model, NothingToRead
from cesai.demo.train.ranks import RankMissing, Ranks

SAMPLE = 120


@dataclass(frozen=True)
class Wish:
    """How to train."""

    corpus: Path
    folder: Path  # of this job's checkpoints
    resume: Path | None = None  # of the job that it resumes
    steps: int = 1_000  # of the whole training, those of earlier jobs included
    seconds: float | None = None
    pause: float = 0.0  # after each step, so that a small machine can carry several jobs
    batch: int = 128
    seed: int = 1
    say_every: int = 20
    save_every: int = 50


def train(wish: Wish, ranks: Ranks) -> Model:
    """Train until the wished step, or until the time is up; the last step is saved.

    Raises:
        NothingToRead: there is no text.
    """
    began = time.monotonic()
    model, corpus = _begin(wish, ranks)
    is_over = model.step >= wish.steps
    while not is_over:
        contexts, following = corpus.batch(seed=wish.seed, step=model.step, size=wish.batch)
        mine = slice(ranks.rank, None, ranks.size)
        loss, gradient = model.gradient(contexts[mine], following[mine], of=wish.batch)
        is_late = ranks.rank == 0 and wish.seconds is not None and time.monotonic() - began > wish.seconds
        whole = ranks.total(np.append(gradient, (loss, is_late)))
        model.learn(whole[:-2])
        is_over = model.step >= wish.steps or bool(whole[-1])
        if ranks.rank == 0:
            _tell(model, wish, float(whole[-2]), time.monotonic() - began, is_over=is_over)
        time.sleep(wish.pause)
    return model


def _begin(wish: Wish, ranks: Ranks) -> tuple[Model, Corpus]:
    path = checkpoints.newest(wish.folder, wish.resume) if ranks.rank == 0 else None
    model = checkpoints.load(path) if path else None
    corpus = Corpus.read(wish.corpus, symbols=model.symbols if model else None)
    model = model or Model.fresh(corpus.symbols, seed=wish.seed)
    if ranks.size > 1:
        model, corpus = _agree(model, corpus, ranks, wish)
    if ranks.rank == 0:
        _greet(model, corpus, ranks, path)
    return model, corpus


def _agree(model: Model, corpus: Corpus, ranks: Ranks, wish: Wish) -> tuple[Model, Corpus]:
    """Every rank goes on from what rank 0 has: a checkpoint that only one of them saw would tear them apart."""
    symbols = "".join(chr(int(code)) for code in ranks.share(np.array([float(ord(one)) for one in model.symbols])))
    step = int(ranks.share(np.array([float(model.step)]))[0])
    parts = [ranks.share(part) for part in (model.parameters, model.first, model.second)]
    if symbols != corpus.symbols:
        corpus = Corpus.read(wish.corpus, symbols=symbols)
    return Model(symbols, step, *parts), corpus


def _greet(model: Model, corpus: Corpus, ranks: Ranks, path: Path | None) -> None:
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    print(  # noqa: T201  this is what the job has to say
        f"{ranks.size} ranks, rank 0 on {os.environ.get('SLURMD_NODENAME', socket.gethostname())} with GPUs {gpus}; "
        f"{len(corpus.codes):,} characters, {len(corpus.symbols)} symbols, {len(model.parameters):,} parameters",
        flush=True,
    )
    if path:
        print(f"resumed at step {model.step} from {path}", flush=True)  # noqa: T201  the same


def _tell(model: Model, wish: Wish, loss: float, seconds: float, *, is_over: bool) -> None:
    if is_over or model.step % wish.say_every == 0:
        print(f"step {model.step} loss {loss:.4f} ({seconds:.1f} s)", flush=True)  # noqa: T201  the job's own words
    if is_over or model.step % wish.save_every == 0:
        path = checkpoints.save(model, wish.folder)
        print(f"checkpoint {path.name}", flush=True)  # noqa: T201  the same
    if is_over:
        print(f"it writes: {model.write(SAMPLE, seed=wish.seed)!r}", flush=True)  # noqa: T201  the same


def read_wish(words: list[str], environment: Mapping[str, str]) -> Wish:
    """The wish on a command line; where checkpoints go, the site says."""
    parser = argparse.ArgumentParser(prog="python -m cesai.demo.train", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder with Markdown")
    parser.add_argument("--steps", type=int, default=Wish.steps, help="of the whole training")
    parser.add_argument("--seconds", type=float, help="end after so long, if that is sooner")
    parser.add_argument("--pause", type=float, default=Wish.pause, help="seconds of rest after each step")
    parser.add_argument("--say-every", type=int, default=Wish.say_every, help="steps between two lines of the log")
    parser.add_argument("--save-every", type=int, default=Wish.save_every, help="steps between two checkpoints")
    given = vars(parser.parse_args(words))
    resume = environment.get("CESAI_RESUME_FROM")
    folder = Path(environment.get("CESAI_CHECKPOINT_DIR", "checkpoints"))
    return Wish(folder=folder, resume=Path(resume) if resume else None, **given)


def main() -> None:
    """Train as one rank of a job."""
    wish = read_wish(sys.argv[1:], os.environ)
    try:
        wish.folder.mkdir(parents=True, exist_ok=True)
        ranks = Ranks.join(os.environ, wish.folder)
        train(wish, ranks)
        ranks.leave()
    except (NothingToRead, RankMissing, EOFError, ConnectionError) as error:
        sys.exit(str(error) or "another rank has gone")


if __name__ == "__main__":
    main()
