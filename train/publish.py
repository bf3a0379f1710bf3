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
from pathlib import Path

from huggingface_hub import HfApi

from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.hub import HubError, files_below, log_in, push_folder
from ser_hf.hub.card import write_card
from ser_hf.hub.evidence import add_evaluation
from ser_hf.models.onnx_model import export_onnx
from train.common import names_of, require
from train.publishing.dataset import build_dataset
from train.publishing.model import MODEL_LEFTOVERS, check_model, copy_model
from train.publishing.space import build_space

SPACE_LEFTOVERS = ("app/*", "ser_hf/*", "*.py", "requirements.txt")
DATASET_LEFTOVERS = ("data/*",)


@dataclass(frozen=True)
class Publication:
    """What one repository is to hold: the files of ``folder``, in place of those that ``replaced`` matches."""

    repo_type: str
    repo_id: str
    folder: Path
    replaced: tuple[str, ...]


@prints_errors(HubError)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 0, 1 if the Hub did not accept it, 2 if a check failed."""
    run(build_parser().parse_args(argv))


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m train.publish", doc=__doc__)
    add = parser.add_argument
    add("--model", type=Path, metavar="DIR", help="model folder, such as models/ser-whisper")
    add("--repo", metavar="USER/NAME", help="repository of the model")
    add("--baseline", type=Path, metavar="DIR", help="model folder of the baseline")
    add("--baseline_repo", metavar="USER/NAME", help="its repository (default: that of --repo + '-baseline')")
    add("--space", metavar="USER/NAME", help="Space that shows both models on a page")
    add("--dataset", metavar="USER/NAME", help="dataset repository of the clips' labels and folds, no audio")
    add("--corpora", default="ravdess", metavar="NAMES", help="corpora of the dataset, separated by commas")
    add("--data_dir", metavar="DIR", help="folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)")
    runs_help = "more runs for the model's card (default: only those in the model folder)"
    add("--runs", type=Path, nargs="+", default=[], metavar="RUN", help=runs_help)
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
    """Refuse what cannot be carried out, fill in the baseline's repository, and make the folder of --output."""
    model, baseline = arguments.model, arguments.baseline
    require(model or arguments.dataset, "nothing to publish: name a model folder with --model, or use --dataset")
    require(bool(model) == bool(arguments.repo), "--model DIR and --repo USER/NAME go together")
    require(model or not baseline, "--baseline goes with --model; to publish it alone, name it with --model")
    require(baseline or not arguments.space, "the Space shows the model beside its baseline: name it with --baseline")
    for folder in filter(None, (model, baseline)):
        require((folder / "config.json").is_file(), f"{folder} is no model folder: it holds no config.json")
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
    if baseline and not arguments.baseline_repo:
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
    if dataset_id:
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
    copy_model(folder, staged)
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
    message, replaced = f"Publish {repo_id.split('/')[-1]}", publication.replaced
    result = push_folder(api, folder, repo_id, message, kind, private, create_pr, replaced)
    outcome = f"commit {result.commit[:7]}" if result.is_new else "holds the same files already, nothing sent"
    print(f"{kind} {repo_id}: {outcome}: {result.url}", flush=True)
    return result.commit


if __name__ == "__main__":
    sys.exit(main())
