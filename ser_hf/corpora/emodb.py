"""EmoDB, the Berlin Database of Emotional Speech: ten German actors, seven emotions (Burkhardt et al. 2005).

535 clips of those that at least 80 % of 20 listeners recognised. Of the seven emotions, boredom has no counterpart
among our labels; it is not calm. Names such as 03a01Fa: speaker, text, German letter of the emotion, version (a is
`repetition` 1). Speakers, texts and letters are those of the official page (http://emodb.bilderbar.info/docu/).
"""

from __future__ import annotations

from ser_hf.corpora.corpus import Corpus, one_of
from ser_hf.corpora.download import Zip

SOURCE = Zip("http://emodb.bilderbar.info/download/download.zip")
EMOTIONS = {
    "W": "angry",  # Wut or Ärger
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}
GENDERS = dict.fromkeys(("03", "10", "11", "12", "15"), "male") | dict.fromkeys(
    ("08", "09", "13", "14", "16"), "female"
)
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

CORPUS = Corpus(
    name="emodb",
    title="EmoDB",
    citation="F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier and B. Weiss, A Database of German Emotional "
    "Speech, Interspeech 2005",
    record="http://emodb.bilderbar.info/docu/",
    language="de",
    licence="free to use with its citation",  # http://database.syntheticspeech.de
    trainable=True,
    n_recordings=535,
    how_to_get=f"download {SOURCE.url} (free) and put it, or its folder wav, into {{folder}}",
    source=SOURCE,
    file="wav/{clip}.wav",
    pattern=f"{one_of('speaker', GENDERS)}{one_of('statement', STATEMENTS)}{one_of('emotion', EMOTIONS)}"
    "(?P<repetition>[a-z])",
    names=f"speaker, text, letter ({', '.join(EMOTIONS)}) and version, such as 03a01Fa",
    emotions=EMOTIONS,
    genders=GENDERS,
    statements=STATEMENTS.get,
)
