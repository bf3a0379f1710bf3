"""The head of a classifier: fitted to what a frozen encoder gives, and calibrated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from transformers import PreTrainedModel

from ser_hf.metrics import fit_temperature
from ser_hf.models import ModelError
from ser_hf.models.deviation import deviation_layers, label_directions, recorded_deviations, write_deviations
from ser_hf.models.neural import output_layer

ABSENT_LOGIT = -10.0  # of a label that no training clip has
TOLERANCE = 1e-7  # of the gradient: at scikit-learn's 1e-4, answers still moved by 0.002 with the order of sums


@torch.inference_mode()
def pooled_features(
    model: PreTrainedModel, batches: Iterable[dict], bfloat16: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What the frozen model's output layer sees: the encoder's output, pooled over time by the model's own code.

    Returns:
        float32 (clips, hidden size) features and int (clips,) labels of the batches, in their order, without those
        clips in which nobody speaks (their label is the same for all). Where the model has deviation layers, the
        columns of `recorded_deviations` stand behind.
    """
    model.eval()
    # With the linear layers taken out, the stock forward pass returns the pooled hidden states as its logits.
    output = output_layer(model)
    owner = next(module for module in model.modules() if any(child is output for child in module.children()))
    name = next(name for name, child in owner.named_children() if child is output)
    projector = getattr(model, "projector", None)
    setattr(owner, name, nn.Identity())
    if projector is not None:
        model.projector = nn.Identity()
    recording: contextlib.AbstractContextManager[list[np.ndarray]] = contextlib.nullcontext([])
    if deviation_layers(model):
        recording = recorded_deviations(model)
    try:
        features, labels = [], []
        with recording as deviations:
            for batch in batches:
                batch = dict(batch)
                soft = batch.pop("labels")
                speech = (soft.amax(-1) > soft.amin(-1)).numpy()
                labels.append(soft.argmax(-1).numpy()[speech])
                inputs = {key: value.to(model.device) for key, value in batch.items()}
                with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
                    pooled = model(**inputs).logits.float().cpu().numpy()
                features.append(np.concatenate([pooled, *deviations], axis=1)[speech])
                deviations.clear()
    finally:
        setattr(owner, name, output)
        if projector is not None:
            model.projector = projector
    return np.concatenate(features), np.concatenate(labels)


@torch.no_grad()
def fit_head(
    model: PreTrainedModel,
    features: np.ndarray,
    labels: np.ndarray,
    regularisation: float = 10.0,
    balanced: bool = False,
    shrinkage: float | None = None,
) -> None:
    """Set the head to a linear classifier of frozen pooled features, so that fine-tuning starts from a good answer.

    It is logistic regression, or linear discriminant analysis with a shrunk covariance: that one gives less weight to
    what varies within an emotion, from voice to voice above all.

    Args:
        model: changed in place.
        features: (clips, columns), from ``pooled_features``; what is told of deviations goes to their layers.
        labels: int (clips,); two labels at least. One that does not occur is never answered until it is learned.
        regularisation: scikit-learn's ``C`` on standardised features, times the number of clips.
        balanced: give each label the same weight, however many clips it has.
        shrinkage: in [0, 1], how much of the covariance within labels is replaced by a multiple of the identity (Ledoit
            & Wolf 2004), for discriminant analysis; None for logistic regression.
    """
    size = model.config.hidden_size
    if deviation_layers(model):
        means, features = features.mean(axis=0, dtype=np.float64), features[:, :-1].copy()
        directions = label_directions(model)
        others = np.eye(size) - directions.T @ directions
        features[:, :size] = features[:, :size] @ others  # the labels' own directions tell what is written there
    scaler = StandardScaler().fit(features)
    output = output_layer(model)
    present = np.unique(labels)
    if len(present) < 2:
        raise ModelError(f"the training clips hold {len(present)} of {output.out_features} labels; two are needed")
    scaled = scaler.transform(features)
    linear: LogisticRegression | LinearDiscriminantAnalysis
    if shrinkage is None:
        class_weight = "balanced" if balanced else None
        linear = LogisticRegression(
            C=regularisation / len(features), max_iter=1000, tol=TOLERANCE, class_weight=class_weight
        )
    else:
        priors = np.full(len(present), 1 / len(present)) if balanced else None
        linear = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors)
    rows, intercepts = linear.fit(scaled, labels).coef_, linear.intercept_
    if len(present) == 2:  # one row stands for both
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    if shrinkage is not None:  # its own probabilities are far too sure: they take clips to be Gaussian
        temperature = fit_temperature(scaled @ rows.T + intercepts, np.searchsorted(present, labels))
        rows, intercepts = rows / temperature, intercepts / temperature
    weight = np.zeros((output.out_features, features.shape[1]))
    bias = np.full(output.out_features, ABSENT_LOGIT)
    weight[present] = rows / scaler.scale_
    weight, of_deviations = weight[:, :size], weight[:, size:]
    bias[present] = intercepts - weight[present] @ scaler.mean_[:size]
    if deviation_layers(model):
        of_labels = write_deviations(model, of_deviations, means[size:])
        weight, bias = weight @ others + of_labels, bias - of_labels @ means[:size]
    projector = getattr(model, "projector", None)
    if projector is not None:
        # The product of the two linear layers is the classifier: its singular vectors fill the first rows of the
        # projector; the other rows keep their random start and count for nothing until they have learned.
        left, singular, right = np.linalg.svd(weight, full_matrices=False)
        rank, root = len(singular), np.sqrt(singular)
        projector.weight[:rank] = torch.as_tensor(root[:, None] * right, dtype=torch.float32)
        projector.bias.zero_()
        output.weight.zero_()
        output.weight[:, :rank] = torch.as_tensor(left * root, dtype=torch.float32)
    else:
        output.weight.copy_(torch.as_tensor(weight, dtype=torch.float32))
    output.bias.copy_(torch.as_tensor(bias, dtype=torch.float32))


@torch.no_grad()
def scale_logits(model: PreTrainedModel, temperature: float) -> None:
    """Divide all logits by ``temperature`` inside the weights, so that every program sees it (Guo et al. 2017)."""
    output = output_layer(model)
    output.weight.div_(temperature)
    output.bias.div_(temperature)
