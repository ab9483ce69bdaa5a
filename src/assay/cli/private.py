"""`assay private`: keys, serve, infer and demo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import COMMON, Common, Outcome, listed, printable, progress
from assay.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from assay.integer import IntegerNetwork


def keys(
    folder: Path, *, host: tuple[str, ...] = (), client: tuple[str, ...] = ("client",), common: Common = COMMON
) -> Outcome:
    """Certificates for a server and its clients, by an issuer of their own, for a year.

    Parameters
    ----------
    folder
        Where `ca.pem`, and a `.pem` and `.key` each for server and clients, are written, for their owner to read.
    host
        Names or addresses of the server, besides those of this machine.
    client
        A name for each client.
    """
    from rich.markup import escape

    from assay.private.keys import make_keys

    files = make_keys(folder, host, client)
    text = f"written to {folder}: {', '.join(f.name for f in files)}; keep the .key files to yourself"
    return Outcome({"files": [str(f) for f in files]}, escape(text))


def serve(
    network: Path,
    *,
    port: int = 7000,
    host: str = "127.0.0.1",
    cert: Path | None = None,
    key: Path | None = None,
    client_ca: Path | None = None,
    insecure_plaintext: bool = False,
    max_clients: int = 8,
    max_pictures: int = 256,
    max_memory_gib: float = 4.0,
    max_per_hour: int | None = None,
    idle_s: float = 300.0,
    timeout_s: float = 60.0,
    common: Common = COMMON,
) -> Outcome:
    """Answer clients without seeing their pictures; the weights stay here. Ctrl-C ends it.

    Parameters
    ----------
    network
        A network written by `assay compile`.
    port
        0 takes a free one; it is said on stderr.
    host
        The address to listen at; 0.0.0.0 for all of this machine's.
    cert
        The server's certificate.
    key
        Its key.
    client_ca
        The issuer of the clients' certificates.
    insecure_plaintext
        No certificates and no encryption of the connection, for clients on this machine only.
    max_clients
        At one time.
    max_pictures
        In one inference.
    max_memory_gib
        For what is prepared, of all clients together.
    max_per_hour
        Pictures that one certificate may have answered in an hour.
    idle_s
        How long a client may ask for nothing.
    timeout_s
        How long a client may take for a message.
    """
    import signal
    import threading

    from assay.integer import load
    from assay.private.limits import Limits
    from assay.private.server import Server
    from assay.private.tls import server_context

    context = None
    if cert and key and client_ca:
        context = server_context(cert, key, client_ca)
    elif not insecure_plaintext:
        raise InputError("give --cert, --key and --client-ca (assay private keys makes them), or --insecure-plaintext")
    limits = Limits(max_clients, max_pictures, int(max_memory_gib * 2**30), idle_s, timeout_s, max_per_hour)
    server = Server(load(network), host, port, context, limits, _log)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    server.start()
    _log(f"listening at {host}:{server.port}; network digest {server.architecture.digest}")
    stop.wait()
    _log("shutting down")
    server.stop()
    return Outcome({"port": server.port, "network_digest": server.architecture.digest}, "the server has ended")


def _log(line: str) -> None:
    print(f"assay: {printable(line)}", file=sys.stderr, flush=True)


def infer(
    *images: Path,
    connect: str,
    cert: Path | None = None,
    key: Path | None = None,
    server_ca: Path | None = None,
    network_digest: str | None = None,
    insecure_plaintext: bool = False,
    network: str | None = None,
    profile: bool = False,
    wait: float = 20.0,
    common: Common = COMMON,
) -> Outcome:
    """Answers from a server that does not see the pictures.

    Parameters
    ----------
    images
        Picture files, or `.npz` files whose array x holds pictures `n c h w`; all in one set of rounds.
    connect
        HOST:PORT of the server.
    cert
        Our certificate.
    key
        Its key.
    server_ca
        The issuer of the server's certificate.
    network_digest
        Of the network that is expected, as `assay private serve` says it; another is refused.
    insecure_plaintext
        No encryption of the connection; to this machine only.
    network
        Pretend that the connection is `lan`, `wan`, or like `100Mbps,40ms`.
    profile
        Say for each layer what it cost.
    wait
        Seconds to wait for a server that does not listen yet.
    """
    from assay.private import connect as join
    from assay.private.emulator import parse_link

    if not images:
        raise InputError("give at least one picture")
    if not wait >= 0:
        raise InputError(f"--wait must not be below 0, got {wait}")
    link = parse_link(network) if network else None
    with progress() as bars:
        bars("connecting", 0, 1)
        session = join(
            connect, cert=cert, key=key, server_ca=server_ca, network_digest=network_digest,
            insecure_plaintext=insecure_plaintext, link=link, wait_s=wait,
        )  # fmt: skip
        with session:
            pictures = read_pictures(images, session.architecture.input.shape)
            outputs = session.infer(pictures, tick=lambda what, done, total: bars(what, done, total))
            document = {
                **_answers(outputs, session.architecture.class_names, session.architecture.output_scale),
                "network_digest": session.architecture.digest,
                **session.profile.document(),
            }
    return Outcome(document, _told(document, profile))


def _answers(outputs: NDArray[np.int64], names: Sequence[str], scale: float) -> dict[str, Any]:
    labels = [int(label) for label in outputs.argmax(1)]
    return {
        "labels": labels,
        "class_names": [names[label] for label in labels],
        "outputs": outputs.tolist(),
        "logits": (outputs * scale).tolist(),
    }


def read_pictures(files: Sequence[Path], shape: tuple[int, int, int]) -> NDArray[np.integer]:
    """Pictures `n c h w` out of files of either kind, all of the network's shape."""
    import numpy as np

    from assay.cli.prove import read_pictures as read_arrays
    from assay.data.pictures import read_picture

    parts: list[NDArray[np.integer]] = []
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is not a file")
        if file.suffix == ".npz":
            parts.append(read_arrays(file))
        else:
            parts.append(read_picture(file, str(file), shape)[None])
        if parts[-1].shape[1:] != shape:
            got = "x".join(map(str, parts[-1].shape[1:]))
            raise InputError(f"{file} is {got}, but the server's network takes {'x'.join(map(str, shape))}")
    return np.concatenate(parts)


def _told(document: dict[str, Any], layers: bool) -> Table:
    """A table of phases, or of layers, with the labels as its title."""
    from rich import box
    from rich.table import Table

    title = listed(document["class_names"])
    if not layers:
        table = Table("phase", "seconds", "bytes", "rounds", title=title, box=box.SIMPLE_HEAD)
        table.add_row("offline", f"{document['offline_s']:.2f}", size(document["offline_bytes"]), "")
        table.add_row(
            "online", f"{document['online_s']:.3f}", size(document["online_bytes"]), str(document["online_rounds"])
        )
        return table
    return layer_table(document, title)


def layer_table(document: dict[str, Any], title: str) -> Table:
    """One row a layer, and the sum."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heads = ("layer", "operation", "offline s", "offline", "online ms", "online", "rounds")
    table = Table(*heads, title=title, box=box.SIMPLE_HEAD)
    for row in [*document["layers"], {"layer": "sum", "operation": "", **document}]:
        table.add_row(
            Text(printable(row["layer"])), row["operation"], _number(row["offline_s"], 3), size(row["offline_bytes"]),
            _number(1000 * row["online_s"], 1), size(row["online_bytes"]), str(row["online_rounds"]),
        )  # fmt: skip
    return table


def _number(value: float, digits: int) -> str:
    """A dash for what is not known."""
    return f"{value:.{digits}f}" if value == value else "–"


def size(count: int) -> str:
    """Bytes as a person reads them."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def demo(
    network: Path | None = None, *, pictures: int = 1, link: str | None = None, common: Common = COMMON
) -> Outcome:
    """Two processes on this machine, one with the network, the other with the pictures; their answer and the clear one.

    Parameters
    ----------
    network
        A network written by `assay compile`; without one, a small one is trained on embedded digits.
    pictures
        How many, in one set of rounds.
    link
        Pretend that the two are joined by `lan`, `wan`, or like `100Mbps,40ms`.
    """
    import numpy as np

    from assay.integer import load
    from assay.private.emulator import parse_link
    from assay.private.processes import between_processes

    if not 1 <= pictures <= 256:
        raise InputError(f"--pictures must be from 1 to 256, got {pictures}")
    joined = parse_link(link) if link else None
    with progress() as bars:
        tick = lambda what, done, total: bars(what, done, total)  # noqa: E731
        if network is None:
            network = _digits_network(common, bars.ticker("training on digits"))
        known = load(network)
        x = _examples(known, pictures, common.seed)
        run = between_processes(network, [x], link=joined, tick=tick)
    clear = known.run(x)
    document = {
        **_answers(run.outputs[0], known.class_names, known.output_scale),
        "equal_to_clear": bool(np.array_equal(run.outputs[0], clear)),
        "network": str(network),
        "client_peak_bytes": run.client_bytes,
        "server_peak_bytes": run.server_bytes,
        **run.profiles[0].document(),
    }
    return Outcome(document, layer_table(document, _verdict(document)), 0 if document["equal_to_clear"] else 1)


def _verdict(document: dict[str, Any]) -> str:
    from rich.markup import escape

    same = "the same integers as" if document["equal_to_clear"] else "[red]NOT the integers of[/red]"
    return f"{escape(', '.join(document['class_names'][:10]))}: {same} the run in the clear"


def _examples(known: IntegerNetwork, count: int, seed: int) -> NDArray[np.integer]:
    """Digits if they fit, else random pictures: what is shown is that the answers are the same."""
    import numpy as np

    from assay.data import load

    if known.input_shape == (1, 28, 28):
        return load("digits", "test").x[:count]
    low, high = known.input.low, known.input.high
    return np.random.default_rng(seed).integers(low, high + 1, (count, *known.input_shape))


def _digits_network(common: Common, tick: Any) -> Path:
    """LeNet's little sister, trained for some seconds; kept for the next time."""
    from dataclasses import replace

    from assay.data import load
    from assay.integer import CompileSettings, compile_measured, save
    from assay.models import build, fresh_weights, recipe, spec_for, train

    training = load("digits", "train")
    spec, settings = spec_for(training), recipe("digits")[1]
    model = fresh_weights(common.seed, lambda: build(spec))
    train(model, training, replace(settings, epochs=4, seed=common.seed), tick=tick)
    compiled = compile_measured(model, load("digits", "clean"), CompileSettings())
    return save(compiled.network, (common.out or Path("runs") / "private-demo") / "digits.assay")


def predicted(file: Path, network: str | None, pictures: int) -> dict[str, Any] | None:
    """What private inference of a `net.assay` will cost, layer by layer; None for a network that is not for it.

    Seconds are of this machine as it was calibrated; it is calibrated now if a link is named, and else they stay null.
    """
    from assay.errors import ModelError
    from assay.integer import load
    from assay.private.calibration import calibrate, known
    from assay.private.cost import predict
    from assay.private.emulator import parse_link

    if not 1 <= pictures <= 256:
        raise InputError(f"--pictures must be from 1 to 256, got {pictures}")
    link = parse_link(network) if network else None
    with progress() as bars:
        measured = known()
        if measured is None and link is not None:
            bars("calibrating this machine, once", 0, 1)
            measured = calibrate()
        bars("rehearsing private inference", 0, 1)
        try:
            found = predict(load(file), measured.rates if measured else None, link, pictures)
        except ModelError:
            if network:
                raise
            return None
    return found.document()


def over(network: str | None) -> str:
    """Where the parties are, in words."""
    return f"over {network}" if network else "both parties on this machine"
