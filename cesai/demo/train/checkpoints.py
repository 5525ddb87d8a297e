"""How does a training survive the end of its job?"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from cesai.demo.train.model import Model

KEPT = 2


def save(model: Model, folder: Path) -> Path:
    """Write the model under its step: a name that is there holds the whole, whenever the job is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{model.step:08}.npz"
    fresh = folder / f".{path.name}.new"
    with fresh.open("wb") as file:
        np.savez(
            file,
            symbols=np.array(model.symbols),
            step=np.array(model.step),
            parameters=model.parameters,
            first=model.first,
            second=model.second,
        )
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    for old in sorted(folder.glob("step-*.npz"))[:-KEPT]:
        old.unlink()
    return path


def load(path: Path) -> Model:
    """The model of one checkpoint."""
    with np.load(path) as kept:
        return Model(str(kept["symbols"]), int(kept["step"]), kept["parameters"], kept["first"], kept["second"])


def newest(*folders: Path | None) -> Path | None:
    """The checkpoint with the highest step in these folders that is whole."""
    found = [path for folder in folders if folder is not None for path in folder.glob("step-*.npz")]
    return max(filter(zipfile.is_zipfile, found), key=lambda path: path.name, default=None)
