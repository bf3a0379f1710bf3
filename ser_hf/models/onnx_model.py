"""The same network as ONNX beside the safetensors, run by onnxruntime, for who has no torch.

Writing one needs torch, onnx and onnxscript, running it onnxruntime alone (``requirements-onnx.txt``).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedConfig
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.audio import SAMPLE_RATE
from ser_hf.models import ModelError, output_labels
from ser_hf.models.extractors import has_fixed_length, window_seconds
from ser_hf.models.familiarity import Familiarity, load_familiarity
from ser_hf.threads import thread_count

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

ONNX_FILE, WEIGHTS_FILE = "model.onnx", "model.safetensors"
MADE_OF = "sha256 of model.safetensors"  # name of an entry in the file
MISSING = "ONNX needs packages that are not here: pip install -r requirements-onnx.txt"


@dataclass
class OnnxModel:
    """A fine-tuned network as ONNX with its feature extractor, ready to answer, as `NeuralModel` is.

    Attributes:
        session: of onnxruntime; it takes the extractor's spectrograms and gives ``logits`` and, if the model knows what
            is familiar, ``states``.
        config: the model's.
        feature_extractor: what turns waveforms into its input.
        familiarity: distribution of the training clips, for the out-of-domain score; None where the folder has none.
    """

    session: InferenceSession
    config: PreTrainedConfig
    feature_extractor: FeatureExtractionMixin
    familiarity: Familiarity | None = None

    @property
    def labels(self) -> list[str]:
        """The label of each output, in the order of the outputs."""
        return [self.config.id2label[index] for index in range(self.config.num_labels)]

    @property
    def window_seconds(self) -> float:
        """The longest stretch of audio, in seconds, that the model sees at once."""
        return window_seconds(self, self.feature_extractor)

    def predict_proba(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """As `NeuralModel.predict_proba`: float32 (clips, labels) of float32 mono waveforms at 16 kHz."""
        return softmax(self._run(clips)[0], axis=-1)

    def predict_with_distance(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """As `predict_proba`, and the out-of-domain score of each clip: float64 (clips,)."""
        assert self.familiarity is not None, "the model has an out-of-domain score"
        logits, states = self._run(clips)
        return softmax(logits, axis=-1), self.familiarity.distances(states)

    def _run(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        inputs = self.feature_extractor(list(clips), sampling_rate=SAMPLE_RATE, return_tensors="np")
        return self.session.run(None, {one.name: inputs[one.name] for one in self.session.get_inputs()})


def export_onnx(folder: str | Path) -> Path:
    """Write ``model.onnx`` beside a model folder's safetensors; returns its path.

    Its arithmetic is float32. It takes batches of any size and gives the logits and, where the model knows what is
    familiar, the mean over time of the layer that this is told by.

    Raises:
        ModelError: the folder cannot be used, its network takes clips of any length, or a package is missing.
    """
    try:
        import onnx
        import torch
    except ImportError as error:
        raise ModelError(MISSING) from error
    from ser_hf.models.neural import load_neural

    folder = Path(folder)
    neural = load_neural(folder)
    if not has_fixed_length(neural.feature_extractor):
        raise ModelError(f"{folder}: only networks that hear clips of one length (Whisper, AST, ViT) become ONNX here")
    layer = None if neural.familiarity is None else neural.familiarity.layer
    name = neural.feature_extractor.model_input_names[0]

    class Answer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = neural.model

        def forward(self, spectrograms: torch.Tensor) -> tuple[torch.Tensor, ...]:
            output = self.network(**{name: spectrograms}, output_hidden_states=layer is not None)
            if layer is None:
                return (output.logits,)
            return output.logits, output.hidden_states[layer].mean(dim=1)

    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    example = neural.feature_extractor([silence, silence], sampling_rate=SAMPLE_RATE, return_tensors="pt")[name]
    partial = folder / f".{ONNX_FILE}.partial"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own code
            torch.onnx.export(
                Answer().eval(),
                (example,),
                partial,
                input_names=[name],
                output_names=["logits"] if layer is None else ["logits", "states"],
                dynamic_shapes=({0: torch.export.Dim("clips", min=1, max=4096)},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        graph = onnx.load(partial)
        onnx.helper.set_model_props(graph, {MADE_OF: _sha256(folder / WEIGHTS_FILE)})
        onnx.save(graph, partial)
        partial.replace(folder / ONNX_FILE)
    finally:
        partial.unlink(missing_ok=True)
    return folder / ONNX_FILE


def load_onnx(folder: Path) -> OnnxModel:
    """Load ``model.onnx`` of a model folder; torch is not needed.

    Raises:
        ModelError: there is none, it was made of other weights than those beside it, its outputs are not the labels, or
            onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(MISSING) from error
    path = folder / ONNX_FILE
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        # From memory, the file cannot name other files that hold its weights.
        session = onnxruntime.InferenceSession(path.read_bytes(), _options(), providers=["CPUExecutionProvider"])
    except FileNotFoundError:
        raise ModelError(f"{folder} holds no {ONNX_FILE}; make it with --export_onnx") from None
    except Exception as error:  # neither onnxruntime's own nor what a config can make transformers raise have a root
        raise ModelError(f"{path} cannot be loaded: {error}") from error
    made_of = session.get_modelmeta().custom_metadata_map.get(MADE_OF)
    weights = folder / WEIGHTS_FILE
    if weights.is_file() and made_of != _sha256(weights):
        raise ModelError(f"{path} was made of other weights than {WEIGHTS_FILE} beside it; make it anew")
    output_labels(config.id2label, config.label2id or {}, folder)
    outputs = {output.name: output.shape[-1] for output in session.get_outputs()}
    if outputs.get("logits") != config.num_labels:
        raise ModelError(f"{path} has {outputs.get('logits')} outputs for {config.num_labels} labels")
    familiarity = None
    if "states" in outputs:
        familiarity = load_familiarity(folder, n_layers=config.num_hidden_layers, size=outputs["states"])
    return OnnxModel(session, config, extractor, familiarity)


def _options() -> SessionOptions:
    """As `ser_hf.threads` has it for other libraries: onnxruntime reads no environment, and its threads spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
