"""Out-of-domain score: how far a recording is from the training data of a model.

The Mahalanobis distance of a lower layer's mean output over time (Lee et al. 2018). Lower layers separate speakers,
rooms and sounds without a voice; upper layers separate emotions and have lost the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ser_hf.models import ModelError

FILE = "familiarity.safetensors"
FAMILIAR_LAYER = 2
# A distance of 1 is the 99th percentile of the training clips' distances from the clips of other speakers.
FARTHEST_SHARE = 0.01
GROUPS = 5  # of speakers, each held out once for that percentile


@dataclass(frozen=True)
class Familiarity:
    """Gaussian of the training clips in the output of one layer.

    Attributes:
        layer: counted from 1; 0 is the input of the first layer.
        mean: (d,), of all training clips.
        whitening: (d, d): the length of a difference from ``mean`` after it is the distance.
    """

    layer: int
    mean: np.ndarray
    whitening: np.ndarray

    def distances(self, states: np.ndarray) -> np.ndarray:
        """Distances, float64 (n,), of (n, d) means over time of the layer's output."""
        return np.linalg.norm((np.asarray(states, dtype=float) - self.mean) @ self.whitening, axis=1)


def fit_familiarity(states: np.ndarray, speakers: np.ndarray, layer: int) -> Familiarity | None:
    """Fit the distribution of the training clips.

    Args:
        states: (n, d) float, means over time of the layer's output, of clips as they are and augmented.
        speakers: (n,) of the clips; groups of them are held out in turn to scale the distance. For a single one,
            returns None.
        layer: as in `Familiarity`.
    """
    from sklearn.covariance import LedoitWolf  # its covariance is shrunk (Ledoit & Wolf 2004)
    from sklearn.model_selection import GroupKFold

    states, speakers = np.asarray(states, dtype=float), np.asarray(speakers)
    n_speakers = len(np.unique(speakers))
    if n_speakers < 2:
        return None
    distances = np.zeros(len(states))
    for train, held_out in GroupKFold(min(GROUPS, n_speakers)).split(states, groups=speakers):
        distances[held_out] = np.sqrt(LedoitWolf().fit(states[train]).mahalanobis(states[held_out]))
    fitted = LedoitWolf().fit(states)
    farthest = max(float(np.quantile(distances, 1 - FARTHEST_SHARE)), np.finfo(np.float32).tiny)
    whitening = np.linalg.cholesky(fitted.precision_) / farthest
    return Familiarity(layer, fitted.location_.astype(np.float32), whitening.astype(np.float32))


def save_familiarity(familiarity: Familiarity, folder: str | Path) -> None:
    """Write the distribution into a model folder, beside the weights."""
    arrays = {"mean": familiarity.mean, "whitening": familiarity.whitening, "layer": np.array([familiarity.layer])}
    save_file(arrays, Path(folder) / FILE)


def load_familiarity(folder: str | Path, n_layers: int, size: int) -> Familiarity | None:
    """Read what `save_familiarity` wrote for a model of so many layers of that size; None where the folder has none.

    Raises:
        ModelError: it cannot be read, or belongs to another model.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    shapes = {"layer": (1,), "mean": (size,), "whitening": (size, size)}
    fits = {name: array.shape for name, array in arrays.items()} == shapes and 0 <= arrays["layer"][0] <= n_layers
    if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
        raise ModelError(f"{path} does not fit the model beside it; delete it to go without an out-of-domain score")
    return Familiarity(int(arrays["layer"][0]), arrays["mean"], arrays["whitening"])
