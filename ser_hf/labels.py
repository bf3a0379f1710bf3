"""The emotion vocabulary, in the one order and spelling that the whole project uses."""

from collections.abc import Iterable

LABELS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
LABEL2ID: dict[str, int] = {label: index for index, label in enumerate(LABELS)}
ID2LABEL: dict[int, str] = dict(enumerate(LABELS))


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels in the order of `LABELS`, those of one's own after them as they come."""
    labels = list(labels)
    return sorted(labels, key=lambda label: LABEL2ID.get(label, len(LABELS)))


# Okabe & Ito's palette, which stays apart under the common kinds of colour blindness; black is softened to grey.
EMOTION_COLORS: dict[str, str] = {
    "neutral": "#5B6470",
    "calm": "#56B4E9",
    "happy": "#F0CE1B",
    "sad": "#0072B2",
    "angry": "#D55E00",
    "fearful": "#CC79A7",
    "disgust": "#009E73",
    "surprised": "#E69F00",
}
# Shapes, so that no figure depends on its colours alone.
EMOTION_SYMBOLS: dict[str, str] = {
    "neutral": "○",
    "calm": "●",
    "happy": "▲",
    "sad": "▼",
    "angry": "✖",
    "fearful": "◆",
    "disgust": "■",
    "surprised": "★",
}
GENDER_STYLES: dict[str, tuple[str, str]] = {"female": ("#B4478C", "o"), "male": ("#2A6FB0", "s")}
GENDER_NAMES = {"female": "women", "male": "men"}
