"""The models whose speed is compared, and the clip of 4 s that they predict; stock models have random weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import opensmile
import soundfile
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from transformers import (
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    pipeline,
)
from transformers.feature_extraction_utils import FeatureExtractionMixin

from app.examples import examples
from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL, EmotionClassifier
from ser_hf.labels import ID2LABEL, LABEL2ID, LABELS
from ser_hf.models.neural import bfloat16_pays
from ser_hf.models.onnx_model import ONNX_FILE, export_onnx

CLIP_SECONDS = 4
ROWS = 1152  # training clips of RAVDESS in a fold

BFLOAT16, FLOAT32, ONNX, SVM = "ours, bfloat16", "ours, float32", "ours, ONNX", "our SVM"
XLSR, WAV2VEC2, WHISPER = "stock XLSR-large shape", "stock wav2vec2-base shape", "stock Whisper-base shape, 30 s"
TEXTBOOK, EGEMAPS = "librosa's MFCC + SVM", "eGeMAPS + SVM"
STOCK = (XLSR, WAV2VEC2, WHISPER)
OURS = (*((BFLOAT16,) if bfloat16_pays() else ()), FLOAT32)  # emulated, bfloat16 takes many times as long
CONTENDERS = (*OURS, ONNX, SVM, *STOCK, TEXTBOOK, EGEMAPS)

_XLSR = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_XLSR |= {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_WHISPER = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}


def clip_file(work: Path, suffix: str = ".flac") -> Path:
    """A clip of 4 s at 16 kHz, one channel, 16 bits, made of an example of the page."""
    file = work / f"clip{suffix}"
    if not file.exists():
        samples = np.resize(load_audio(examples()[0].path), CLIP_SECONDS * SAMPLE_RATE)
        soundfile.write(file, samples, SAMPLE_RATE, subtype="PCM_16")
    return file


def make_stock(name: str) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    """A stock model with random weights in the shape of a published one."""
    labels = {"num_labels": len(LABELS), "id2label": ID2LABEL, "label2id": LABEL2ID}
    if name == WHISPER:
        return WhisperForAudioClassification(WhisperConfig(**_WHISPER, **labels)), WhisperFeatureExtractor()
    config = Wav2Vec2Config(**(_XLSR if name == XLSR else {}), **labels)
    return Wav2Vec2ForSequenceClassification(config), Wav2Vec2FeatureExtractor(return_attention_mask=name == XLSR)


def stock_folder(name: str, work: Path) -> Path:
    """The folder of a model of `make_stock`, which is made when it is first needed."""
    folder = work / name.split(",")[0].replace(" ", "-")
    if not folder.exists():
        torch.manual_seed(0)
        for part in make_stock(name):
            part.save_pretrained(folder)
    return folder


def onnx_folder(work: Path, model: Path = DEFAULT_MODEL) -> Path:
    """A copy of a network with its ONNX beside it: the repository holds none."""
    folder = work / f"{model.name}-onnx"
    if not (folder / ONNX_FILE).exists():
        shutil.copytree(model, folder, dirs_exist_ok=True)
        export_onnx(folder)
    return folder


def precision_of(name: str) -> str:
    """The value of ``--precision`` for one of `OURS`."""
    return name.removeprefix("ours, ")


def load(name: str, work: Path) -> Callable[[Path], Any]:
    """A contender as a function of a file."""
    if name in STOCK:
        classify = pipeline("audio-classification", model=str(stock_folder(name, work)), device="cpu")
        return lambda file: classify(_raw(file))  # a file's name would need the ffmpeg program, and more time
    if name == TEXTBOOK:
        fitted = _fitted_svm(2 * 40)
        return lambda file: fitted.predict(_textbook(file)[None])
    if name == EGEMAPS:
        smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
        fitted = _fitted_svm(len(smile.feature_names))
        return lambda file: fitted.predict(smile.process_file(file).to_numpy())
    if name == SVM:
        return EmotionClassifier.from_pretrained(DEFAULT_BASELINE).predict
    if name == ONNX:
        return EmotionClassifier.from_pretrained(onnx_folder(work), runtime="onnx").predict
    return EmotionClassifier.from_pretrained(DEFAULT_MODEL, precision=precision_of(name)).predict


def _raw(file: Path) -> dict[str, Any]:
    samples, rate = soundfile.read(file, dtype="float32")
    return {"raw": samples, "sampling_rate": rate}


def _textbook(file: Path) -> np.ndarray:
    """Mean and deviation of 40 MFCCs, as in tutorials."""
    samples, rate = librosa.load(file, sr=None)
    mfcc = librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=40)
    return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1)])


def _fitted_svm(n_features: int) -> Any:
    """An SVM on random rows, nearly all of which become support vectors."""
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(ROWS, n_features)), rng.integers(len(LABELS), size=ROWS)
    return make_pipeline(StandardScaler(), SVC()).fit(rows, labels)
