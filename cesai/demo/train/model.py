"""Which character comes next, after those before it?

A multi-layer perceptron over learned character vectors, trained with Adam, in plain numpy. Everything is float64 and
drawn from seeded generators: the same seed, texts and batch give the same model however many ranks share the work.

Source: Bengio et al., A Neural Probabilistic Language Model, 2003; Kingma and Ba, Adam, 2015.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONTEXT = 12
WIDTH = 16
HIDDEN = 96
SYMBOLS = 96
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
RATE, FIRST, SECOND, TINY = 3e-3, 0.9, 0.999, 1e-8


class NothingToRead(Exception):
    """There is no text to learn from; the sentence says where it was looked for."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts as numbers."""

    symbols: str
    codes: Integers

    @classmethod
    def read(cls, folder: Path, *, symbols: str | None = None) -> Corpus:
        """All Markdown below a folder; with the symbols of an earlier model, or the most frequent ones.

        Raises:
            NothingToRead: too little text.
        """
        text = "\n".join(path.read_text(errors="replace") for path in sorted(folder.rglob("*.md")))
        if len(text) <= CONTEXT:
            msg = f"there is no Markdown to learn from below {folder}"
            raise NothingToRead(msg)
        if symbols is None:
            frequent = sorted(symbol for symbol, _ in Counter(text).most_common(SYMBOLS - 1) if symbol != UNKNOWN)
            symbols = UNKNOWN + "".join(frequent)
        place = {symbol: code for code, symbol in enumerate(symbols)}
        return cls(symbols, np.array([place.get(symbol, 0) for symbol in text], dtype=np.int64))

    def batch(self, *, seed: int, step: int, size: int) -> tuple[Integers, Integers]:
        """The contexts and next characters of one step: a function of seed and step alone."""
        starts = np.random.default_rng((seed, step)).integers(0, len(self.codes) - CONTEXT, size)
        windows = self.codes[starts[:, None] + np.arange(CONTEXT + 1)]
        return windows[:, :-1], windows[:, -1]


@dataclass(slots=True)
class Model:
    """All parameters in one vector, so that ranks exchange one array, with Adam's two moments beside it."""

    symbols: str
    step: int
    parameters: Floats
    first: Floats
    second: Floats

    @classmethod
    def fresh(cls, symbols: str, *, seed: int) -> Model:
        """An untrained model."""
        generator = np.random.default_rng(seed)
        parts = [
            generator.normal(0, scale, size).ravel()
            for size, scale in zip(_shapes(len(symbols)), (1, (CONTEXT * WIDTH) ** -0.5, 0, 0.01, 0), strict=True)
        ]
        parameters = np.concatenate(parts)
        return cls(symbols, 0, parameters, np.zeros_like(parameters), np.zeros_like(parameters))

    def gradient(self, contexts: Integers, following: Integers, *, of: int) -> tuple[float, Floats]:
        """This share's part of the mean loss over a batch of so many examples, and its gradient."""
        vectors, inner, inner_bias, outer, outer_bias = self._parts(self.parameters)
        seen = vectors[contexts].reshape(len(contexts), -1)
        hidden = np.tanh(seen @ inner + inner_bias)
        logits = hidden @ outer + outer_bias
        logits -= logits.max(axis=1, keepdims=True)
        likely = np.exp(logits)
        likely /= likely.sum(axis=1, keepdims=True)
        rows = np.arange(len(following))
        loss = float(-np.log(likely[rows, following]).sum() / of)
        likely[rows, following] -= 1
        wrong = likely / of
        back = (wrong @ outer.T) * (1 - hidden**2)
        to_vectors = np.zeros_like(vectors)
        np.add.at(to_vectors, contexts, (back @ inner.T).reshape(*contexts.shape, WIDTH))
        parts = (to_vectors, seen.T @ back, back.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0))
        return loss, np.concatenate([part.ravel() for part in parts])

    def learn(self, gradient: Floats) -> None:
        """One step of Adam."""
        self.step += 1
        self.first = FIRST * self.first + (1 - FIRST) * gradient
        self.second = SECOND * self.second + (1 - SECOND) * gradient**2
        mean = self.first / (1 - FIRST**self.step)
        spread = np.sqrt(self.second / (1 - SECOND**self.step))
        self.parameters = self.parameters - RATE * mean / (spread + TINY)

    def write(self, length: int, *, seed: int) -> str:
        """Text as the model would go on."""
        vectors, inner, inner_bias, outer, outer_bias = self._parts(self.parameters)
        generator = np.random.default_rng(seed)
        codes = [0] * CONTEXT
        for _ in range(length):
            hidden = np.tanh(vectors[codes[-CONTEXT:]].ravel() @ inner + inner_bias)
            logits = hidden @ outer + outer_bias
            likely = np.exp(logits - logits.max())
            codes.append(int(generator.choice(len(likely), p=likely / likely.sum())))
        return "".join(self.symbols[code] for code in codes[CONTEXT:])

    def _parts(self, vector: Floats) -> Iterator[Floats]:
        start = 0
        for shape in _shapes(len(self.symbols)):
            end = start + int(np.prod(shape))
            yield vector[start:end].reshape(shape)
            start = end


def _shapes(symbols: int) -> tuple[tuple[int, ...], ...]:
    return ((symbols, WIDTH), (CONTEXT * WIDTH, HIDDEN), (HIDDEN,), (HIDDEN, symbols), (symbols,))
