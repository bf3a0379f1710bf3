"""Write the embeddings of recordings: what the head of the network sees, for search, clustering or one's own model.

Examples:

    python -m ser_hf.embed recordings/ --output embeddings.parquet

The Parquet file has a row per recording, in their order, with the columns file and embedding (a list of float32).
Recordings that cannot be used are reported and left out. Exit status: 0, 1 if any was left out, 2 on wrong usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.predict import find_recordings
from ser_hf.utils.files import AUDIO_SUFFIXES, replacing
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
    files = [row["file"] for row in find_recordings(arguments.inputs, AUDIO_SUFFIXES) if "error" not in row]
    failed = 0
    schema = pyarrow.schema({"file": pyarrow.string(), "embedding": pyarrow.list_(pyarrow.float32())})
    with replacing(arguments.output) as part, pyarrow.parquet.ParquetWriter(part, schema) as writer:
        for file in tqdm(files, unit="clip", disable=not sys.stderr.isatty()):
            try:
                (embedding,) = classifier.embed([read_audio(file)])
            except AudioError as error:
                print(error, file=sys.stderr)
                failed += 1
                continue
            writer.write_table(pyarrow.table({"file": [file], "embedding": [embedding.tolist()]}, schema=schema))
    print(f"{len(files) - failed} embeddings written to {arguments.output}", file=sys.stderr)
    return 1 if failed or not files else 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m ser_hf.embed", doc=__doc__)
    option = parser.add_argument
    option("inputs", nargs="+", metavar="FILE|FOLDER", help="recordings; folders are searched with all subfolders")
    option("--output", metavar="F", required=True, help="Parquet file to write")
    option("--model", metavar="DIR|HUB_ID", help="network: model folder or Hub id (default: ser-whisper)")
    option("--runtime", choices=("torch", "onnx"), help="what runs the network (default: torch where it is installed)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
