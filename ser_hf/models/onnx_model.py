"""The network as ONNX, run by onnxruntime, without PyTorch.

Exporting needs torch, onnx and onnxscript, running it onnxruntime alone (``requirements-onnx.txt``).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from scipy.special import softmax
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedConfig
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.audio import SAMPLE_RATE
from ser_hf.models import ModelError, check_network, has_fixed_length, window_seconds
from ser_hf.models.familiarity import Familiarity, load_familiarity
from ser_hf.utils.files import replacing
from ser_hf.utils.threads import thread_count

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ONNX_FILE, WEIGHTS_FILE = "onnx/model.onnx", "model.safetensors"
OLD_ONNX_FILE = "model.onnx"  # of folders that earlier versions made
MADE_OF = "sha256 of model.safetensors"  # name of an entry in the file
STARTED: WeakSet[Any] = WeakSet()  # sessions of this process
MISSING = "ONNX needs packages that are not here: pip install -r requirements-onnx.txt"


@dataclass
class OnnxModel:
    """A fine-tuned network as ONNX with its feature extractor; the interface of `NeuralModel`.

    Attributes:
        graph: the contents of the file.
        sessions: of each process by its number, from the extractor's spectrograms to ``logits``, ``embeddings`` (in
            files of this version) and, for an out-of-domain score, ``states``.
    """

    graph: bytes = field(repr=False)
    config: PreTrainedConfig
    feature_extractor: FeatureExtractionMixin
    familiarity: Familiarity | None = None
    sessions: dict[int, InferenceSession] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all but the sessions."""
        return OnnxModel, (self.graph, self.config, self.feature_extractor, self.familiarity)

    @property
    def session(self) -> InferenceSession:
        """The session of this process: that of a parent that forked has threads that do not exist here."""
        if os.getpid() not in self.sessions:
            self.sessions[os.getpid()] = _start_session(self.graph)
        return self.sessions[os.getpid()]

    @property
    def labels(self) -> list[str]:
        """The label of each output, in the order of the outputs."""
        return [self.config.id2label[index] for index in range(self.config.num_labels)]

    @property
    def window_seconds(self) -> float:
        """The longest window, in seconds, that the model takes."""
        return window_seconds(self, self.feature_extractor)

    def predict_proba(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """As `NeuralModel.predict_proba`: float32 (clips, labels) of float32 mono waveforms at 16 kHz."""
        return softmax(self._run(clips)["logits"], axis=-1)

    def predict_with_distance(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """As `predict_proba`, and the out-of-domain score of each clip: float64 (clips,)."""
        assert self.familiarity is not None, "the model has an out-of-domain score"
        found = self._run(clips)
        return softmax(found["logits"], axis=-1), self.familiarity.distances(found["states"])

    def embeddings(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """As `NeuralModel.embeddings`: float32 (clips, hidden size).

        Raises:
            ModelError: the file was made by an earlier version.
        """
        found = self._run(clips)
        if "embeddings" not in found:
            raise ModelError(f"{ONNX_FILE} has no embeddings; make it again with --export_onnx")
        return found["embeddings"]

    def _run(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        inputs = self.feature_extractor(list(clips), sampling_rate=SAMPLE_RATE, return_tensors="np")
        session = self.session
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, {one.name: inputs[one.name] for one in session.get_inputs()})
        return dict(zip(names, found, strict=True))


def export_onnx(folder: str | Path) -> Path:
    """Write ``onnx/model.onnx`` into a model folder; returns its path.

    It computes in float32, takes batches of any size, and outputs the logits, the embeddings and, where the model has
    an out-of-domain score, the mean over time of that score's layer.

    Raises:
        ModelError: the folder cannot be used, its network takes clips of any length, or a package is missing.
    """
    try:
        import onnx
        import torch
    except ImportError as error:
        raise ModelError(MISSING) from error
    from ser_hf.models.neural import load_neural, remove_head

    folder = Path(folder)
    neural = load_neural(folder)
    if not has_fixed_length(neural.feature_extractor):
        raise ModelError(f"{folder}: only networks whose clips have one length (Whisper, AST, ViT) can become ONNX")
    layer = None if neural.familiarity is None else neural.familiarity.layer
    name = neural.feature_extractor.model_input_names[0]
    head = remove_head(neural.model)
    names = ["logits", "embeddings", *([] if layer is None else ["states"])]

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = neural.model
            # What stands before the mean over time is linear, and gives the same after it.
            self.head = torch.nn.Sequential(*reversed(head.values()))

        def forward(self, spectrograms: torch.Tensor) -> tuple[torch.Tensor, ...]:
            output = self.network(**{name: spectrograms}, output_hidden_states=layer is not None)
            found = self.head(output.logits), output.logits
            return found if layer is None else (*found, output.hidden_states[layer].mean(dim=1))

    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    example = neural.feature_extractor([silence, silence], sampling_rate=SAMPLE_RATE, return_tensors="pt")[name]
    path = folder / ONNX_FILE
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as part:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own code
            program = torch.onnx.export(
                Outputs().eval(),
                (example,),
                input_names=[name],
                output_names=names,
                dynamic_shapes=({0: torch.export.Dim("clips", min=1, max=4096)},),
                dynamo=True,
                verbose=False,
            )
        assert program is not None  # as always with dynamo
        graph = program.model_proto
        onnx.helper.set_model_props(graph, {MADE_OF: _sha256(folder / WEIGHTS_FILE)})
        onnx.save(graph, part)
    return path


def load_onnx(folder: Path) -> OnnxModel:
    """Load ``onnx/model.onnx`` of a model folder, or ``model.onnx``, where earlier versions wrote it.

    Raises:
        ModelError: there is none, it was made of other weights than those of the folder, its outputs are not the
            labels, it cannot be used (see `check_network`), or onnxruntime is missing.
    """
    path = folder / (ONNX_FILE if (folder / ONNX_FILE).is_file() else OLD_ONNX_FILE)
    if not path.is_file():
        raise ModelError(f"{folder} holds no {ONNX_FILE}; make it with --export_onnx")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        model = OnnxModel(path.read_bytes(), config, extractor)
        session = model.session
    except Exception as error:  # what onnxruntime and transformers raise has no common root
        raise ModelError(f"{path} cannot be loaded: {error}") from error
    made_of = session.get_modelmeta().custom_metadata_map.get(MADE_OF)
    weights = folder / WEIGHTS_FILE
    if weights.is_file() and made_of != _sha256(weights):
        raise ModelError(f"{path} was made of other weights than {WEIGHTS_FILE}; make it again with --export_onnx")
    outputs = {output.name: output.shape[-1] for output in session.get_outputs()}
    if outputs.get("logits") != config.num_labels:
        raise ModelError(f"{path} has {outputs.get('logits')} outputs for {config.num_labels} labels")
    if "states" in outputs:
        model.familiarity = load_familiarity(folder, n_layers=config.num_hidden_layers, size=outputs["states"])
    check_network(model, config, folder)
    return model


def _start_session(graph: bytes) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(MISSING) from error
    # onnxruntime reads no environment variables, and its idle threads would spin.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # From memory, the file cannot name other files that hold its weights.
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    STARTED.add(session)
    return session


def _skip_destructors() -> None:
    """Let a forked child end: the destructors of onnxruntime would wait for threads of its parent (its PR 31961)."""
    for session in STARTED:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # GNU's
        libc.on_exit(libc._exit, None)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_skip_destructors)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
