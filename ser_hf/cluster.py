"""The cluster of Ray, here or on several machines, that `ser_hf.scale` runs on."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from ser_hf.threads import VARIABLES, available_cores

REACH_SECONDS = 10.0
# Workers that may die one after the other while they load the model; where none can, it is not chance.
LOADING_DEATHS = 3


class ScaleError(RuntimeError):
    """No cluster, or no worker that can begin; the message says why."""


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Be connected to Ray: to the cluster at an address, or to one that lives in this machine's processes meanwhile.

    Where this process is connected to Ray already, it stays so.

    Args:
        address: "auto" for the cluster that this machine belongs to, or HOST:PORT; None starts one, on all cores that
            this process may use, and ends it.

    Raises:
        ScaleError: there is no such cluster, or none can be started.
    """
    # Deaths of workers, which are mended, and more are errors to Ray's C++ part, which writes them to the terminal.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    import ray._private.worker

    if ray.is_initialized():
        _set_up_data()
        yield
        return
    # It prints what it hears of dead workers to standard output, between the answers, and no setting stops it.
    ray._private.worker.listen_error_messages = lambda *arguments: None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        os.environ.update(dict.fromkeys(VARIABLES, "1"))  # workers inherit it
        quiet |= {"num_cpus": available_cores(), "include_dashboard": False}
    try:
        _check_reachable(address)
        with _silent():
            ray.init(address=address or "local", **quiet)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:  # Ray takes any of these for its refusals
        if address is None:
            raise ScaleError(f"Ray cannot be started on this machine: {last_line(error)}") from error
        if "Authentication" in str(error.__cause__):
            raise ScaleError(
                f"--ray_address {address}: the cluster asks for its token: set RAY_AUTH_MODE=token, or take "
                "--ray_address auto (ray get-auth-token tells whether this machine has one)"
            ) from error
        raise ScaleError(
            f"--ray_address {address}: there is no Ray cluster that this machine belongs to ({last_line(error)}): run "
            "ray start --head on one machine, and ray start --address HOST:PORT on the others, this one among them"
        ) from error
    try:
        _set_up_data()
        yield
    finally:
        ray.shutdown()


def _set_up_data() -> None:
    """What Ray Data is to do here: answers in order, lost batches left to `ser_hf.scale`, nothing on the terminal."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.max_errored_blocks = -1
    context.max_consecutive_actor_init_deaths = LOADING_DEATHS
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # not the one that writes into Ray's own folder
            handler.setLevel(logging.CRITICAL + 1)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """No standard error, for what is written there by no Python: that the level of the log was set, at first."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _check_reachable(address: str | None) -> None:
    """Ask for a connection before Ray does, which waits for minutes, such as for a cluster that has ended.

    Raises:
        OSError: nobody answers, or this machine belongs to no cluster.
        ValueError: it is no address.
    """
    from ray._private.services import canonicalize_bootstrap_address

    if address == "auto":
        address = canonicalize_bootstrap_address(address)  # of the last cluster that was begun or joined here
    if address is None:
        return
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not host or "/" in host:
        raise ValueError("an address is auto or HOST:PORT")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS):
        pass


def last_line(error: BaseException) -> str:
    """What an error says in the end; Ray puts whole tracebacks before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
