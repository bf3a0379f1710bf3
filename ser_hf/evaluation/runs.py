"""The run folder: what was run (run.json), its predictions (predictions.parquet), metrics and plots.

Whatever comes after a run (comparison, card, plots, tests) reads ``predictions.parquet`` and needs no model.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_hf.errors import SerHfError
from ser_hf.evaluation.metrics import PROBABILITY_PREFIX, evaluate_predictions, label_indices, probability_matrix
from ser_hf.labels import LABELS
from ser_hf.utils.files import PART, replacing, write_json
from ser_hf.utils.threads import available_cores

if TYPE_CHECKING:
    from datasets import Dataset

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
RUN = "run.json"
PLOTS = "plots"
DELETED = "deleted"  # in run.json: the folder is being emptied

CLIP_COLUMNS = ("clip", "corpus", "speaker", "gender", "fold", "emotion", "predicted")
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "scikit-learn", "librosa", "numpy", "scipy", "pandas")
# What decides whether bfloat16 is fast, and so how long a run takes.
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
SUM_TOLERANCE = 1e-3


class RunError(SerHfError):
    """A run folder that cannot be written or read; the message names it and says what is wrong."""


def create_run(output_dir: str | Path, overwrite: bool = False, resume: bool = False) -> Path:
    """Create a run folder, or resume one that exists.

    Args:
        overwrite: delete an earlier run of that name first; a folder that is not a run is never deleted.
        resume: keep what is in it.

    Raises:
        RunError: it exists and is not empty, is a file, or is no run folder and so neither overwritten nor resumed.
    """
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; a run needs a folder: choose another --output_dir")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite and not resume:
            raise RunError(
                f"the run folder {folder} exists and is not empty; choose another --output_dir, or replace it with "
                "--overwrite_output_dir"
            )
        begun = {path.name for path in folder.iterdir()} == {RUN + PART}  # and killed before anything else
        if not (folder / RUN).is_file() and not begun:
            raise RunError(f"{folder} holds files but no {RUN}, so it is no run; choose another --output_dir")
        if not resume or begun or read_run_json(folder).get(DELETED):
            _empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Now rather than at the end: the code may have changed by then, and an interrupted run is still known as a run.
    write_run_json(folder, **environment())
    return folder


def _empty(folder: Path) -> None:
    """Delete what is in a run folder; if that is interrupted, the next `create_run` finishes it."""
    write_json(folder / RUN, {DELETED: True})  # so that no run resumes from the half that is left of another
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != RUN:
            path.unlink()
    (folder / RUN).unlink()


def write_run_json(folder: str | Path, **fields: Any) -> None:
    """Add fields to ``run.json``, or replace them.

    They are ``command``, ``arguments`` (a dict), ``protocol``, ``model`` (the family), ``seed``,
    ``corpus_fingerprint``, ``seconds`` and so on; `create_run` writes those of `environment`.
    """
    path = Path(folder) / RUN
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, {**earlier, **fields})


def environment() -> dict[str, Any]:
    """What a run's figures and seconds depend on beside its arguments.

    Returns:
        ``versions``, ``python``, ``platform``, ``processor``, ``cpu_flags``, ``cores`` (that the process may use) and
        ``git_commit`` (ending in ``+dirty`` when ser_hf or train has uncommitted changes; None outside a repository).
    """
    processor, flags = _processor()
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor,
        "cpu_flags": flags,
        "cores": available_cores(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    # Only the code counts: a run folder that is being written must not make the run look uncommitted.
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "ser_hf", "train"])
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+dirty" if changes else "")


def _processor() -> tuple[str, list[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        text = ""
    values = dict(re.findall(r"^(model name|flags)\s*: (.*)$", text, re.MULTILINE))
    present = values.get("flags", "").split()
    return values.get("model name", platform.processor()), [flag for flag in CPU_FLAGS if flag in present]


def prediction_frame(
    table: Dataset, indices: Sequence[int] | np.ndarray, fold: int, probabilities: np.ndarray
) -> pd.DataFrame:
    """The predictions for some clips of a clip table, one row per clip.

    Args:
        table: a clip table (see `ser_hf.corpora.load_corpus`).
        indices: (n,) rows of ``table`` that were tested.
        fold: number of the fold that they are the test part of.
        probabilities: (n, 8) in the order of `LABELS`, rows that sum to 1.

    Returns:
        Columns clip, corpus, speaker, gender, intensity, fold, emotion, predicted and ``p_<label>`` (float32).
    """
    indices = np.asarray(indices)
    probabilities = np.asarray(probabilities, dtype=np.float32)
    if probabilities.shape != (len(indices), len(LABELS)):
        raise RunError(
            f"fold {fold}: {len(indices)} clips need probabilities of shape {(len(indices), len(LABELS))}, "
            f"not {probabilities.shape}"
        )
    kept = [name for name in ("clip", "corpus", "speaker", "gender", "intensity") if name in table.column_names]
    frame = table.select_columns([*kept, "emotion"]).select(indices).to_pandas()
    frame = frame[kept].assign(
        fold=np.full(len(indices), fold, dtype=np.int16),
        emotion=table.features["emotion"].int2str(frame["emotion"].tolist()),
        predicted=[LABELS[index] for index in probabilities.argmax(axis=1)],
    )
    columns = {PROBABILITY_PREFIX + label: probabilities[:, index] for index, label in enumerate(LABELS)}
    return frame.assign(**columns)


def write_predictions(folder: str | Path, frame: pd.DataFrame, name: str = PREDICTIONS) -> None:
    """Check a table of predictions and write it as a small Parquet file (zstd).

    Raises:
        RunError: it is not a valid table of predictions (see `read_predictions`).
    """
    path = Path(folder) / name
    _check(frame, path)
    with replacing(path) as part:
        frame.to_parquet(part, index=False, compression="zstd")


def read_predictions(folder: str | Path, name: str = PREDICTIONS) -> pd.DataFrame:
    """Read and check the table of predictions of a run folder.

    Raises:
        RunError: the folder or file is not there, columns are missing, a label is unknown, a clip is there twice, a
            row's probabilities do not sum to 1, or the predicted label is not the most probable one.
    """
    folder = Path(folder)
    path = folder / name
    if not folder.is_dir():
        raise RunError(f"there is no run folder {folder}")
    if not path.is_file():
        raise RunError(f"{folder} holds no {name}; is it a run folder, and did its run end?")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as Parquet: {error}") from None
    _check(frame, path)
    return frame


def _check(frame: pd.DataFrame, path: Path) -> None:
    def error(problem: str) -> RunError:
        return RunError(f"{path}: {problem}")

    def refuse(rows: np.ndarray, problem: str) -> None:
        if rows.any():
            corpus, clip = frame.loc[rows, ["corpus", "clip"]].iloc[0]
            raise error(f"{problem.format(n=int(rows.sum()))}, such as {corpus}/{clip}")

    expected = [*CLIP_COLUMNS, *(PROBABILITY_PREFIX + label for label in LABELS)]
    missing = [column for column in expected if column not in frame.columns]
    if missing:
        raise error(f"columns are missing: {', '.join(missing)}")
    if frame.empty:
        raise error("there are no predictions in it")
    for column in ("emotion", "predicted"):
        unknown = sorted({str(value) for value in frame[column]} - set(LABELS))
        if unknown:
            raise error(f"column {column} holds unknown labels: {', '.join(unknown)}")
    probabilities, names = probability_matrix(frame)
    if names != list(LABELS):
        raise error(f"the p_ columns must be those of {', '.join(LABELS)}, in this order")
    refuse(frame.duplicated(["corpus", "clip"]).to_numpy(), "{n} clips are there more than once")
    # Written so that NaN fails too.
    sums_to_1 = (np.abs(probabilities.sum(axis=1) - 1) <= SUM_TOLERANCE) & (probabilities >= 0).all(axis=1)
    refuse(~sums_to_1, "the probabilities of {n} clips do not sum to 1")
    of_predicted = probabilities[np.arange(len(frame)), label_indices(frame, "predicted")]
    refuse(of_predicted < probabilities.max(axis=1), "{n} predictions are not the most probable label")


def read_run_json(folder: str | Path) -> dict[str, Any]:
    """Read ``run.json`` of a run folder.

    Raises:
        RunError: it is not there or is not valid JSON.
    """
    path = Path(folder) / RUN
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise RunError(f"{path} is not valid JSON: {error}") from None


def finish_run(folder: str | Path, frames: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Write ``predictions.parquet``, ``metrics.json`` and ``plots/`` of the folds' predictions, and return the metrics.

    Args:
        frames: one table of `prediction_frame` per fold.
    """
    from ser_hf.evaluation import plots  # matplotlib, which reading runs does not need

    if not frames:
        raise RunError(f"{folder}: no fold was tested, so there is nothing to write")
    frame = pd.concat(frames, ignore_index=True)
    write_predictions(folder, frame)
    metrics = evaluate_predictions(frame)
    write_json(Path(folder) / METRICS, metrics)
    plots.save_run_plots(frame, metrics, Path(folder) / PLOTS)
    return metrics
