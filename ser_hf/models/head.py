"""The head of a classifier: a linear probe of the pretrained encoder, and its calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import PreTrainedModel

from ser_hf.models import ModelError
from ser_hf.models.neural import output_layer, without_head

ABSENT_LOGIT = -10.0  # of a label that no training clip has
TOLERANCE = 1e-7  # of the gradient: at scikit-learn's 1e-4, predictions still move by 0.002 with the order of sums


@torch.inference_mode()
def pooled_features(
    model: PreTrainedModel,
    collator: Callable[[list], dict],
    dataset: Dataset,
    batch_size: int = 32,
    bfloat16: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's output pooled over time by the model's own code, as its output layer would get it.

    A batch holds items of one length, where the dataset has ``lengths``.

    Returns:
        float32 (items, hidden size) features and int (items,) labels.
    """
    lengths = dataset.lengths() if hasattr(dataset, "lengths") else np.zeros(len(dataset))
    order = np.argsort(lengths, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    batches = [group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)]
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collator)
    model.eval()
    features, labels = [], []
    with without_head(model):
        for batch in tqdm(loader, desc="Fitting the head", leave=False):
            labels.append(batch.pop("labels").argmax(-1).numpy())
            inputs = {key: value.to(model.device) for key, value in batch.items() if key != "masked"}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
                features.append(model(**inputs).logits.float().cpu().numpy())
    back = np.argsort(order)
    return np.concatenate(features)[back], np.concatenate(labels)[back]


@torch.no_grad()
def fit_head(
    model: PreTrainedModel,
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    regularisation: float = 20.0,
) -> None:
    """Set the head to a logistic regression on pooled features: a linear probe, from which fine-tuning starts.

    Fitting the head before the encoder is trained distorts the pretrained features less (Kumar et al. 2022,
    arXiv 2202.10054).

    Args:
        model: changed in place.
        features: (clips, hidden size), from `pooled_features`.
        labels: int (clips,); at least two labels. A label that does not occur is never predicted until it is trained.
        weights: (clips,) of the clips in the loss (default: all the same).
        regularisation: scikit-learn's ``C`` on standardised features, times the number of clips.
    """
    output = output_layer(model)
    present = np.unique(labels)
    if len(present) < 2:
        raise ModelError(f"the training clips hold {len(present)} of {output.out_features} labels; two are needed")
    if weights is not None:
        weights = weights * len(weights) / weights.sum()
    scaler = StandardScaler().fit(features)
    linear = LogisticRegression(C=regularisation / len(features), max_iter=1000, tol=TOLERANCE)
    linear.fit(scaler.transform(features), labels, sample_weight=weights)
    rows, intercepts = linear.coef_, linear.intercept_
    if len(present) == 2:  # one row stands for both
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((output.out_features, features.shape[1]))
    bias = np.full(output.out_features, ABSENT_LOGIT)
    weight[present] = rows / scaler.scale_
    bias[present] = intercepts - weight[present] @ scaler.mean_
    set_head(model, weight, bias)


@torch.no_grad()
def set_head(model: PreTrainedModel, weight: np.ndarray, bias: np.ndarray) -> None:
    """Set the head to a linear classifier of the pooled output of the encoder.

    Args:
        model: changed in place.
        weight, bias: (labels, hidden size) and (labels,).
    """
    output = output_layer(model)
    projector = getattr(model, "projector", None)
    if projector is not None:
        # The product of the two linear layers is the classifier: its singular vectors fill the first rows of the
        # projector; the other rows keep their random start and have no effect until they are trained.
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
    """Divide all logits by ``temperature`` inside the weights, so that every program gets it (Guo et al. 2017)."""
    output = output_layer(model)
    output.weight.div_(temperature)
    output.bias.div_(temperature)
