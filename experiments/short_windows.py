"""Compare predictions in the model's whole window with those in a window that ends at the next half second.

Example:

    python -m experiments.short_windows --model models/ser-whisper --corpus savee --output reports/short-windows.md
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ser_hf import load_corpus
from ser_hf.audio import SAMPLE_RATE, load_audio, trim_silence
from ser_hf.command_line import CommandParser
from ser_hf.files import write_text
from ser_hf.models.neural import load_neural
from ser_hf.models.states import FRAMES_PER_SECOND, lower_states

TEXT = """\
# Windows as long as the voice

`{model}` on the {n} clips of {corpus} that fit its window of {window:g} s, one at a time, on one core: padded to the
whole window, as the stock pipeline does, and to the next half second alone.

| window | accuracy | ms per clip |
| --- | ---: | ---: |
| whole | {whole:.1f} | {whole_ms:.1f} |
| as long as the voice | {short:.1f} | {short_ms:.1f} |

{changed:.1f} % of the labels differ. A probability differs by {median:.3f} in the median, and by more than 0.02 in
{moved:.1f} % of the clips; by {largest:.2f} at most.
"""


@torch.inference_mode()
def predict(neural, samples: np.ndarray, seconds: float) -> np.ndarray:
    """Probabilities of one clip in a window of some seconds."""
    features = neural.feature_extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_features"]
    model = neural.model
    states = lower_states(
        model, model.config.num_hidden_layers, features[:, :, : round(seconds * FRAMES_PER_SECOND)].contiguous()
    )
    logits = model.classifier(model.projector(model.encoder.layer_norm(states)).mean(dim=1))
    return torch.softmax(logits[0], dim=-1).numpy()


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.short_windows", doc=__doc__)
    parser.add_argument("--model", default="models/ser-whisper", help="model folder of a network")
    parser.add_argument("--corpus", default="savee", help="corpus whose clips are predicted")
    parser.add_argument("--data_dir", help="where the corpora are (default: SER_HF_DATA, else data)")
    parser.add_argument("--output", type=Path, default=Path("reports/short-windows.md"), help="the report")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison and write the report; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    neural = load_neural(arguments.model)
    table = load_corpus(arguments.corpus, arguments.data_dir)
    clips = [trim_silence(load_audio(audio)) for audio in table["audio"]]
    fits = np.array([len(clip) <= neural.window_seconds * SAMPLE_RATE for clip in clips])
    labels = np.array(table["emotion"])[fits]
    rows, seconds = {}, {}
    for short in (False, True):
        started = time.perf_counter()
        rows[short] = np.stack(
            [
                predict(neural, clip, np.ceil(2 * len(clip) / SAMPLE_RATE) / 2 if short else neural.window_seconds)
                for clip, fit in zip(clips, fits, strict=True)
                if fit
            ]
        )
        seconds[short] = time.perf_counter() - started
    moved = np.abs(rows[True] - rows[False]).max(axis=1)
    text = TEXT.format(
        model=arguments.model,
        corpus=arguments.corpus,
        n=len(labels),
        window=neural.window_seconds,
        whole=100 * (rows[False].argmax(axis=1) == labels).mean(),
        short=100 * (rows[True].argmax(axis=1) == labels).mean(),
        whole_ms=1000 * seconds[False] / len(labels),
        short_ms=1000 * seconds[True] / len(labels),
        changed=100 * (rows[True].argmax(axis=1) != rows[False].argmax(axis=1)).mean(),
        median=np.median(moved),
        moved=100 * (moved > 0.02).mean(),
        largest=moved.max(),
    )
    write_text(arguments.output, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
