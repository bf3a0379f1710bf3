"""nEMO: nine Polish actors, six emotions (Christop 2024).

4481 clips, up to 90 sentences for each actor and emotion; MK0 has none of `surprised`. Names such as
samples/EB0_anger_1.wav: speaker, emotion, sentence. By default the first nine names of each speaker and emotion are
taken, 477 clips, because the whole would outweigh the other corpora.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path, PurePosixPath

from datasets import Dataset

from ser_hf.corpora import CorpusError
from ser_hf.corpora.archive import obtain
from ser_hf.corpora.download import fetch_stream
from ser_hf.corpora.files import Clip, find_clips, is_recording, table_of, warn_if_fewer

TITLE = "nEMO"
CITATION = "I. Christop, nEMO: Dataset of Emotional Speech in Polish, LREC-COLING 2024, pp. 12111-12116"
RECORD = "https://github.com/amu-cai/nEMO"
LANGUAGE = "pl"
LICENCE = "CC-BY-NC-SA-4.0"
TRAINABLE = True
HAS_CALM = False
FILE = "samples/{clip}.wav"

URL = f"{RECORD}/archive/66de9999a8f2f605eb5f64841790aa5cb0877782.zip"  # 0.5 GB
N_CLIPS = 4481
PER_LABEL = 9
N_SELECTED = 477  # with PER_LABEL
EMOTIONS = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprised",
}
GENDERS = dict.fromkeys(("EB0", "IC0", "KD0", "MK0"), "female") | dict.fromkeys(
    ("KS0", "MP0", "SM0", "TP0", "WR0"), "male"
)
NAME = re.compile(rf"({'|'.join(GENDERS)})_({'|'.join(EMOTIONS)})_([1-9][0-9]?)")


def parse_name(path: str | Path | PurePosixPath) -> Clip:
    """Read an official file name such as EB0_anger_1.wav.

    Raises:
        CorpusError: another name.
    """
    match = NAME.fullmatch(PurePosixPath(path).stem)
    if not match:
        raise CorpusError(
            f"{path}: not an official nEMO name; expected speaker ({', '.join(GENDERS)}), emotion "
            f"({', '.join(EMOTIONS)}) and sentence, such as EB0_anger_1"
        )
    return Clip(match[0], EMOTIONS[match[2]], match[1], GENDERS[match[1]])


def load(
    data_dir: Path,
    download: bool = True,
    unmapped: str = "drop",
    per_label: int | None = PER_LABEL,
    url: str = URL,
) -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/nemo, ordered by name.

    Args:
        unmapped: without effect, because all six emotions have a counterpart.
        per_label: how many clips of each speaker and label to take, the first by name as text (1, 10, 11, ...); None
            takes all.
        url: of the zip, for a mirror.

    Raises:
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "nemo"
    by_hand = f"download {url} (free for non-commercial use) and put it, or its folder samples, into {folder}"
    obtain(folder, TITLE, N_CLIPS, _target_of, by_hand, partial(fetch_stream, url) if download else None)
    groups: dict[tuple[str, str], list[tuple[Clip, Path]]] = defaultdict(list)
    for clip, path in sorted(find_clips(folder, parse_name, by_hand).items()):
        groups[clip.speaker, clip.emotion].append((clip, path))
    clips = [pair for group in groups.values() for pair in group[:per_label]]
    if per_label in (PER_LABEL, None):
        warn_if_fewer(folder, len(clips), N_CLIPS if per_label is None else N_SELECTED)
    return table_of("nemo", clips, unmapped)


def _target_of(member: PurePosixPath) -> str | None:
    return f"samples/{parse_name(member).clip}{member.suffix.lower()}" if is_recording(member) else None
