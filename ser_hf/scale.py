"""Bulk prediction on more than one process or machine, by Ray Data: what ``ser_hf.predict --engine ray`` runs.

Names of recordings go to workers, one for each core of the cluster, which hold the model and open the files themselves.
Recordings that lie in parquet shards are read on the machine of the command and sent to the workers, which then need no
folder in common. Answers come back in the order of the recordings. Needs ray: ``requirements-scale.txt``.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from ser_hf.cluster import ScaleError, last_line
from ser_hf.rows import Row, name_of
from ser_hf.shards import ShardReader
from ser_hf.threads import VARIABLES

# How often a batch is begun again after a worker died of it or beside it; then its recordings are heard one by one.
RETRIES = 3
# Batches that wait at a worker while it hears another: more of them would be begun again when it dies.
IN_FLIGHT = 2
NODE_ID = "ray.io/node-id"


def answer_on_ray(
    model: str | None,
    options: dict[str, Any],
    inputs: Sequence[str | Row],
    max_seconds: float,
    one_by_one: bool = False,
) -> Iterator[Row]:
    """One row an input, in order, as of `ser_hf.predict.answer`; `ser_hf.cluster.cluster` must be open.

    A batch whose worker dies is begun again by another, `RETRIES` times. Then its recordings are heard one by one, each
    in a process of its own; one that kills that, too, yields a row with an error.

    Args:
        model: folder or Hub id, by which every machine must find the same model; None is the default.
        options: of `EmotionClassifier.from_pretrained`.
        inputs: names of recordings, and rows of `ser_hf.shards.expand`.
        max_seconds: refuse longer recordings.
        one_by_one: do not wait for a batch to be full, which takes longer in all.

    Raises:
        ScaleError: workers cannot begin, such as where the model is not on their machine.
    """
    import ray
    import ray.data

    from ser_hf.classifier import BATCH_SIZE

    if not inputs:
        return
    size = 1 if one_by_one else BATCH_SIZE
    # One block a batch: it is what Ray hands out, and begins again.
    blocks = [_block(inputs, range(at, min(at + size, len(inputs)))) for at in range(0, len(inputs), size)]
    dataset = ray.data.from_arrow(blocks)
    each: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "max_task_retries": RETRIES}
    arguments = {"model": model, "options": options, "max_seconds": max_seconds, "folder": os.getcwd()}
    workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)), len(blocks)))
    with warnings.catch_warnings():
        # Ray 2.60 still takes max_task_retries, and has nothing else yet that bounds how often a batch is begun again.
        warnings.simplefilter("ignore")
        if any("shard" in item for item in inputs if isinstance(item, dict)):
            here = {NODE_ID: ray.get_runtime_context().get_node_id()}
            pool = ray.data.ActorPoolStrategy(size=1)
            # No core of its own, or it could wait for ever for the workers', who wait for it.
            dataset = dataset.map_batches(Reader, compute=pool, num_cpus=0, label_selector=here, **each)
        pool = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=IN_FLIGHT)
        dataset = dataset.map_batches(Worker, fn_constructor_kwargs=arguments, compute=pool, num_cpus=1, **each)
    done = 0
    try:
        # Nothing is fetched ahead: an answer would wait for the one after it.
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for index, row in zip(batch["index"].to_pylist(), batch["row"].to_pylist(), strict=True):
                yield from _one_by_one(inputs, range(done, index), arguments)
                yield json.loads(row)
                done = index + 1
    except ray.exceptions.RayError as error:
        raise ScaleError(f"the workers cannot go on: {last_line(error)}") from error
    yield from _one_by_one(inputs, range(done, len(inputs)), arguments)


class Worker:
    """A process that holds the model and answers batches on one core.

    Args:
        model, options, max_seconds: as of `answer_on_ray`.
        folder: what names of recordings start from, if it is on this machine.
    """

    def __init__(self, model: str | None, options: dict[str, Any], max_seconds: float, folder: str) -> None:
        os.environ.update(dict.fromkeys(VARIABLES, "1"))
        with contextlib.suppress(OSError):
            os.chdir(folder)
        from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier
        from ser_hf.predict import answer

        # Where the default is depends on the machine.
        self._classifier = EmotionClassifier.from_pretrained(model or DEFAULT_MODEL, **options)
        self._answer = answer
        self._max_seconds = max_seconds

    def __call__(self, batch: Any) -> Any:
        """Columns ``index``, ``item`` and ``bytes`` (`_block`) become ``index`` and ``row``, which is JSON."""
        import pyarrow

        items = [json.loads(item) for item in batch["item"].to_pylist()]
        for item, sound in zip(items, batch["bytes"].to_pylist(), strict=True):
            if sound is not None:
                item["audio"]["bytes"] = sound
        rows = [json.dumps(row) for row in self._answer(self._classifier, items, max_seconds=self._max_seconds)]
        return pyarrow.table({"index": batch["index"], "row": pyarrow.array(rows, pyarrow.string())})


class Reader:
    """A process on the machine of the command that fills the column ``bytes`` for recordings in parquet shards."""

    def __init__(self) -> None:
        self._shards = ShardReader()

    def __call__(self, batch: Any) -> Any:
        """The same columns; a recording that cannot be read becomes a row with an error."""
        read = [self._shards.read(json.loads(item)) for item in batch["item"].to_pylist()]
        return _table(batch["index"].to_pylist(), [item for item, _ in read], [sound for _, sound in read])


def _one_by_one(inputs: Sequence[str | Row], lost: range, arguments: dict[str, Any]) -> Iterator[Row]:
    """Answers to recordings whose batches were lost with their workers, each heard alone; all others go on."""
    import ray

    worker = None
    for index in lost:
        # No core of its own: they all belong to the workers.
        worker = worker or ray.remote(Worker).options(num_cpus=0).remote(**arguments)
        try:
            replies = ray.get(worker.__call__.remote(Reader()(_block(inputs, range(index, index + 1)))))
            yield json.loads(replies["row"][0].as_py())
        except ray.exceptions.RayTaskError as error:
            raise ScaleError(f"a worker cannot answer {name_of(inputs[index])}: {last_line(error)}") from error
        except ray.exceptions.RayError:
            worker = None
            name = name_of(inputs[index])
            yield {"file": name, "error": f"{name}: the worker that hears it dies (out of memory, perhaps)"}


def _block(inputs: Sequence[str | Row], places: range) -> Any:
    return _table(list(places), [inputs[place] for place in places], [None] * len(places))


def _table(places: list[int], items: list[str | Row], sounds: list[bytes | None]) -> Any:
    """What goes to workers: places in all inputs, inputs as JSON (a name may be no UTF-8), bytes of files or null."""
    import pyarrow

    texts = pyarrow.array([json.dumps(item) for item in items], pyarrow.string())
    return pyarrow.table({"index": places, "item": texts, "bytes": pyarrow.array(sounds, pyarrow.large_binary())})
