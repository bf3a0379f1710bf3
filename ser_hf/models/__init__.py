"""Models: classical scikit-learn pipelines, and neural checkpoints of the stock ``transformers`` architectures."""

from ser_hf.errors import SerHfError


class ModelError(SerHfError):
    """A model folder or Hub id that cannot be used; the message says why and what to do."""


def output_labels(id2label: dict[int, str], label2id: dict[str, int], source: object) -> list[str]:
    """The label of each output of a neural model, as its ``config.json`` numbers them.

    Raises:
        ModelError: a label is not a word, occurs twice, or has two numbers.
    """
    labels = [id2label.get(index, "") for index in range(len(id2label))]
    if all(str(label).startswith("LABEL_") for label in labels):
        raise ModelError(f"{source} does not say what its outputs mean: 'id2label' in config.json has no words")
    if not all(isinstance(label, str) and label.strip() for label in labels) or len(set(labels)) < len(labels):
        raise ModelError(f"{source}: 'id2label' in config.json must number labels from 0, each a word of its own")
    if any(str(label2id.get(label, index)) != str(index) for index, label in enumerate(labels)):
        raise ModelError(f"{source}: 'id2label' and 'label2id' in config.json disagree on what its outputs mean")
    return labels
