"""Put a model, its baseline, the page and the table of clips on the Hugging Face Hub.

Examples:

    python -m train.publish --model models/ser-whisper --repo USER/ser-whisper --dry_run
    python -m train.publish --model models/ser-whisper --repo USER/ser-whisper \\
        --baseline models/ser-svm --space USER/speech-emotion --dataset USER/ravdess-folds

One commit each. The token is that of `hf auth login` or of HF_TOKEN. Exit status: 0 if all is there, 1 if the Hub did
not take it (run it again: it goes on), 2 if it must not be sent.
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

from ser_hf.card import write_card
from ser_hf.command_line import CommandParser
from ser_hf.corpora import CorpusError
from ser_hf.evidence import CardError, add_evaluation
from ser_hf.hub import HubError, Pushed, log_in, push_folder
from ser_hf.models import ModelError
from ser_hf.models.familiarity import FILE as FAMILIARITY
from ser_hf.models.onnx_model import ONNX_FILE, export_onnx
from train.common import names_of
from train.publishing.checks import MODEL_CODE, CheckError, check_model
from train.publishing.dataset import build_dataset
from train.publishing.space import SpaceError, build_space

# What a model folder may hold; whatever else lies there (checkpoints, optimiser states, pickles) stays at home.
MODEL_FILES = (
    *("config.json", "preprocessor_config.json", "model.safetensors", "model-*-of-*.safetensors"),
    *("model.safetensors.index.json", FAMILIARITY, ONNX_FILE, "pipeline.skops", "metrics.json"),
    *("example.flac", "example.json", "README.md"),
    *("evaluation/*/run.json", "evaluation/*/predictions.parquet", "evaluation/*/*.png"),
    *MODEL_CODE,
)
# What an earlier publication, or another program, left in a repository and the model no longer has.
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
    """Run the command; returns the exit status: 0, 1 if the Hub did not take it, 2 when it must not be sent."""
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
    parser.add_argument("--model", type=Path, metavar="DIR", help="model folder, such as models/ser-whisper")
    parser.add_argument("--repo", metavar="USER/NAME", help="repository of the model")
    parser.add_argument("--baseline", type=Path, metavar="DIR", help="model folder of the baseline")
    parser.add_argument(
        "--baseline_repo",
        metavar="USER/NAME",
        help="its repository (default: that of the model with '-baseline' behind it)",
    )
    parser.add_argument("--space", metavar="USER/NAME", help="Space that serves both on a page")
    parser.add_argument(
        "--dataset", metavar="USER/NAME", help="dataset repository of the clips' labels and folds, no audio"
    )
    parser.add_argument(
        "--corpora", default="ravdess", metavar="NAMES", help="corpora of the dataset, separated by commas"
    )
    parser.add_argument(
        "--data_dir", metavar="DIR", help="folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="runs whose figures the model's card gets besides (default: those that lie in the model's folder)",
    )
    parser.add_argument(
        "--export_onnx", action="store_true", help="publish the network as ONNX besides, for who has no torch"
    )
    parser.add_argument("--private", action="store_true", help="hide repositories that are created")
    parser.add_argument("--create_pr", action="store_true", help="propose the commits as pull requests")
    parser.add_argument("--dry_run", action="store_true", help="check and show what would be sent, and send nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep a copy of what is sent here, a folder each")
    return parser


def run(arguments: argparse.Namespace) -> list[Pushed]:
    """Check everything, then push one repository after the other; the Space comes last, because it needs the others."""
    check_arguments(arguments)
    names = [arguments.repo, arguments.baseline_repo, arguments.dataset, arguments.space]
    # Before the checks, which take longer than to find that there is no token.
    api = None if arguments.dry_run else log_in([name for name in names if name], create_pr=arguments.create_pr)
    with tempfile.TemporaryDirectory(prefix="ser_hf-publish-") as stage:
        publications = stage_all(arguments, Path(stage))
        if api is not None:
            pushed = push_all(api, arguments, publications, Path(stage))
        else:
            pushed = []
            if arguments.space:
                publications.append(stage_space(arguments, Path(stage), {}))
            for publication in publications:
                show(publication)
        if arguments.output:
            shutil.copytree(stage, arguments.output, dirs_exist_ok=True)
            print(f"What {'would be' if arguments.dry_run else 'was'} sent lies in {arguments.output}")
    return pushed


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be carried out, and fill in the baseline's repository."""
    if not (arguments.model or arguments.dataset):
        raise PublishError(
            "nothing to publish: name a model folder with --model, or a dataset repository with --dataset"
        )
    if bool(arguments.model) != bool(arguments.repo):
        raise PublishError("--model DIR and --repo USER/NAME go together")
    if arguments.baseline and not arguments.model:
        raise PublishError("--baseline goes with --model; to publish it alone, name it with --model")
    if arguments.space and not arguments.baseline:
        raise PublishError("the Space shows the model beside its baseline: name that with --baseline DIR")
    if arguments.output:
        try:
            arguments.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PublishError(f"--output {arguments.output}: no folder can be made there: {error}") from None
    for folder in (arguments.model, arguments.baseline):
        if folder and not (folder / "config.json").is_file():
            raise PublishError(f"{folder} is no model folder: it holds no config.json")
    if arguments.baseline and not arguments.baseline_repo:
        arguments.baseline_repo = f"{arguments.repo}-baseline"


def stage_all(arguments: argparse.Namespace, stage: Path) -> list[Publication]:
    """Check and lay out what is sent, but for the Space, which names the commits of the others."""
    publications = []
    if arguments.model:
        links = {"dataset_id": arguments.dataset}
        print(f"Checking {arguments.model}", flush=True)
        publications.append(
            stage_model(
                arguments.model,
                stage / "model",
                arguments.repo,
                arguments.runs,
                baseline_id=arguments.baseline_repo,
                onnx=arguments.export_onnx,
                **links,
            )
        )
        if arguments.baseline:
            print(f"Checking {arguments.baseline}", flush=True)
            publications.append(stage_model(arguments.baseline, stage / "baseline", arguments.baseline_repo, **links))
    if arguments.dataset:
        folder = build_dataset(
            stage / "dataset",
            names_of(arguments.corpora),
            arguments.data_dir,
            arguments.dataset,
        )
        publications.append(Publication("dataset", arguments.dataset, folder, DATASET_LEFTOVERS))
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
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in MODEL_FILES):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staged / name)
        else:
            print(f"  {name} is not part of a published model and stays here")
    for run_folder in runs:
        add_evaluation(staged, run_folder)
    if onnx:
        export_onnx(staged)
    check_model(staged)
    write_card(staged, repo_id.split("/")[-1], hub_id=repo_id, baseline_id=baseline_id, dataset_id=dataset_id)
    return Publication("model", repo_id, staged, MODEL_LEFTOVERS)


def publish_model(api: HfApi, folder: Path, repo_id: str, private: bool = False) -> Pushed:
    """Check a model folder and push it alone, as ``--model`` and ``--repo`` do."""
    with tempfile.TemporaryDirectory(prefix="ser_hf-publish-") as stage:
        return push(api, stage_model(folder, Path(stage), repo_id), private)


def stage_space(arguments: argparse.Namespace, stage: Path, commits: dict[str, str]) -> Publication:
    """Lay out the Space, which shows the model and the baseline of these commits."""
    model, baseline = (
        f"{repo}@{commits[repo]}" if repo in commits else repo for repo in (arguments.repo, arguments.baseline_repo)
    )
    folder = build_space(stage / "space", arguments.space, model, baseline)
    return Publication("space", arguments.space, folder, SPACE_LEFTOVERS)


def push_all(api: HfApi, arguments: argparse.Namespace, publications: list[Publication], stage: Path) -> list[Pushed]:
    """Push what was laid out and, once the models' commits are known, the Space."""
    pushed = {
        publication.repo_id: push(api, publication, arguments.private, arguments.create_pr)
        for publication in publications
    }
    if arguments.space:
        commits = {repo_id: result.commit for repo_id, result in pushed.items()}
        space = stage_space(arguments, stage, commits)
        pushed[arguments.space] = push(api, space, arguments.private, arguments.create_pr)
        if arguments.private:
            print("The models are private: give the Space a secret HF_TOKEN that may read them (Settings, Secrets)")
    return list(pushed.values())


def push(api: HfApi, publication: Publication, private: bool = False, create_pr: bool = False) -> Pushed:
    """Push one repository and say what came of it."""
    result = push_folder(
        api,
        publication.folder,
        publication.repo_id,
        message=f"Publish {publication.repo_id.split('/')[-1]}",
        repo_type=publication.repo_type,
        private=private,
        create_pr=create_pr,
        replaced=publication.replaced,
    )
    words = f"commit {result.commit[:7]}" if result.is_new else "holds the same files already, nothing sent"
    print(f"{publication.repo_type} {publication.repo_id}: {words}: {result.url}", flush=True)
    return result


def show(publication: Publication) -> None:
    """Print the files of one repository with their sizes."""
    paths = sorted(path for path in publication.folder.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in paths)
    print(f"{publication.repo_type} {publication.repo_id}: {len(paths)} files, {total / 1e6:.1f} MB")
    for path in paths:
        print(f"  {path.stat().st_size:>12,}  {path.relative_to(publication.folder).as_posix()}")


if __name__ == "__main__":
    sys.exit(main())
