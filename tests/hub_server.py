"""A Hugging Face Hub on this machine: real HTTP for the real client, repositories in a folder, faults on request.

In a test::

    with HubServer(tmp_path / "hub", users={"alice": "hf_alice"}) as hub:
        point_client_at(hub, monkeypatch, hub.token("alice"), tmp_path / "home")   # this process
        subprocess.run(command, env={**os.environ, **environment(hub, hub.token("alice"), tmp_path / "home")})

By hand: ``python -m tests.hub_server --root FOLDER`` serves one until Ctrl+C.
"""

from __future__ import annotations

import re
import shlex
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ser_hf.command_line import CommandParser
from tests.local_hub.access import Access
from tests.local_hub.accounts import Accounts
from tests.local_hub.client import environment, point_client_at
from tests.local_hub.committing import Committing
from tests.local_hub.discussions import Discussions
from tests.local_hub.faults import Faults, refuse
from tests.local_hub.files import Files
from tests.local_hub.http import refused, unheard
from tests.local_hub.pages import Pages
from tests.local_hub.reading import Reading
from tests.local_hub.store import HubStore, RefusedError

__all__ = ["HubServer", "environment", "point_client_at"]

USERS = {"alice": "hf_alice", "bob": "hf_bob"}
PART_SIZE = 16_000_000  # bytes above which a file is sent in parts
READ_ONLY = "_read"  # ends the token of a user that may only read
BY_HAND = ("HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "NO_PROXY")
PATIENCE_SECONDS = 30  # a bound for a hang, not a measure of speed


class HubServer:
    """A Hub that serves while the ``with`` block runs, on a free port of 127.0.0.1.

    Args:
        root: where the repositories are kept; those of an earlier run are there again.
        users: name to token (that may write).
        organisations: name to its members, who may write to its repositories.
        port: 0 for a free one.
        part_size: bytes above which a large file is uploaded in parts of that size.

    Attributes:
        endpoint: the address, for HF_ENDPOINT.
        store: the repositories, to be looked at and changed without HTTP.
        requests: method and path (without query, unquoted) of every request, in order.
        upload_started: an event that is set when a client sends a large file.
    """

    def __init__(
        self,
        root: Path,
        users: Mapping[str, str] = USERS,
        organisations: Mapping[str, Sequence[str]] | None = None,
        port: int = 0,
        part_size: int = PART_SIZE,
    ):
        self.users = dict(users)
        self.store = HubStore(Path(root))
        self.requests: list[tuple[str, str]] = []
        self._faults = Faults()
        # With the protocol named, asyncio switches off the delay by which small answers would wait 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        port = self._socket.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        tokens = {token: (name, "write") for name, token in self.users.items()}
        tokens |= {token + READ_ONLY: (name, "read") for name, token in self.users.items()}
        groups = {name: list(members) for name, members in (organisations or {}).items()}
        self.access = Access(self.store, tokens, groups, self.endpoint)
        files = Files(self.access, f"http://localhost:{port}", part_size, self._faults)
        rooms = (Accounts, Reading, Committing, Discussions)
        self._app = Starlette(
            routes=[
                *(route for room in rooms for route in room(self.access).routes()),
                *files.routes(),
                *Pages(self.access).routes(),
            ],
            exception_handlers={RefusedError: refused, ClientDisconnect: unheard},
        )
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            log_level="error",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> HubServer:
        self._socket.listen(128)  # from here on clients wait instead of being refused
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mend()
        self._server.should_exit = True
        self._thread.join(PATIENCE_SECONDS)
        self._socket.close()

    @property
    def upload_started(self) -> threading.Event:
        """Set when a client sends a large file; clear it to wait for the next one."""
        return self._faults.upload_started

    def token(self, user: str) -> str:
        """The token of a user that may read and write."""
        return self.users[user]

    def read_token(self, user: str) -> str:
        """The token of a user that may only read."""
        return self.users[user] + READ_ONLY

    def break_uploads(self, after_bytes: int) -> None:
        """Break the connection of every upload of a large file after so many bytes, until `mend`."""
        self._faults.break_after = after_bytes

    def hold_uploads(self) -> None:
        """Let every upload of a large file stand still until `mend`; ``upload_started`` tells that one does."""
        self._faults.upload_started.clear()
        self._faults.holding = True

    def refuse(self, path_regex: str, status: int) -> None:
        """Answer with a status where the pattern is found in the path of a request, until `mend`."""
        self._faults.refusals.append((re.compile(path_regex), status))

    def mend(self) -> None:
        """End every fault."""
        self._faults.mend()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Quoted slashes must not part a revision such as refs%2Fpr%2F1, so that routes see the path as it was sent.
        path = scope["raw_path"].decode("ascii")
        self.requests.append((scope["method"], unquote(path)))
        if status := self._faults.refusal(unquote(path)):
            await refuse(status, scope, receive, send)
            return
        scope["path"] = path
        # A connection breaks without an answer; ASGI has no word for that.
        scope["abort"] = receive.__self__.transport.abort  # type: ignore[attr-defined]
        await self._app(scope, receive, send)


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m tests.hub_server", doc=main.__doc__)
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="where its repositories are kept (default: a new folder)"
    )
    parser.add_argument("--port", type=int, default=8765, help="port to listen on; 0 for a free one")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a Hub until Ctrl+C, and say how to reach it."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    root = options.root or Path(tempfile.mkdtemp(prefix="hub-"))
    try:
        server = HubServer(root, organisations={"lab": ["alice"]}, port=options.port)
    except OSError as error:
        parser.error(f"--port {options.port} cannot be used ({error.strerror}): name another one, or 0 for a free one")
    with server as hub:
        print(f"A Hub serves at {hub.endpoint} and keeps its repositories in {root}. Ctrl+C ends it.\n")
        for name in hub.users:
            print(f"  {name:8} token {hub.token(name)} (may write), {hub.read_token(name)} (may only read)")
        print("  lab      an organisation of alice's\n\nIn the terminal of a client:\n")
        variables = environment(hub, hub.token("alice"), root.resolve() / "client")
        for name in BY_HAND:
            print(f"  export {name}={shlex.quote(variables[name])}")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nEnded.")


if __name__ == "__main__":
    main()
