"""EmoDB, the Berlin Database of Emotional Speech: ten German actors, seven emotions (Burkhardt et al. 2005).

535 clips of those that at least 80 % of 20 listeners recognised. `erkennung.txt` of the record has the judgements, of
these and of all that were left out: see `listener_scores`. Of the seven emotions, boredom has no counterpart among our
labels; it is not calm.

Names such as 03a01Fa: speaker, text, German letter of the emotion, version. Speakers, texts and letters are those of
the official page (http://emodb.bilderbar.info/docu/).
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets import Dataset

from ser_hf.corpora import CorpusError, clip_table
from ser_hf.corpora.archive import obtain
from ser_hf.corpora.download import fetch
from ser_hf.corpora.files import find_clips, is_recording, warn_if_fewer
from ser_hf.labels import EMODB_EMOTIONS

TITLE = "EmoDB"
CITATION = (
    "F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier and B. Weiss, A Database of German Emotional Speech, "
    "Interspeech 2005"
)
RECORD = "http://emodb.bilderbar.info/docu/"
LANGUAGE = "de"
LICENCE = "free to use with its citation"  # http://database.syntheticspeech.de
TRAINABLE = True
HAS_CALM = False
FILE = "wav/{clip}.wav"
URL = "http://emodb.bilderbar.info/download/download.zip"
JUDGEMENTS = "erkennung.txt"
N_CLIPS = 535
GENDERS = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
STATEMENTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
NAME = re.compile(rf"({'|'.join(GENDERS)})({'|'.join(STATEMENTS)})([{''.join(EMODB_EMOTIONS)}])([a-z])")


class ClipName(NamedTuple):
    """The parts of an official name, as in the name."""

    speaker: str
    text: str
    letter: str
    version: str


def parse_name(path: str | Path | PurePosixPath) -> ClipName:
    """Read an official file name such as 03a01Fa.wav (folder and suffix may be there or not).

    Raises:
        CorpusError: another name.
    """
    match = NAME.fullmatch(PurePosixPath(path).stem)
    if not match:
        raise CorpusError(
            f"{path}: not an official EmoDB name; expected speaker ({', '.join(GENDERS)}), text "
            f"({', '.join(STATEMENTS)}), letter ({', '.join(EMODB_EMOTIONS)}) and version, such as 03a01Fa"
        )
    return ClipName(*match.groups())


def load(data_dir: Path, download: bool = True, unmapped: str = "drop", url: str = URL) -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/emodb, ordered by name.

    The official zip, in that folder, is unpacked there; without it, it is downloaded. The record tells no
    checksum: it must hold the 535 clips, by name, and all of them must open.

    `repetition` is the version (a: 1, b: 2, ...), of which some are not in the record. `intensity` is None.

    Args:
        unmapped: "drop" leaves out the clips of boredom, "keep" keeps them (see `ser_hf.corpora.clip_table`).
        url: of the zip, for a mirror.

    Raises:
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "emodb"
    by_hand = f"download {URL} (free) and put it, or its folder wav, into {folder}"
    fetch_zip = partial(fetch, url, md5=None, size=None) if download else None
    obtain(folder, "EmoDB", N_CLIPS, _target_of, by_hand, fetch_zip)
    clips = sorted(find_clips(folder, parse_name, by_hand).items())
    warn_if_fewer(folder, len(clips), N_CLIPS)
    names = [name for name, _ in clips]
    return clip_table(
        {
            "clip": ["".join(name) for name in names],
            "audio": [str(path) for _, path in clips],
            "emotion": [EMODB_EMOTIONS[name.letter] for name in names],
            "speaker": [name.speaker for name in names],
            "gender": [GENDERS[name.speaker] for name in names],
            "statement": [STATEMENTS[name.text] for name in names],
            "intensity": [None] * len(names),
            "repetition": [ord(name.version) - ord("a") + 1 for name in names],
            "corpus": ["emodb"] * len(names),
        },
        unmapped,
    )


def listener_scores(path: str | Path) -> dict[str, tuple[float, float]]:
    """The judgements of 20 listeners (erkennung.txt of the record): clip -> (recognised, natural), shares in [0, 1].

    Of all 816 recordings that were judged, of which the corpus holds 535.

    Raises:
        CorpusError: the file is not there or is not this list.
    """
    try:
        lines = Path(path).read_text(encoding="latin-1").splitlines()[1:]
        rows = [[field.strip() for field in line.split("\t")] for line in lines if line.strip()]
        return {Path(name).stem: (_share(recognised), _share(natural)) for _, name, recognised, natural in rows}
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise CorpusError(f"{path}: not the list of judgements of the official record ({error})") from None


def _share(text: str) -> float:
    """The share in [0, 1] of a percentage with a decimal comma."""
    return float(text.replace(",", ".")) / 100


def _target_of(member: PurePosixPath) -> str | None:
    """Where a member of the official zip goes; None for what is neither a clip nor the judgements."""
    if member.name == JUDGEMENTS:
        return JUDGEMENTS
    if not is_recording(member):
        return None
    return f"wav/{''.join(parse_name(member))}{member.suffix.lower()}"
