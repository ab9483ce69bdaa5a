"""A server and a client in two processes of this machine, started by one call: for demonstrations and benchmarks.

The parent hands the network's file to the server's process and the pictures to the client's. The client's process never
reads the file: it has of the network what the server tells it over the connection.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError
from assay.private.channel import ProtocolError, Traffic
from assay.private.emulator import Link
from assay.private.keys import make_keys
from assay.private.profile import Profile
from assay.private.steps import Tick, no_tick

_PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it.

    Attributes:
        outputs: `n k`, one of each batch.
        profiles, ledgers: what each batch cost, by layers and by parts: its own preparation, and its inference.
        client_bytes, server_bytes: peak memory of each process.
    """

    outputs: list[NDArray[np.int64]]
    profiles: list[Profile]
    ledgers: list[dict[str, Traffic]]
    client_bytes: int
    server_bytes: int


def between_processes(
    network: Path, batches: Sequence[NDArray[np.integer]], *, link: Link | None = None, tick: Tick = no_tick
) -> Run:
    """For each batch in turn: prepare, then infer, in one session.

    Raises:
        AssayError: whatever either process has to complain of.
    """
    with TemporaryDirectory(prefix="assay-private-") as folder:
        keys = Path(folder)
        make_keys(keys)
        with _process(_serve, network, keys) as server:
            port = _heard(server, no_tick)
            with _process(_infer, port, keys, batches, link) as client:
                outputs, profiles, ledgers, client_bytes = _heard(client, tick)
            server.send("stop")
            server_bytes = _heard(server, no_tick)
    return Run(outputs, profiles, ledgers, client_bytes, server_bytes)


@contextmanager
def _process(work: Callable[..., Any], *arguments: Any) -> Iterator[Connection]:
    """A fresh process, and our end of the pipe to it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, work, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
        process.join(10)
    finally:
        ours.close()
        if process.is_alive():
            process.terminate()
            process.join(5)
        process.close()


def _work(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What the process runs: the result, or the sentence of an error, goes back through the pipe."""
    try:
        pipe.send(("done", work(pipe, *arguments)))
    except AssayError as error:
        pipe.send(("failed", str(error)))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return


def _heard(pipe: Connection, tick: Tick) -> Any:
    """The next result of a process; what it says of its progress goes to `tick`."""
    while True:
        try:
            if not pipe.poll(_PATIENCE_S):
                raise ProtocolError(f"a process said nothing for {_PATIENCE_S:.0f} s")
            kind, said = pipe.recv()
        except (EOFError, OSError) as error:
            raise ProtocolError("a process of the two ended before it was done") from error
        if kind == "failed":
            raise ProtocolError(said)
        if kind == "done":
            return said
        tick(*said)


def _serve(pipe: Connection, network: Path, keys: Path) -> int:
    from assay.integer import load
    from assay.private.server import Server
    from assay.private.tls import server_context

    context = server_context(keys / "server.pem", keys / "server.key", keys / "ca.pem")
    with Server(load(network), context=context) as server:
        pipe.send(("done", server.port))
        pipe.recv()
    return _peak_bytes()


def _infer(
    pipe: Connection, port: int, keys: Path, batches: Sequence[NDArray[np.integer]], link: Link | None
) -> tuple[list[NDArray[np.int64]], list[Profile], list[dict[str, Traffic]], int]:
    from assay.private.client import connect

    tick = lambda *said: pipe.send(("progress", said))  # noqa: E731
    files = {"cert": keys / "client.pem", "key": keys / "client.key", "server_ca": keys / "ca.pem"}
    outputs, profiles, ledgers = [], [], []
    with connect(f"localhost:{port}", link=link, **files) as session:  # type: ignore[arg-type]
        for pictures in batches:
            session.prepare(size=len(pictures), tick=tick)
            outputs.append(session.infer(pictures, tick=tick))
            profiles.append(session.profile)
            ledgers.append(session.measure_anew())
    return outputs, profiles, ledgers, _peak_bytes()


def _peak_bytes() -> int:
    """Peak memory of this process. What `getrusage` says on Linux begins with what the parent had taken."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
