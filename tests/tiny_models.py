"""Model folders that are made in a second, for tests of what surrounds a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import WhisperFeatureExtractor, WhisperForAudioClassification

from ser_hf.features import FEATURES_VERSION, extract, feature_names
from ser_hf.labels import ID2LABEL, LABEL2ID, LABELS
from ser_hf.models.classical import MODEL_TYPE, ClassicalModel, build_pipeline, save_classical
from tests.synthetic import make_clip
from tests.tiny_bases import tiny_whisper_config

WINDOW_SECONDS = 5
TINY_GROUPS = ("energy", "zcr")


def save_tiny_whisper(folder: Path, seed: int = 0) -> Path:
    """A Whisper classifier of one layer with random weights and a window of 5 s, saved as stock transformers does."""
    torch.manual_seed(seed)
    extractor = WhisperFeatureExtractor(chunk_length=WINDOW_SECONDS)
    config = tiny_whisper_config(
        max_source_positions=extractor.nb_max_frames // 2,
        classifier_proj_size=16,
        num_labels=len(ID2LABEL),
        id2label=ID2LABEL,
        label2id=LABEL2ID,
        init_std=0.5,  # so that answers differ from clip to clip
    )
    model = WhisperForAudioClassification(config).eval()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def save_tiny_svm(folder: Path, groups: Sequence[str] = TINY_GROUPS, family: str = "svm") -> Path:
    """An untuned SVM, or model of another family, on some groups of features of sixteen synthetic clips."""
    names = feature_names(groups)
    clips = [(label, make_clip(label, actor, seconds=1.5)) for label in LABELS for actor in (1, 2)]
    features = pd.DataFrame(np.array([extract(clip, groups) for _, clip in clips]), columns=names)
    pipeline = build_pipeline(family).fit(features, [LABEL2ID[label] for label, _ in clips])
    config = {
        "model_type": MODEL_TYPE,
        "family": family,
        "id2label": {str(index): label for index, label in ID2LABEL.items()},
        "feature_groups": list(groups),
        "features_version": FEATURES_VERSION,
        "logits": "pairwise",
        "temperature": 1.0,
    }
    return save_classical(ClassicalModel(pipeline, config), folder)
