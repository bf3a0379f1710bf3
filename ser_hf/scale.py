"""Bulk prediction on many cores or machines by Ray Data: what ``ser_hf.predict --engine ray`` runs.

One worker per core of the cluster holds the model and opens recordings by their names; recordings in parquet shards are
read on the machine of the command and sent to the workers. Rows come back in order. Ray restarts workers that die, and
repeats their batches. Needs ray: ``requirements-scale.txt``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from ser_hf.errors import SerHfError
from ser_hf.rows import Row, predict_rows
from ser_hf.utils.threads import VARIABLES, available_cores

BATCH_ROWS = 16  # recordings that a worker takes at a time, and that are repeated when it dies
RETRIES = 3  # of a batch; Ray's default is to repeat it for ever


class ScaleError(SerHfError):
    """There is no cluster, or no worker that can load the model; the message says why."""


def predict_on_ray(
    model: str | None, options: dict[str, Any], address: str | None, inputs: Sequence[Row], max_seconds: float | None
) -> Iterator[Row]:
    """As `ser_hf.rows.predict_rows`, by the workers of a cluster that this machine belongs to.

    Args:
        model, options: of `EmotionClassifier.from_pretrained`; every machine must find the model by that name.
        address: "auto" or HOST:PORT; None starts Ray on this machine.

    Raises:
        ScaleError: there is no cluster, or workers cannot load the model.
    """
    import ray.data

    # Ray prints the deaths of workers to standard output, where rows go.
    with contextlib.redirect_stdout(sys.stderr), _connected(address):
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.max_errored_blocks = -1  # a recording that kills every worker does not stop the rest
        context.enable_progress_bars = False
        n_blocks = max(1, -(-len(inputs) // BATCH_ROWS))  # Ray hands out, and repeats, blocks
        items = [{"index": index, "item": pickle.dumps(item)} for index, item in enumerate(inputs)]
        dataset = ray.data.from_items(items, override_num_blocks=n_blocks)
        if any("shard" in item for item in inputs):
            here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
            one = ray.data.TaskPoolStrategy(size=1)  # with no core of its own: they all belong to the workers
            dataset = dataset.map_batches(read_shards, batch_size=None, compute=one, num_cpus=0, label_selector=here)
        workers = min(int(ray.cluster_resources().get("CPU", 1)), n_blocks)
        # One batch at a time: one that kills its worker would take those with it that wait there.
        pool = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1)
        given = (model, options, max_seconds, os.getcwd())
        ours: dict[str, Any] = {"compute": pool, "num_cpus": 1, "batch_size": None, "max_task_retries": RETRIES}
        done = 0
        try:
            for found in dataset.map_batches(Worker, fn_constructor_args=given, **ours).iter_rows():
                yield from map(_lost, inputs[done : found["index"]])
                yield json.loads(found["row"])
                done = found["index"] + 1
        except ray.exceptions.RayError as error:
            raise ScaleError(f"the workers cannot go on: {_last_line(error)}") from error
        yield from map(_lost, inputs[done:])


class Worker:
    """A process that holds the model and predicts batches on one core; names start from ``folder``."""

    def __init__(self, model: str | None, options: dict[str, Any], max_seconds: float | None, folder: str) -> None:
        with contextlib.suppress(OSError):  # not on this machine
            os.chdir(folder)
        from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier

        self._classifier = EmotionClassifier.from_pretrained(model or DEFAULT_MODEL, **options)
        self._max_seconds = max_seconds

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Columns ``index`` and ``item`` become ``index`` and ``row``, which is JSON."""
        rows = predict_rows(self._classifier, [pickle.loads(item) for item in batch["item"]], self._max_seconds)
        return {"index": batch["index"], "row": [json.dumps(row) for row in rows]}


def read_shards(batch: dict[str, Any]) -> dict[str, Any]:
    """Give recordings that lie in shards their ``audio``, or an ``error``."""
    items = [pickle.loads(item) for item in batch["item"]]
    for item in (item for item in items if "shard" in item):
        try:
            audio = _row_group(item["shard"], item["group"])[item["row"]].as_py() or {}
            if audio.get("bytes") is None and not audio.get("path"):
                raise ValueError("this row of the shard holds neither bytes nor a path")
            item["audio"] = audio["path"] if audio["bytes"] is None else audio | {"path": item["file"]}
        except (OSError, ValueError, IndexError) as error:
            item["error"] = f"{item['file']}: cannot be read: {error}"
    return {"index": batch["index"], "item": [pickle.dumps(item) for item in items]}


@lru_cache(maxsize=1)  # batches come in order, and a group may take much memory
def _row_group(shard: str, group: int) -> Any:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(shard) as file:
        return file.read_row_group(group, columns=["audio"])["audio"]


def _lost(item: Row) -> Row:
    return {"file": item["file"], "error": f"{item['file']}: not predicted: its worker died (out of memory, perhaps)"}


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Be connected to the cluster at an address, or to one that is started on this machine and ended."""
    # Workers on this machine inherit it; elsewhere, Ray gives a worker of one core one thread.
    os.environ.update(
        dict.fromkeys(VARIABLES, "1") | {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_USAGE_STATS_ENABLED": "0"}
    )
    import ray

    if ray.is_initialized():
        yield
        return
    ours = {"num_cpus": available_cores(), "include_dashboard": False} if address is None else {}
    try:
        if address not in (None, "auto"):
            host, _, port = str(address).rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()  # Ray itself would wait for minutes
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **ours)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:  # Ray takes any of these for its refusals
        where = f"--ray_address {address}: no Ray cluster there" if address else "Ray cannot be started"
        raise ScaleError(f"{where} ({_last_line(error)}); ray start --help has how to begin or join one") from error
    try:
        yield
    finally:
        ray.shutdown()


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]  # before it, Ray puts whole tracebacks
