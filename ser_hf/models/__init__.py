"""Models: classical scikit-learn pipelines, and neural checkpoints of the stock ``transformers`` architectures."""


class ModelError(ValueError):
    """A model folder or Hub id that cannot be used as it is; the message says why and what to do."""
