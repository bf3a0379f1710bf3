"""Residual convolutions over a spectrogram, alone or below an LSTM: the CNN and the CNN-LSTM of the field.

This file is copied into the folder of every such model, so it imports nothing of ser_hf: the stock pipeline runs it
with ``trust_remote_code=True`` where there is only torch, transformers and numpy.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class CnnConfig(PreTrainedConfig):
    """Sizes of a convolutional classifier.

    Attributes:
        num_features: bands of the spectrogram.
        hidden_size: channels of the last stage; each stage below has half as many.
        num_hidden_layers: residual stages, each half as fine in time and frequency as the one below.
        dropout: share of values that are dropped before the classifier.
        window_seconds: longest stretch of audio that it was trained on.
    """

    model_type = "ser_hf-cnn"

    num_features: int = 64
    hidden_size: int = 192
    num_hidden_layers: int = 3
    dropout: float = 0.3
    window_seconds: float = 5.0


class CnnLstmConfig(CnnConfig):
    """Sizes of a convolutional classifier with an LSTM on top.

    Attributes:
        lstm_size: units of the LSTM in each direction.
    """

    model_type = "ser_hf-cnn-lstm"

    lstm_size: int = 96


class ResidualStage(nn.Module):
    """Two convolutions of 3 x 3 with a shortcut, which halve time and frequency, and a weight for each channel.

    The weights are those of squeeze and excitation (Hu et al. 2018).

    What is behind the end of a clip is set to zero behind each convolution, so that padding is what the edge of an
    image is, and a clip gets the same answer alone and in a batch.
    """

    def __init__(self, num_inputs: int, num_outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_inputs, num_outputs, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_outputs)
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_outputs)
        self.shortcut = nn.Conv2d(num_inputs, num_outputs, 1, stride=2, bias=False)
        self.squeeze = nn.Linear(num_outputs, num_outputs // 4)
        self.excite = nn.Linear(num_outputs // 4, num_outputs)

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (clips, channels, time, bands) and its mask (clips, time) to those of the next stage."""
        mask = mask[:, ::2]
        shape = (len(mask), 1, -1, 1)
        inner = torch.relu(self.norm1(self.conv1(image))) * mask.view(shape)
        inner = self.norm2(self.conv2(inner)) * mask.view(shape)
        mean = inner.mean(dim=3).sum(dim=2) / mask.sum(dim=1, keepdim=True)
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))
        return torch.relu(inner * scale[:, :, None, None] + self.shortcut(image)) * mask.view(shape), mask


class CnnForAudioClassification(PreTrainedModel):
    """Residual stages, mean and deviation over time, and a linear classifier."""

    config_class = CnnConfig
    main_input_name = "input_features"

    def __init__(self, config: CnnConfig):
        super().__init__(config)
        widths = [config.hidden_size // 2**index for index in reversed(range(config.num_hidden_layers))]
        self.stem = nn.Conv2d(1, widths[0], 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.layers = nn.ModuleList(
            ResidualStage(below, width) for below, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.make_head(config)
        self.post_init()

    def make_head(self, config: CnnConfig) -> None:
        """Make what is on top of the convolutions."""
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)

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
        mask = mask if attention_mask is None else attention_mask.to(mask)
        # The image alone: weights in that layout crash torch 2.13 on a CPU (float32, backward).
        image = (input_features * mask[..., None])[:, None].contiguous(memory_format=torch.channels_last)
        mask = mask[:, ::2]
        image = torch.relu(self.stem_norm(self.stem(image))) * mask[:, None, :, None]
        for layer in self.layers:
            image, mask = layer(image, mask)
        frames = image.mean(dim=3).transpose(1, 2).float()
        logits = self.classifier(self.dropout(self.pool(frames, mask)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def pool(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mean and deviation over the time of each clip: (clips, time, channels) to (clips, 2 * channels)."""
        mask, length = mask[..., None], mask.sum(dim=1, keepdim=True)
        mean = (frames * mask).sum(dim=1) / length
        variance = ((frames - mean[:, None]).square() * mask).sum(dim=1) / length
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=-1)


class CnnLstmForAudioClassification(CnnForAudioClassification):
    """Residual stages, a bidirectional LSTM over their frames, mean and deviation over time, a linear classifier."""

    config_class = CnnLstmConfig

    def make_head(self, config: CnnLstmConfig) -> None:
        self.forth = nn.LSTM(config.hidden_size, config.lstm_size, batch_first=True)
        self.back = nn.LSTM(config.hidden_size, config.lstm_size, batch_first=True)
        self.classifier = nn.Linear(4 * config.lstm_size, config.num_labels)

    def pool(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # Backward from the last frame of each clip, with its padding left behind it.
        time, lengths = torch.arange(mask.shape[1], device=mask.device), mask.sum(dim=1, keepdim=True).long()
        order = torch.where(time < lengths, lengths - 1 - time, time)[..., None]
        forth, _ = self.forth(frames)
        back, _ = self.back(frames.gather(1, order.expand_as(frames)))
        both = torch.cat([forth, back.gather(1, order.expand_as(back))], dim=-1)
        return super().pool(both.float(), mask)


CnnConfig.register_for_auto_class()
CnnLstmConfig.register_for_auto_class()
CnnForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
CnnLstmForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
