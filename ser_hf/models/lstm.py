"""A bidirectional LSTM over a sequence of features, pooled by attention: the recurrent model of the field.

This file is copied into the folder of every such model, so it imports nothing of ser_hf: the stock pipeline runs it
with ``trust_remote_code=True`` where there is only torch, transformers and numpy.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class LstmConfig(PreTrainedConfig):
    """Sizes of an LSTM classifier.

    Attributes:
        num_features: features of a frame.
        hidden_size: units of each layer in each direction.
        num_hidden_layers: layers, one on top of the other.
        dropout: share of values that are dropped before each layer but the first, and before the classifier.
        window_seconds: longest stretch of audio that it was trained on.
    """

    model_type = "ser_hf-lstm"

    num_features: int = 40
    hidden_size: int = 128
    num_hidden_layers: int = 2
    dropout: float = 0.3
    window_seconds: float = 5.0


class BidirectionalLayer(nn.Module):
    """One LSTM forward and one backward in time, each beginning where the sound of its clip does."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.forth = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.back = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, frames: torch.Tensor, reversal: torch.Tensor) -> torch.Tensor:
        """Map (clips, time, features) to (clips, time, 2 * hidden size)."""
        forth, _ = self.forth(frames)
        back, _ = self.back(_reorder(frames, reversal))
        return torch.cat([forth, _reorder(back, reversal)], dim=-1)


def _reorder(frames: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return frames.gather(1, order[..., None].expand_as(frames))


def _reversal(mask: torch.Tensor) -> torch.Tensor:
    """Where each frame stands when the sound of each clip is played backward, and its padding stays behind it."""
    # Packed sequences would do the same, and are ten times slower on a CPU.
    time, lengths = torch.arange(mask.shape[1], device=mask.device), mask.sum(dim=1, keepdim=True).long()
    return torch.where(time < lengths, lengths - 1 - time, time)


class LstmForAudioClassification(PreTrainedModel):
    """Bidirectional LSTM layers, attention over time, and a linear classifier."""

    config_class = LstmConfig
    main_input_name = "input_features"

    def __init__(self, config: LstmConfig):
        super().__init__(config)
        width = 2 * config.hidden_size
        self.layers = nn.ModuleList(
            BidirectionalLayer(width if index else config.num_features, config.hidden_size)
            for index in range(config.num_hidden_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.attention = nn.Linear(width, 1)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Classify (clips, time, num_features); ``attention_mask`` (clips, time) is 1 for sound, 0 for padding.

        ``labels`` (clips,) or, as probabilities, (clips, num_labels) add the loss to what is returned.
        """
        mask = torch.ones(input_features.shape[:2], device=input_features.device)
        mask = mask if attention_mask is None else attention_mask
        frames, reversal = input_features, _reversal(mask)
        for index, layer in enumerate(self.layers):
            frames = layer(self.dropout(frames) if index else frames, reversal)
        weights = self.attention(torch.tanh(frames)).squeeze(-1).float()
        weights = weights.masked_fill(mask == 0, -torch.inf).softmax(dim=-1)
        pooled = (weights[..., None] * frames).sum(dim=1)
        logits = self.classifier(self.dropout(pooled))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


LstmConfig.register_for_auto_class()
LstmForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
