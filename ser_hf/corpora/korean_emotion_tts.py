"""KAIST and Selvas AI emotional speech for synthesis, public part: 15 Korean speakers, four emotions.

300 clips, five of each speaker and emotion. Names such as emotional-to-emotional/nea/wav/nea00001.wav: speaker and
number; numbers 1 to 100 are neutral, 101 to 200 joy, 201 to 300 anger, 301 to 400 sadness. Speakers em* read neutral
texts in every emotion (plain-to-emotional); speakers ne* read texts that match it (emotional-to-emotional).
"""

from __future__ import annotations

from ser_hf.corpora.corpus import Corpus, one_of
from ser_hf.corpora.download import Zip

RECORD = "https://github.com/emotiontts/emotiontts_open_db"
SOURCE = Zip(f"{RECORD}/archive/5c8ccc80cb11e8de113c25f9ad019dc5d3a8e47b.zip")  # 0.3 GB, with other corpora
EMOTIONS = {
    f"{100 * hundred + number:05d}": label
    for hundred, label in enumerate(("neutral", "happy", "angry", "sad"))
    for number in range(1, 101)
}
GENDERS = dict.fromkeys(("ema", "emb", "nea", "neb", "nec", "ned", "nee"), "female") | dict.fromkeys(
    ("emf", "emg", "emh", "nek", "nel", "nem", "nen", "neo"), "male"
)

CORPUS = Corpus(
    name="korean-emotion-tts",
    title="KAIST/Selvas emotional TTS",
    citation="KAIST and Selvas AI, emotiontts_open_db: open speech corpora for emotional and personal speech "
    f"synthesis, {RECORD}",
    record=RECORD,
    language="ko",
    licence="CC-BY-NC-SA-4.0",  # and its README: for research, not commercial use
    trainable=True,
    n_recordings=300,
    how_to_get=f"download {SOURCE.url} (free for research) and put it, or the two folders in its "
    "Dataset/SpeechCorpus/Emotional, into {folder}",
    source=SOURCE,
    file="{clip}.wav",  # in a folder per speaker
    pattern=one_of("speaker", GENDERS) + one_of("emotion", EMOTIONS),
    names=f"speaker ({', '.join(GENDERS)}) and number (00001 to 00400), such as nea00001",
    emotions=EMOTIONS,
    genders=GENDERS,
)
