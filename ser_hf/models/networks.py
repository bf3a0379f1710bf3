"""Networks that are trained from scratch, an LSTM, a CNN and a CNN-LSTM, and their log-mel and MFCC extractor.

This file is copied into the folder of every such model, so it imports nothing of ser_hf: the stock pipeline runs it
with ``trust_remote_code=True`` where only torch, transformers and numpy are installed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_outputs import SequenceClassifierOutput

FRAME_LENGTH, HOP_LENGTH, N_FFT = 480, 320, 512  # in samples: windows of 30 ms, every 20 ms
MIN_FREQUENCY = 50.0  # lower edge of the lowest mel band, in Hz
FLOOR = 1e-5  # power that is added before the logarithm, about that of a silent recording
MEAN, STD = -5.0, 4.0  # of the log-power of speech at a common level


class SpectrumExtractor(SequenceFeatureExtractor):
    """Makes log-mel spectrograms or MFCCs of waveforms; clips of a batch are padded to the longest, with a mask.

    Each feature's mean over the clip is subtracted, and so timbre, microphone and level (cepstral mean normalisation,
    Atal 1974).

    Args:
        feature_size: features of a frame: mel bands or, of MFCCs, coefficients from the 0th on, which is the level.
        sampling_rate: of the waveforms, in Hz.
        padding_value: fills the frames after the end of a shorter clip.
        num_bands: mel bands of which MFCCs are made; None for log-mel spectrograms.
    """

    model_input_names = ("input_features", "attention_mask")

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 16_000,
        padding_value: float = 0.0,
        num_bands: int | None = None,
        **kwargs,
    ):
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.num_bands = num_bands

    def __call__(
        self,
        raw_speech: np.ndarray | list[np.ndarray],
        sampling_rate: int | None = None,
        padding: bool | str = True,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Make model inputs of one waveform or of several.

        Args:
            raw_speech: mono waveforms (samples,).
            sampling_rate: theirs, in Hz, which must be the extractor's.
            padding, return_tensors: see `transformers.SequenceFeatureExtractor`.

        Returns:
            ``input_features`` (clips, frames, feature_size) and ``attention_mask`` (clips, frames), 1 for sound.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"the model takes audio at {self.sampling_rate} Hz, not at {sampling_rate} Hz")
        clips = [raw_speech] if np.ndim(raw_speech[0]) == 0 else raw_speech
        features = [self.features(np.asarray(clip, dtype=np.float32)) for clip in clips]
        batch = BatchFeature({"input_features": [one - one.mean(axis=0) for one in features]})
        return self.pad(batch, padding=padding, return_attention_mask=True, return_tensors=return_tensors)

    def features(self, samples: np.ndarray) -> np.ndarray:
        """Features of one waveform before their means are subtracted, float32 (frames, feature_size); one at least."""
        num_bands = self.num_bands or self.feature_size
        samples = np.pad(samples, (0, max(0, FRAME_LENGTH - samples.size)))
        frames = sliding_window_view(samples, FRAME_LENGTH)[::HOP_LENGTH]
        spectrum = np.fft.rfft(frames * np.hanning(FRAME_LENGTH).astype(np.float32), N_FFT)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        log_mel = np.log(power @ _mel_filters(num_bands, self.sampling_rate) + FLOOR)
        log_mel = ((log_mel - MEAN) / STD).astype(np.float32)
        return log_mel @ _cosines(num_bands, self.feature_size) if self.num_bands else log_mel


@lru_cache
def _mel_filters(num_bands: int, sampling_rate: int) -> np.ndarray:
    """Triangular filters (frequencies, bands), float32."""
    highest = sampling_rate / 2
    filters = mel_filter_bank(N_FFT // 2 + 1, num_bands, MIN_FREQUENCY, highest, sampling_rate, mel_scale="htk")
    return filters.astype(np.float32)


@lru_cache
def _cosines(num_bands: int, num_coefficients: int) -> np.ndarray:
    """Orthonormal matrix (bands, coefficients) of the cosine transform."""
    bands, order = np.arange(num_bands), np.arange(num_coefficients)
    matrix = np.cos(np.pi / num_bands * np.outer(bands + 0.5, order)) * np.sqrt(2.0 / num_bands)
    matrix[:, 0] /= np.sqrt(2.0)
    return matrix.astype(np.float32)


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


class CnnConfig(PreTrainedConfig):
    """Sizes of a convolutional classifier; ``num_features``, ``dropout`` and ``window_seconds`` as in `LstmConfig`.

    Attributes:
        hidden_size: channels of the last stage; each stage below has half as many.
        num_hidden_layers: residual stages, each of which halves the resolution in time and frequency.
        lstm_size: units in each direction of an LSTM on top; 0 for none.
    """

    model_type = "ser_hf-cnn"

    num_features: int = 64
    hidden_size: int = 192
    num_hidden_layers: int = 3
    dropout: float = 0.3
    window_seconds: float = 5.0
    lstm_size: int = 0


class FrameClassifier(PreTrainedModel):
    """A linear classifier of what ``embed`` makes of a clip; padding does not change its output."""

    main_input_name = "input_features"

    def _init_weights(self, module: nn.Module) -> None:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    def embed(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map (clips, time, num_features) and their mask (clips, time) to one vector per clip."""
        raise NotImplementedError

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Classify (clips, time, num_features); ``attention_mask`` (clips, time) is 1 for sound, 0 for padding.

        ``labels`` (clips,) or, as probabilities, (clips, num_labels) add the loss to the output.
        """
        mask = torch.ones(input_features.shape[:2], device=input_features.device)
        mask = mask if attention_mask is None else attention_mask.to(mask)
        logits = self.classifier(self.dropout(self.embed(input_features, mask)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class BidirectionalLstm(nn.Module):
    """A layer of two LSTMs, of which one runs backward from the last frame of each clip."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.forth = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.back = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map (clips, time, features) to (clips, time, 2 * hidden size)."""
        # Packed sequences give the same and are ten times slower on a CPU.
        time, lengths = torch.arange(mask.shape[1], device=mask.device), mask.sum(dim=1, keepdim=True).long()
        reversal = torch.where(time < lengths, lengths - 1 - time, time)[..., None]
        backward = self.back(frames.gather(1, reversal.expand_as(frames)))[0]
        return torch.cat([self.forth(frames)[0], backward.gather(1, reversal.expand_as(backward))], dim=-1)


class LstmForAudioClassification(FrameClassifier):
    """Bidirectional LSTM layers, attention over time, and a linear classifier."""

    config_class = LstmConfig

    def __init__(self, config: LstmConfig):
        super().__init__(config)
        width = 2 * config.hidden_size
        self.layers = nn.ModuleList(
            BidirectionalLstm(width if index else config.num_features, config.hidden_size)
            for index in range(config.num_hidden_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.attention = nn.Linear(width, 1)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def embed(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        frames = features
        for index, layer in enumerate(self.layers):
            frames = layer(self.dropout(frames) if index else frames, mask)
        weights = self.attention(torch.tanh(frames)).squeeze(-1).float()
        weights = weights.masked_fill(mask == 0, -torch.inf).softmax(dim=-1)
        return (weights[..., None] * frames).sum(dim=1)


class ResidualStage(nn.Module):
    """Two 3 x 3 convolutions with a shortcut, which halve time and frequency, and squeeze and excitation.

    Squeeze and excitation (Hu et al. 2018) weighs the channels. Padding is set to zero after each convolution.
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
        visible = mask[:, None, :, None]
        inner = torch.relu(self.norm1(self.conv1(image))) * visible
        inner = self.norm2(self.conv2(inner)) * visible
        mean = inner.mean(dim=3).sum(dim=2) / mask.sum(dim=1, keepdim=True)
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))
        return torch.relu(inner * scale[:, :, None, None] + self.shortcut(image)) * visible, mask


class CnnForAudioClassification(FrameClassifier):
    """Residual stages, an LSTM if the configuration has one, mean and deviation over time, and a linear classifier."""

    config_class = CnnConfig

    def __init__(self, config: CnnConfig):
        super().__init__(config)
        widths = [config.hidden_size // 2**index for index in reversed(range(config.num_hidden_layers))]
        self.stem = nn.Conv2d(1, widths[0], 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.layers = nn.ModuleList(
            ResidualStage(below, width) for below, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.dropout = nn.Dropout(config.dropout)
        if config.lstm_size:
            self.lstm = BidirectionalLstm(config.hidden_size, config.lstm_size)
        self.classifier = nn.Linear(2 * (2 * config.lstm_size or config.hidden_size), config.num_labels)
        self.post_init()

    def embed(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # The image alone: weights in that layout crash torch 2.13 on a CPU (float32, backward).
        image = (features * mask[..., None])[:, None].contiguous(memory_format=torch.channels_last)
        mask = mask[:, ::2]
        image = torch.relu(self.stem_norm(self.stem(image))) * mask[:, None, :, None]
        for layer in self.layers:
            image, mask = layer(image, mask)
        frames = image.mean(dim=3).transpose(1, 2).float()
        if self.config.lstm_size:
            frames = self.lstm(frames, mask).float()
        mask, length = mask[..., None], mask.sum(dim=1, keepdim=True)
        mean = (frames * mask).sum(dim=1) / length
        variance = ((frames - mean[:, None]).square() * mask).sum(dim=1) / length
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=-1)


for _class in (LstmConfig, CnnConfig, SpectrumExtractor):
    _class.register_for_auto_class()
for _model in (LstmForAudioClassification, CnnForAudioClassification):
    _model.register_for_auto_class("AutoModelForAudioClassification")
