"""`assay guard`, and `assay guard replay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from assay.cli.console import COMMON, Common, Outcome, progress, rate_json
from assay.errors import InputError
from assay.runs import parse_duration

if TYPE_CHECKING:
    from assay.data import Dataset
    from assay.guard import Stream, Tally


def guard(
    model: Path,
    *,
    clean: str,
    port: int = 8080,
    host: str = "127.0.0.1",
    store: Path = Path("runs") / "guard.db",
    arch: str | None = None,
    policy: Literal["answer", "abstain", "received"] = "answer",
    treatment: Literal["hardening", "nnoculation"] = "hardening",
    enough: int = 200,
    capacity: int = 5000,
    common: Common = COMMON,
) -> Outcome:
    """Serve a model you did not train: what looks triggered is set aside, the trigger is learnt, the model repaired.

    Predictions: `POST /predict` with a picture. The page for the operator is at `/`, behind a token.

    Parameters
    ----------
    model
        The model file as received.
    clean
        Pictures with true labels: a folder of class folders, an `.npz` with x and y, or a data set's name.
    port
        Where to listen.
    host
        Who may ask: 127.0.0.1 is this machine alone, 0.0.0.0 everyone who reaches it.
    store
        The quarantine file; versions and token stand beside it. A guard that is started again goes on from it.
    arch
        The network, if the file does not say it.
    policy
        What a client gets where the networks differ: the treated network's answer, none, or the received one's.
    treatment
        What makes the copy that is served beside the received network: hardening, or NNoculation's grid of noise.
    enough
        Quarantined inputs after which a repair begins.
    capacity
        Quarantined inputs that are kept; the oldest leave.
    """
    import sys

    import torch

    from assay.guard import Guard, GuardSettings, read_token, serve
    from assay.guard.serving import listen
    from assay.vet import open_both

    torch.set_num_threads(common.threads or 1)  # the other core is for requests, and for repairs
    settings = GuardSettings(
        policy=policy,
        treatment=treatment,
        enough=enough,
        capacity=capacity,
        per_client=max(enough, capacity * 2 // 5),
        seed=common.seed,
    )
    received, pictures = open_both(model, clean, arch)
    token = read_token(store)
    listening = listen(host, port)
    watched = Guard(received, pictures, store, settings, arch=arch)
    address = f"http://{host}:{listening.getsockname()[1]}"
    print(f"predictions: {address}/predict\npage: {address}/?token={token}", file=sys.stderr, flush=True)
    serve(watched, token, listening)
    return Outcome({"store": str(store), "version": watched.versions.pair.version}, f"stopped; {store} is kept")


def replay(
    *,
    url: str = "http://127.0.0.1:8080",
    data: str | None = None,
    stream: str | None = None,
    trigger: str = "pattern",
    labels: Literal["single", "all-to-all", "random"] = "single",
    target: int | None = None,
    source: int | None = None,
    poison_share: float = 0.2,
    count: int = 4000,
    connections: int = 8,
    rate: float | None = None,
    until_swap: bool = False,
    budget: str = "15m",
    common: Common = COMMON,
) -> Outcome:
    """Send a guard a stream of pictures, some of them triggered, and tell what came back.

    It first waits until the guard has its treated network, since until then nothing can be quarantined.

    Parameters
    ----------
    url
        Where the guard is.
    data
        A data set's name; its test part is sent.
    stream
        In place of `--data`: a folder of class folders, or an `.npz` with x and y.
    trigger
        What is stamped on a picture: a name as in `assay attack badnet`.
    labels
        As in `assay attack badnet`.
    target
        The class that triggered pictures should become; 0 if not given.
    source
        Only pictures of this class are triggered.
    poison_share
        Share of the stream that is triggered, in [0, 1].
    count
        Pictures to send, drawn anew when there are fewer.
    connections
        At once.
    rate
        Pictures a second; as fast as they are answered if not given.
    until_swap
        Afterwards wait for the repaired version and send the same number again; `after` says how that went.
    budget
        How long to wait for a version, each time.
    """
    from assay.guard import GuardUnreachable, send, wait_until

    seconds = parse_duration(budget)
    if count < 1 or not 0 <= poison_share <= 1 or not 1 <= connections <= 64 or (rate is not None and rate <= 0):
        raise InputError(
            "a replay needs --count from 1, --poison-share in [0, 1], --connections 1 to 64, --rate above 0"
        )
    pictures = _pictures(data, stream)
    with progress() as bars:
        health = wait_until(url, lambda h: bool(h.get("guarded")), seconds, "waiting for the treated network", bars)
        if not health.get("guarded"):
            raise GuardUnreachable(f"{url} had no treated network within {budget}; wait longer with --budget")
        sent = _stream(pictures, trigger, (labels, target, source), poison_share, count, common.seed)
        first = send(url, sent, connections, rate, bars)
        document = _document(sent, first)
        if until_swap:
            was = health["version"]
            wait_until(url, lambda h: h.get("version") != was, seconds, "waiting for the repair", bars)
            again = _stream(pictures, trigger, (labels, target, source), poison_share, count, common.seed + 1)
            document["after"] = _document(again, send(url, again, connections, rate, bars))
    return Outcome(document, _text(document))


def _pictures(data: str | None, stream: str | None) -> Dataset:
    from assay.data import load

    if (data is None) == (stream is None):
        raise InputError("a replay needs --data NAME or --stream FOLDER, one of them")
    return load(data, "test") if data is not None else load(Path(str(stream)))


def _stream(
    pictures: Dataset, trigger: str, goal: tuple[Any, int | None, int | None], share: float, count: int, seed: int
) -> Stream:
    import numpy as np

    from assay.backdoor import TRIGGERS, stamp
    from assay.cli.attack import label_map
    from assay.guard import Stream

    if trigger not in TRIGGERS:
        raise InputError(f"there is no trigger {trigger!r}; there are {', '.join(TRIGGERS)}")
    rng = np.random.default_rng(seed)
    index = np.concatenate([rng.permutation(len(pictures)) for _ in range(-(-count // len(pictures)))])[:count]
    x, y = pictures.x[index].copy(), pictures.y[index]
    intended = label_map(goal[0], pictures.classes, goal[1], goal[2], seed)(y)
    attacked = np.flatnonzero(intended != y)
    chosen = rng.permutation(attacked)[: round(share * count)]
    triggered = np.zeros(count, bool)
    triggered[chosen] = True
    if len(chosen):
        x[chosen] = stamp(TRIGGERS[trigger](), x[chosen])
    return Stream(x, y, triggered, intended)


def _document(stream: Stream, tally: Tally) -> dict[str, Any]:
    return {
        "sent": len(stream.x),
        "failed": tally.failed,
        "triggered": int(stream.triggered.sum()),
        **rate_json("quarantined_triggered", tally.quarantined_triggered),
        **rate_json("quarantined_clean", tally.quarantined_clean),
        **rate_json("attack_success_rate", tally.attack_success_rate),
        **rate_json("clean_accuracy", tally.clean_accuracy),
        "versions": {str(version): n for version, n in tally.versions.items()},
        "seconds": round(tally.seconds, 2),
        "predictions_per_s": round(len(tally.replies) / tally.seconds, 1),
        "latency_p50_s": round(tally.latency(0.5), 4),
        "latency_p99_s": round(tally.latency(0.99), 4),
    }


def _text(document: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table("", "stream", *(["after the swap"] if "after" in document else []))
    columns = [document, *([document["after"]] if "after" in document else [])]
    for key in ("quarantined_triggered", "quarantined_clean", "attack_success_rate", "clean_accuracy"):
        cells = ["–" if c[key] != c[key] else f"{100 * c[key]:.1f} %" for c in columns]
        table.add_row(key.replace("_", " "), *cells)
    table.add_row("versions", *(", ".join(f"{v}: {n}" for v, n in c["versions"].items()) for c in columns))
    table.add_row("predictions a second", *(f"{c['predictions_per_s']:.0f}" for c in columns))
    return table


app = App(name="guard", help=guard.__doc__, suppress_keyboard_interrupt=False)
app.default(guard)
app.command(replay)
