"""Publish a model, its baseline, the Space and the table of clips on the Hugging Face Hub.

Examples:

    python -m train.publish --model models/ser-whisper --repo USER/ser-whisper --dry_run
    python -m train.publish --model models/ser-whisper --repo USER/ser-whisper \\
        --baseline models/ser-svm --space USER/speech-emotion --dataset USER/ravdess-folds

One commit each. The token is that of `hf auth login` or of HF_TOKEN. Exit status: 0 if everything was published, 1 if
the Hub did not accept it (run the command again to resume), 2 if a check failed and nothing was sent.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi

from ser_hf.command_line import CommandParser
from ser_hf.corpora import CorpusError
from ser_hf.hub import HubError, files_below, log_in, push_folder
from ser_hf.hub.card import write_card
from ser_hf.hub.evidence import CardError, add_evaluation
from ser_hf.models import ModelError
from ser_hf.models.familiarity import FILE as FAMILIARITY
from ser_hf.models.onnx_model import ONNX_FILE, export_onnx
from train.common import names_of
from train.publishing.checks import MODEL_CODE, CheckError, check_model
from train.publishing.dataset import build_dataset
from train.publishing.space import SpaceError, build_space

# What is published of a model folder; anything else in it (checkpoints, optimiser states, pickles) is not.
MODEL_FILES = (
    *("config.json", "preprocessor_config.json", "model.safetensors", "model-*-of-*.safetensors"),
    *("model.safetensors.index.json", FAMILIARITY, ONNX_FILE, "pipeline.skops", "metrics.json"),
    *("example.flac", "example.json", "README.md"),
    *("evaluation/*/run.json", "evaluation/*/predictions.parquet", "evaluation/*/*.png"),
    *MODEL_CODE,
)
# What is deleted from a repository where an earlier publication, or another program, left it.
MODEL_LEFTOVERS = (
    *MODEL_FILES,
    *("model.onnx", "cnn.py", "lstm.py"),  # names of earlier versions
    *("training_args.bin", "pytorch_model*.bin", "optimizer.pt", "scheduler.pt", "rng_state*.pth", "checkpoint-*/*"),
)
SPACE_LEFTOVERS = ("app/*", "ser_hf/*", "*.py", "requirements.txt")
DATASET_LEFTOVERS = ("data/*",)


class PublishError(ValueError):
    """Arguments that do not fit together; the message says which and what to do."""


@dataclass(frozen=True)
class Publication:
    """What one repository is to hold: the files of ``folder``, in place of those that ``replaced`` matches."""

    repo_type: str
    repo_id: str
    folder: Path
    replaced: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 if the Hub did not accept it, 2 if a check failed."""
    arguments = build_parser().parse_args(argv)
    try:
        run(arguments)
    except (PublishError, CheckError, CardError, SpaceError, CorpusError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HubError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m train.publish", doc=__doc__)
    add = parser.add_argument
    add("--model", type=Path, metavar="DIR", help="model folder, such as models/ser-whisper")
    add("--repo", metavar="USER/NAME", help="repository of the model")
    add("--baseline", type=Path, metavar="DIR", help="model folder of the baseline")
    add(
        "--baseline_repo",
        metavar="USER/NAME",
        help="repository of the baseline (default: that of --repo + '-baseline')",
    )
    add("--space", metavar="USER/NAME", help="Space that shows both models on a page")
    add("--dataset", metavar="USER/NAME", help="dataset repository of the clips' labels and folds, no audio")
    add("--corpora", default="ravdess", metavar="NAMES", help="corpora of the dataset, separated by commas")
    add("--data_dir", metavar="DIR", help="folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)")
    add(
        "--runs",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="more runs for the model's card (default: only those in the model folder)",
    )
    add("--export_onnx", action="store_true", help="also publish the network as ONNX, for use without PyTorch")
    add("--private", action="store_true", help="make new repositories private")
    add("--create_pr", action="store_true", help="propose the commits as pull requests")
    add("--dry_run", action="store_true", help="check and list what would be sent, and send nothing")
    add("--output", type=Path, metavar="DIR", help="keep a copy of what is sent here, one folder per repository")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Check everything, then push one repository after the other; the Space is last: it names the models' commits."""
    check_arguments(arguments)
    names = [arguments.repo, arguments.baseline_repo, arguments.dataset, arguments.space]
    # Before the checks, which take longer than finding out that there is no token.
    api = None if arguments.dry_run else log_in([name for name in names if name], create_pr=arguments.create_pr)
    with tempfile.TemporaryDirectory(prefix="ser_hf-publish-") as folder:
        stage, commits = Path(folder), {}
        for publication in stage_all(arguments, stage):
            commits[publication.repo_id] = send(api, publication, arguments.private, arguments.create_pr)
        if arguments.space:
            model, baseline = (
                f"{repo_id}@{commits[repo_id]}" if commits[repo_id] else repo_id
                for repo_id in (arguments.repo, arguments.baseline_repo)
            )
            space = build_space(stage / "space", arguments.space, model, baseline)
            publication = Publication("space", arguments.space, space, SPACE_LEFTOVERS)
            send(api, publication, arguments.private, arguments.create_pr)
            if arguments.private:
                print("The models are private: give the Space a secret HF_TOKEN that may read them (Settings, Secrets)")
        if arguments.output:
            shutil.copytree(stage, arguments.output, dirs_exist_ok=True)
            print(f"What {'would be' if arguments.dry_run else 'was'} sent is in {arguments.output}")


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be carried out, and fill in the baseline's repository."""
    if not (arguments.model or arguments.dataset):
        raise PublishError("nothing to publish: name a model folder with --model, or a dataset with --dataset")
    if bool(arguments.model) != bool(arguments.repo):
        raise PublishError("--model DIR and --repo USER/NAME go together")
    if arguments.baseline and not arguments.model:
        raise PublishError("--baseline goes with --model; to publish it alone, name it with --model")
    if arguments.space and not arguments.baseline:
        raise PublishError("the Space shows the model beside its baseline: name that with --baseline DIR")
    for folder in filter(None, (arguments.model, arguments.baseline)):
        if not (folder / "config.json").is_file():
            raise PublishError(f"{folder} is no model folder: it holds no config.json")
    if arguments.output:
        try:
            arguments.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PublishError(f"--output {arguments.output}: cannot make this folder: {error}") from None
    if arguments.baseline and not arguments.baseline_repo:
        arguments.baseline_repo = f"{arguments.repo}-baseline"


def stage_all(arguments: argparse.Namespace, stage: Path) -> list[Publication]:
    """Check what is sent and copy it below ``stage``, except for the Space, which needs the others' commits."""
    publications = []
    dataset_id, baseline_id = arguments.dataset, arguments.baseline_repo
    if arguments.model:
        links = {"baseline_id": baseline_id, "dataset_id": dataset_id, "onnx": arguments.export_onnx}
        publications.append(stage_model(arguments.model, stage / "model", arguments.repo, arguments.runs, **links))
    if arguments.baseline:
        publications.append(stage_model(arguments.baseline, stage / "baseline", baseline_id, dataset_id=dataset_id))
    if arguments.dataset:
        folder = build_dataset(stage / "dataset", names_of(arguments.corpora), arguments.data_dir, dataset_id)
        publications.append(Publication("dataset", dataset_id, folder, DATASET_LEFTOVERS))
    return publications


def stage_model(
    folder: Path,
    staged: Path,
    repo_id: str,
    runs: Sequence[Path] = (),
    baseline_id: str | None = None,
    dataset_id: str | None = None,
    onnx: bool = False,
) -> Publication:
    """Copy what a model's repository is to hold into ``staged``, check it as it will be downloaded, and write its card.

    Raises:
        CheckError, CardError: it must not be published (see `check_model`).
    """
    print(f"Checking {folder}", flush=True)
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in MODEL_FILES):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staged / name)
        else:
            print(f"  {name} is not part of a published model and is not sent")
    for run_folder in runs:
        add_evaluation(staged, run_folder)
    if onnx:
        export_onnx(staged)
    check_model(staged)
    write_card(staged, repo_id.split("/")[-1], hub_id=repo_id, baseline_id=baseline_id, dataset_id=dataset_id)
    return Publication("model", repo_id, staged, MODEL_LEFTOVERS)


def publish_model(api: HfApi, folder: Path, repo_id: str, private: bool = False) -> None:
    """Check a model folder and push it alone, as ``--model`` and ``--repo`` do."""
    with tempfile.TemporaryDirectory(prefix="ser_hf-publish-") as stage:
        send(api, stage_model(folder, Path(stage), repo_id), private)


def send(api: HfApi | None, publication: Publication, private: bool = False, create_pr: bool = False) -> str | None:
    """Push one repository and return its commit; without ``api``, list the files that would be sent."""
    kind, repo_id, folder = publication.repo_type, publication.repo_id, publication.folder
    if api is None:
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files_below(folder)}
        print(f"{kind} {repo_id}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
        for name, size in sizes.items():
            print(f"  {size:>12,}  {name}")
        return None
    result = push_folder(
        api,
        folder,
        repo_id,
        message=f"Publish {repo_id.split('/')[-1]}",
        repo_type=kind,
        private=private,
        create_pr=create_pr,
        replaced=publication.replaced,
    )
    outcome = f"commit {result.commit[:7]}" if result.is_new else "holds the same files already, nothing sent"
    print(f"{kind} {repo_id}: {outcome}: {result.url}", flush=True)
    return result.commit


if __name__ == "__main__":
    sys.exit(main())
