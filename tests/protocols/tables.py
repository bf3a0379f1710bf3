"""Clip tables without recordings, of any size, and what the tests look at in their folds."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from ser_hf.corpora import clip_table
from ser_hf.labels import LABELS
from ser_hf.protocols.folds import Fold

WITHOUT_CALM = tuple(label for label in LABELS if label not in ("calm", "surprised"))


def corpus_table(
    corpus: str, speakers: dict[str, tuple[str, int]], emotions: Sequence[str] = WITHOUT_CALM, gap: int = 0
) -> Dataset:
    """A clip table of one corpus.

    Args:
        speakers: name -> (gender, number of clips); the clips go through the emotions in turn.
        gap: of the first speaker, so many clips are missing.
    """
    rows = [
        (f"{speaker}_{take:03d}", emotions[take % len(emotions)], speaker, gender)
        for speaker, (gender, n_clips) in speakers.items()
        for take in range(n_clips)
    ][gap:]
    clips, labels, names, genders = (list(column) for column in zip(*rows, strict=True))
    untold = [None] * len(rows)
    return clip_table(
        {
            "clip": clips,
            "audio": [f"{corpus}/{clip}.wav" for clip in clips],
            "emotion": labels,
            "speaker": names,
            "gender": genders,
            "statement": untold,
            "intensity": untold,
            "repetition": untold,
            "corpus": [corpus] * len(rows),
        }
    )


@functools.cache
def ravdess(n_clips: int = 8) -> Dataset:
    actors = range(1, 25)
    speakers = {f"{actor:02d}": ("male" if actor % 2 else "female", n_clips) for actor in actors}
    return corpus_table("ravdess", speakers, LABELS)


@functools.cache
def tess() -> Dataset:
    return corpus_table("tess", {"OAF": ("female", 36), "YAF": ("female", 36)})


@functools.cache
def savee() -> Dataset:
    return corpus_table("savee", dict.fromkeys(("DC", "JE", "JK", "KL"), ("male", 30)))


@functools.cache
def cremad(n_speakers: int = 91) -> Dataset:
    genders = ["male" if zlib.crc32(bytes([number])) % 2 else "female" for number in range(n_speakers)]
    return corpus_table("cremad", {f"{1001 + number}": (gender, 6) for number, gender in enumerate(genders)})


@functools.cache
def emodb() -> Dataset:
    """As many clips a speaker as the real corpus has without boredom."""
    counts = {"03": 44, "08": 48, "09": 39, "10": 30, "11": 47, "12": 31, "13": 51, "14": 60, "15": 47, "16": 57}
    men = ("03", "10", "11", "12", "15")
    return corpus_table("emodb", {name: ("male" if name in men else "female", n) for name, n in counts.items()})


def clips(table: Dataset, rows: np.ndarray) -> set[str]:
    """The clips of some rows, as corpus/clip."""
    part = table.select(rows)
    return {f"{c}/{n}" for c, n in zip(part["corpus"][:], part["clip"][:], strict=True)}


def is_partition(fold: Fold, n_rows: int) -> bool:
    """Whether the parts of a fold are ascending, disjoint and together all rows."""
    parts = (fold.train, fold.validation, fold.test)
    ascending = all((np.diff(part) > 0).all() and part.dtype.kind == "i" for part in parts)
    return ascending and np.array_equal(np.sort(np.concatenate(parts)), np.arange(n_rows))
