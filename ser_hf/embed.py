"""Write the embeddings of recordings: what the head of the network sees, for search, clustering or one's own model.

Examples:

    python -m ser_hf.embed recordings/ --output embeddings.parquet

The Parquet file has a row per recording, in their order, with the columns file and embedding (a list of float32).
Recordings that cannot be used are reported and left out. Exit status: 0, 1 if any was left out, 2 on wrong usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.predict import INPUTS_HELP, find_recordings, report_left_out
from ser_hf.utils.files import replacing
from ser_hf.utils.threads import limit_threads

BATCH_SIZE = 64


@prints_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    limit_threads()
    import pyarrow
    import pyarrow.parquet
    from tqdm import tqdm

    from ser_hf.audio import AudioError, read_audio
    from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier

    classifier = EmotionClassifier.from_pretrained(arguments.model or DEFAULT_MODEL, runtime=arguments.runtime)
    left_out: list[str] = []
    inputs = list(find_recordings(arguments.inputs, left_out, Path(arguments.output).absolute()))
    failed = 0
    schema = pyarrow.schema({"file": pyarrow.string(), "embedding": pyarrow.list_(pyarrow.float32())})
    with replacing(arguments.output) as part, pyarrow.parquet.ParquetWriter(part, schema) as writer:
        for item in tqdm(inputs, unit="clip", disable=not sys.stderr.isatty()):
            try:
                if "error" in item:
                    raise AudioError(item["error"])
                (embedding,) = classifier.embed([read_audio(item.get("audio", item["file"]))])
            except AudioError as error:
                print(error, file=sys.stderr)
                failed += 1
                continue
            name = item["file"].encode("utf-8", "backslashreplace").decode()
            writer.write_table(pyarrow.table({"file": [name], "embedding": [embedding.tolist()]}, schema=schema))
    report_left_out(left_out)
    print(f"{len(inputs) - failed} embeddings written to {arguments.output}", file=sys.stderr)
    return 1 if failed else 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m ser_hf.embed", doc=__doc__)
    option = parser.add_argument
    option("inputs", nargs="+", metavar="FILE|FOLDER", help=INPUTS_HELP)
    option("--output", metavar="F", required=True, help="Parquet file to write")
    option("--model", metavar="DIR|HUB_ID", help="network: model folder or Hub id (default: ser-whisper)")
    option("--runtime", choices=("torch", "onnx"), help="what runs the network (default: torch where it is installed)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
