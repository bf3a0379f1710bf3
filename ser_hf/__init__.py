"""Speech emotion recognition on the Hugging Face stack, measured on unseen speakers.

>>> from ser_hf import EmotionClassifier
>>> classifier = EmotionClassifier.from_pretrained("ser-svm")
>>> classifier.labels
['neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised']
>>> classifier.predict("clip.wav")
Traceback (most recent call last):
    ...
ser_hf.audio.errors.UnreadableAudioError: clip.wav: there is no such file
"""

from importlib import import_module

__version__ = "0.1.0"

# Where each public name lives; its module is imported at the first use of the name, so that
# `import ser_hf` and every `--help` stay quick.
_HOMES = {
    "AudioError": "ser_hf.audio",
    "EmotionClassifier": "ser_hf.classifier",
    "Prediction": "ser_hf.classifier",
    "SerHfError": "ser_hf.errors",
    "load_clips": "ser_hf.corpora.own",
    "load_corpus": "ser_hf.corpora",
}
__all__ = ["AudioError", "EmotionClassifier", "Prediction", "SerHfError", "__version__", "load_clips", "load_corpus"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'ser_hf' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
