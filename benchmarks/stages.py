"""Each stage of an answer alone, and the model beside the floor that this machine's matrix products set.

Examples:

    python -m benchmarks.stages
    python -m benchmarks.stages --threads 1
"""

from __future__ import annotations

import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inputs import OURS, clip_file, precision_of
from benchmarks.machine import MATRIX, matrix_rates
from benchmarks.tables import Settings, Table, alternate, main, medians, table_parser
from ser_hf.audio import SAMPLE_RATE, check_speech, load_audio, read_audio
from ser_hf.classifier import BATCH_SIZE, DEFAULT_BASELINE, DEFAULT_MODEL
from ser_hf.command_line import CommandParser
from ser_hf.features import extract
from ser_hf.models.classical import load_classical
from ser_hf.models.neural import NeuralModel, load_neural
from ser_hf.quality import quality_doubts


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.stages", __doc__)


@torch.inference_mode()
def measure(settings: Settings) -> Table:
    """Milliseconds of each stage; of the model also a clip of a batch, and times the floor."""
    flac, wav = clip_file(settings.work), clip_file(settings.work, ".wav", 48_000)
    recording = read_audio(flac)
    models = {name: load_neural(DEFAULT_MODEL, precision=name) for name in map(precision_of, reversed(OURS))}
    extractor = models["float32"].feature_extractor
    clips = [recording.samples] * (2 if settings.tiny else BATCH_SIZE)
    one, many = (
        extractor(some, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features for some in (clips[:1], clips)
    )
    groups = load_classical(DEFAULT_BASELINE).config["feature_groups"]
    stages = {
        "decode FLAC, 16 kHz": lambda: load_audio(flac),
        "decode WAV, 48 kHz": lambda: load_audio(wav, 48_000),
        "decode WAV, 48 kHz, and resample": lambda: load_audio(wav),
        "check for speech and quality": lambda: (check_speech(recording), quality_doubts(recording)),
        "spectrogram of the model": lambda: extractor(clips[:1], sampling_rate=SAMPLE_RATE, return_tensors="pt"),
        "engineered features of the SVM": lambda: extract(recording.samples, groups),
    }
    sizes = {}
    for precision, neural in models.items():
        for batch in (one, many):
            name = f"model, {precision}, {_clips(len(batch))}"
            stages[name] = lambda neural=neural, batch=batch: neural.model(batch)
            sizes[name] = precision, len(batch)
    taken = alternate(stages, settings.rounds)
    rates = matrix_rates(models, settings.rounds, 256 if settings.tiny else MATRIX)
    operations = operations_of(models["float32"], one)
    rows: list[list[str | float | None]] = []
    for name, seconds in medians(taken).items():
        precision, size = sizes.get(name, (None, 1))
        floor = operations / rates[precision] if precision else None
        rows.append([name, 1000 * seconds / size, floor and 1000 * floor, floor and seconds / size / floor])
    return Table(
        f"Stage by stage, {settings.threads} {'thread' if settings.threads == 1 else 'threads'}",
        f"The floor is the model's {operations / 1e9:.2f} GFLOP a clip over the rate of this machine's matrix products "
        f"({MATRIX} x {MATRIX}, measured in the same process: "
        f"{', '.join(f'{rate / 1e9:.0f} GFLOP/s in {name}' for name, rate in rates.items())}). The model hears "
        f"{extractor.chunk_length} s whatever the clip's length, as it was trained to.",
        ["stage", "ms a clip", "floor, ms", "times the floor"],
        rows,
        taken,
    )


def operations_of(neural: NeuralModel, inputs: torch.Tensor) -> int:
    """Floating-point operations of one forward pass, additions and multiplications counted apart."""
    # Attention in steps: the counter knows matrix products, and not the processor's fused kernel.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        neural.model(inputs)
    return counter.get_total_flops()


def _clips(count: int) -> str:
    return "one clip" if count == 1 else f"a batch of {count}"


if __name__ == "__main__":
    sys.exit(main(measure))
