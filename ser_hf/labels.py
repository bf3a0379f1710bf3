"""The emotion vocabulary, in the one order and spelling that the whole project uses."""

LABELS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
LABEL2ID: dict[str, int] = {label: index for index, label in enumerate(LABELS)}
ID2LABEL: dict[int, str] = dict(enumerate(LABELS))

# The third field of a RAVDESS file name (Livingstone & Russo 2018, table 1).
RAVDESS_EMOTIONS: dict[str, str] = {f"{index + 1:02d}": label for index, label in enumerate(LABELS)}

# How each other corpus names its emotions. A name that is not among LABELS has no counterpart: its clips are left out,
# or kept under that name, as `ser_hf.corpora.clip_table` is told.

# The last part of a TESS file name, or of its folder (Pichora-Fuller & Dupuis 2020); mirrors spell "ps" in three ways.
TESS_EMOTIONS: dict[str, str] = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",  # pleasant surprise
    "pleasant_surprise": "surprised",
    "pleasant_surprised": "surprised",
    "sad": "sad",
}
# The third part of a CREMA-D file name (Cao et al. 2014).
CREMAD_EMOTIONS: dict[str, str] = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
# The letters of a SAVEE file name (Haq & Jackson 2010).
SAVEE_EMOTIONS: dict[str, str] = {
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
# The sixth letter of an EmoDB file name, the first of the German word (Burkhardt et al. 2005).
EMODB_EMOTIONS: dict[str, str] = {
    "W": "angry",  # Wut or Ärger
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}
