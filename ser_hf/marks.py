"""The colour, symbol and name under which emotions and genders are shown, in figures and on the page alike."""

from __future__ import annotations

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
# Shapes, so that no figure needs its colours to be understood.
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
