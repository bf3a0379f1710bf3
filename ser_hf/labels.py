"""The emotion vocabulary, in the one order and spelling that the whole project uses."""

LABELS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
LABEL2ID: dict[str, int] = {label: index for index, label in enumerate(LABELS)}
ID2LABEL: dict[int, str] = dict(enumerate(LABELS))

# The third field of a RAVDESS file name (Livingstone & Russo 2018, table 1).
RAVDESS_EMOTIONS: dict[str, str] = {f"{index + 1:02d}": label for index, label in enumerate(LABELS)}
