"""EMOVO: six Italian actors, seven emotions (Costantini et al. 2014).

588 clips: 14 sentences, nine of them meaningful and five nonsense, by three women (f1 to f3) and three men (m1 to m3).
Names such as f1/dis-f1-b1.wav: emotion, speaker, sentence. The official files are stereo, from two microphones whose
signals are 0.35 to 0.55 ms apart: the mean of the two channels is comb-filtered.
"""

from __future__ import annotations

from ser_hf.corpora.corpus import Corpus, one_of

RECORD = "http://voice.fub.it/activities/corpora/emovo/index.html"
DRIVE = "https://drive.google.com/file/d/1SUtaKeA-LYnKaD3qv87Y5wYgihJiNJAo/view"
EMOTIONS = {
    "dis": "disgust",
    "gio": "happy",  # gioia
    "neu": "neutral",
    "pau": "fearful",  # paura
    "rab": "angry",  # rabbia
    "sor": "surprised",  # sorpresa
    "tri": "sad",  # tristezza
}
GENDERS = {"f1": "female", "f2": "female", "f3": "female", "m1": "male", "m2": "male", "m3": "male"}

CORPUS = Corpus(
    name="emovo",
    title="EMOVO",
    citation="G. Costantini, I. Iaderola, A. Paoloni and M. Todisco, EMOVO Corpus: an Italian Emotional Speech "
    "Database, LREC 2014",
    record=RECORD,
    language="it",
    licence="free for non-commercial use, with acknowledgement",
    trainable=True,
    n_recordings=588,
    how_to_get=f"get it from {RECORD} or {DRIVE} (free for non-commercial use) and put its folder EMOVO "
    "into {folder}",
    file="{speaker}/{clip}.wav",
    pattern=f"{one_of('emotion', EMOTIONS)}-{one_of('speaker', GENDERS)}-(b[1-3]|d[12]|l[1-4]|n[1-5])",
    names=f"emotion ({', '.join(EMOTIONS)}), speaker (f1 to f3, m1 to m3) and sentence, such as dis-f1-b1",
    emotions=EMOTIONS,
    genders=GENDERS,
)
