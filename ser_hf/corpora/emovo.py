"""EMOVO: six Italian actors, seven emotions (Costantini et al. 2014).

588 clips: 14 sentences, nine of them meaningful and five nonsense, by three women (f1 to f3) and three men (m1 to m3).
Names such as f1/dis-f1-b1.wav: emotion, speaker, sentence. The official files are stereo, from two microphones whose
signals are 0.35 to 0.55 ms apart: the mean of the two channels is comb-filtered.
"""

from __future__ import annotations

import re
from pathlib import Path

from datasets import Dataset

from ser_hf.corpora import CorpusError
from ser_hf.corpora.files import Clip, find_clips, table_of, warn_if_fewer

TITLE = "EMOVO"
CITATION = (
    "G. Costantini, I. Iaderola, A. Paoloni and M. Todisco, EMOVO Corpus: an Italian Emotional Speech Database, "
    "LREC 2014"
)
RECORD = "http://voice.fub.it/activities/corpora/emovo/index.html"
LANGUAGE = "it"
LICENCE = "free for non-commercial use, with acknowledgement"
TRAINABLE = True
HAS_CALM = False
FILE = "{speaker}/{clip}.wav"

DRIVE = "https://drive.google.com/file/d/1SUtaKeA-LYnKaD3qv87Y5wYgihJiNJAo/view"
N_CLIPS = 588
EMOTIONS = {
    "dis": "disgust",
    "gio": "happy",  # gioia
    "neu": "neutral",
    "pau": "fearful",  # paura
    "rab": "angry",  # rabbia
    "sor": "surprised",  # sorpresa
    "tri": "sad",  # tristezza
}
NAME = re.compile(rf"({'|'.join(EMOTIONS)})-([fm][1-3])-(b[1-3]|d[12]|l[1-4]|n[1-5])")


def parse_name(path: str | Path) -> Clip:
    """Read an official file name such as dis-f1-b1.wav.

    Raises:
        CorpusError: another name.
    """
    match = NAME.fullmatch(Path(path).stem)
    if not match:
        raise CorpusError(
            f"{path}: not an official EMOVO name; expected emotion ({', '.join(EMOTIONS)}), speaker (f1 to f3, m1 to "
            "m3) and sentence (b1 to b3, d1, d2, l1 to l4, n1 to n5), such as dis-f1-b1"
        )
    return Clip(match[0], EMOTIONS[match[1]], match[2], "female" if match[2][0] == "f" else "male")


def load(data_dir: Path, download: bool = True, unmapped: str = "drop") -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/emovo, ordered by name.

    Args:
        download: without effect, because the record is not a plain file.
        unmapped: without effect, because all seven emotions have a counterpart.

    Raises:
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "emovo"
    by_hand = f"get it from {RECORD} or {DRIVE} (free for non-commercial use) and put its folder EMOVO into {folder}"
    clips = find_clips(folder, parse_name, by_hand)
    warn_if_fewer(folder, len(clips), N_CLIPS)
    return table_of("emovo", clips.items(), unmapped)
