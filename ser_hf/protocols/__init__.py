"""The protocols by which models are tested: the one table that folds, reports, cards and the page read."""

from __future__ import annotations

from dataclasses import dataclass

from ser_hf.errors import SerHfError


class SplitError(SerHfError):
    """A protocol that cannot be applied to a table; the message says what is missing or unknown."""


@dataclass(frozen=True)
class Protocol:
    """What is known of a protocol beside its folds (`ser_hf.protocols.folds.make_folds`).

    Attributes:
        title: what its results are called beside the name of a corpus.
        description: how it tests, to follow a colon.
        speaker_independent: no speaker is in training and test.
        n_folds: number of its folds on RAVDESS; 0 where it depends on the corpora.
        divides: its folds divide the clips of a corpus, so that other corpora may be added to every training part.
        is_stored: its folds are stored, as columns of a clip table or as a JSON file.
        has_validation: its training parts hold out validation clips.
    """

    title: str
    description: str
    speaker_independent: bool = True
    n_folds: int = 0
    divides: bool = True
    is_stored: bool = True
    has_validation: bool = True


# In the order in which results are shown.
PROTOCOLS = {
    "actor": Protocol(
        "actor-disjoint folds",
        "five actor-disjoint folds (Luna-Jimenez et al. 2022): no actor is in training and test",
        n_folds=5,
    ),
    "emobox": Protocol(
        "actor-disjoint folds of EmoBox",
        "six actor-disjoint folds of EmoBox (arXiv 2406.07162): no actor is in training and test",
        n_folds=6,
    ),
    "loao": Protocol("leave one actor out", "leave one actor out: each is tested alone", n_folds=24),
    "loco": Protocol(
        "leave one corpus out",
        "leave one corpus out: each is tested whole by a model that was not trained on it",
        divides=False,
        is_stored=False,
        has_validation=False,
    ),
    "cross": Protocol(
        "whole corpus",
        "whole corpora that the model was not trained on: other speakers, sentences and microphones",
        divides=False,
        is_stored=False,
    ),
    "develop": Protocol(
        "development speakers",
        "some speakers of the training parts of protocol `actor`, to choose a recipe by",
        is_stored=False,
    ),
    "random": Protocol(
        "random split over clips (speaker-dependent, only for comparison)",
        "a stratified split over clips (speaker-dependent): the same speakers are in training and test; to be compared "
        "with published figures of random splits only",
        speaker_independent=False,
        n_folds=5,
    ),
    "group": Protocol(
        "speaker-disjoint folds",
        "cross-validation with speakers apart, stratified by label: no speaker is in training and test",
        is_stored=False,
    ),
    "split": Protocol("the test split of the recordings", "the split that comes with the recordings", is_stored=False),
    "full": Protocol(
        "all clips", "all clips train, none is tested", divides=False, is_stored=False, has_validation=False
    ),
}
