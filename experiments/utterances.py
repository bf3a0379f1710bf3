"""Measure how exactly recordings are cut at pauses, on RAVDESS clips joined with pauses.

Examples:

    python -m experiments.utterances

A recording is clips of one actor, drawn at random, each trimmed to its speech, with pauses of 0.4 to 2 s before,
between and behind them: of digital silence in every second recording, in the others of white noise at the noise floor
of the clip before. Levels are as recorded. A start or an end is right if one of the reference lies within 0.2 s. Prints
precision, recall and F1 of both together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from ser_hf.audio import SAMPLE_RATE, load_audio, speech_span, speech_windows
from ser_hf.command_line import CommandParser
from ser_hf.corpora import load_corpus

N_RECORDINGS, N_CLIPS = 20, 8
PAUSE_SECONDS = (0.4, 2.0)
TOLERANCE = 0.2  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    table = load_corpus("ravdess", arguments.data_dir)
    actors = np.array(table["speaker"])
    n_found = n_expected = n_right = 0
    for number in range(N_RECORDINGS):
        rng = np.random.default_rng(number)
        own = np.flatnonzero(actors == rng.choice(np.unique(actors)))
        clips = [load_audio(table[int(row)]["audio"]) for row in rng.choice(own, N_CLIPS, replace=False)]
        samples, expected = join(clips, rng, noise=bool(number % 2))
        found = [(windows[0][0], windows[-1][1]) for windows in speech_windows(samples, arguments.window_seconds)]
        n_found, n_expected = n_found + 2 * len(found), n_expected + 2 * len(expected)
        for ours, theirs in zip(zip(*found, strict=True), zip(*expected, strict=True), strict=True):
            n_right += n_matches(ours, theirs, round(TOLERANCE * SAMPLE_RATE))
    precision, recall = n_right / n_found, n_right / n_expected
    f1 = 2 * n_right / (n_found + n_expected)
    figures = f"precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}"
    print(f"{N_RECORDINGS} recordings, {n_expected} boundaries within {TOLERANCE} s: {figures}")
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.utterances", doc=__doc__)
    parser.add_argument("--data_dir", metavar="D", help="folder of ravdess/ (default: SER_HF_DATA, else data)")
    parser.add_argument(
        "--window_seconds", type=float, default=4.0, metavar="X", help="window of the model that utterances are cut for"
    )
    return parser


def join(
    clips: Sequence[np.ndarray], rng: np.random.Generator, noise: bool
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The speech of clips with pauses between, and where in it, in samples, each begins and ends."""
    parts, spans, place = [], [], 0
    for clip in [*clips, clips[-1]]:
        start, end = speech_span(clip)
        pause = np.zeros(round(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE), np.float32)
        if noise:
            around = np.concatenate([clip[:start], clip[end:]])
            floor = np.median(np.abs(around)) if len(around) else 0.0
            pause += rng.normal(0, 1.5 * floor, len(pause)).astype(np.float32)  # of a Gaussian, 1.48 medians
        parts += [pause, clip[start:end]]
        spans.append((place + len(pause), place + len(pause) + end - start))
        place = spans[-1][1]
    return np.concatenate(parts[:-1]), spans[:-1]


def n_matches(found: Sequence[int], expected: Sequence[int], tolerance: int) -> int:
    """How many of two ascending lists can be paired so that no pair is farther apart than the tolerance."""
    i = j = n = 0
    while i < len(found) and j < len(expected):
        if abs(found[i] - expected[j]) <= tolerance:
            i, j, n = i + 1, j + 1, n + 1
        elif found[i] < expected[j]:
            i += 1
        else:
            j += 1
    return n


if __name__ == "__main__":
    sys.exit(main())
