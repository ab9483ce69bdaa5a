"""The tables about private inference: cost beside the design's bars and SPU, predictions, and what is exact."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from assay.bench import figures
from assay.bench.networks import NETWORKS
from assay.bench.private_jobs import COSTS, SPU, answered, exact, spu
from assay.bench.private_networks import Spec, column, untrained, zoo
from assay.bench.table import Job, Results, Row, Table
from assay.bench.zoo import ZooModel

WORK: dict[str, Spec] = {
    "2^17 ReLUs, rounded and clamped": column(128, 1),
    "2^17 ReLUs alone": column(128, 1, rounded=False),
    "MiniONN-7": untrained("minionn7"),
    "ResNet-32": untrained("resnet32"),
    "CryptoNAS network, 50 K ReLUs": untrained("cnet", width=32, stem=2),
}

BARS: dict[str, tuple[float | None, float]] = {
    "2^17 ReLUs, rounded and clamped": (None, 0.3),
    "MiniONN-7": (6.0, 1.0),
    "ResNet-32": (12.0, 2.0),
    "CryptoNAS network, 50 K ReLUs": (3.0, 0.5),
}
"""What the design asks for: seconds offline, seconds online; both parties on one machine."""

PEERS = {"MiniONN-7": "minionn7", "ResNet-32": "resnet32", "2^17 ReLUs alone": "relu"}

LINE = (8, 16, 32, 64, 96)
"""Channels: a column of three such layers has 3·1024 ReLUs a channel."""

TRAINED = {
    "LeNet-5": (zoo(NETWORKS["LeNet-5"]), 1000, 50),
    "signs-net": (zoo(NETWORKS["signs-net"]), 1000, 25),
    "ResNet-20": (zoo(NETWORKS["ResNet-20"]), 64, 8),
    "MiniONN-7": (zoo(ZooModel("cifar10", 1, architecture="minionn7", epochs=1)), 64, 8),
}
"""Network, pictures, and how many in one set of rounds."""


def _answered(
    name: str, spec: Spec, link: str | None = None, batch: int = 1, repeat: int = 3, sessions: int = 3
) -> Job:
    settings = {"name": name, "network": spec, "link": link, "batch": batch, "repeat": repeat, "sessions": sessions}
    return Job(answered, settings)


def _jobs(quick: bool) -> list[Job]:
    if quick:
        few = ("2^17 ReLUs, rounded and clamped", "MiniONN-7")
        return [_answered(name, WORK[name], repeat=2, sessions=1) for name in few] + [
            _answered("MiniONN-7", WORK["MiniONN-7"], "wan", repeat=1, sessions=1)
        ]
    jobs = [_answered(name, spec) for name, spec in WORK.items()]
    jobs += [_answered("MiniONN-7", WORK["MiniONN-7"], batch=8, repeat=2)]
    jobs += [_answered(name, WORK[name], link, sessions=1) for name in BARS for link in ("lan", "wan")]
    jobs += [_answered(f"{3 * c} K ReLUs in three layers", column(c, 3)) for c in LINE]
    jobs += [Job(spu, {"name": name, "work": work, "version": SPU, "repeat": 2}) for name, work in PEERS.items()]
    return jobs


def rows(results: Results) -> list[Row]:
    """A row a network and link; SPU's seconds stand beside those on one machine."""
    peers = {job.settings["name"]: result for job, result in results if job.function is spu}
    return [_row(job.settings, result, peers) for job, result in results if job.function is answered]


def _row(settings: dict[str, Any], result: dict[str, Any], peers: dict[str, dict[str, Any]]) -> Row:
    sessions = result["sessions"]
    later = {key: median(run for session in sessions for run in session[key][1:]) for key in COSTS}
    values = result["relus"] + result["rounded"]
    name, near = settings["name"], settings["link"] is None
    bars = BARS.get(name, (None, None)) if near and settings["batch"] == 1 else (None, None)
    off = {key: median(_off(session, key) for session in sessions) for key in ("offline_s", "online_s")}
    row: Row = {
        "work": name + (f", {settings['batch']} pictures" if settings["batch"] > 1 else ""),
        "link": settings["link"] or "one machine",
        "n": sum(len(session["offline_s"]) - 1 for session in sessions),
        "sessions": len(sessions),
        "relus": result["relus"],
        **later,
        "offline": _over(later["offline_s"], bars[0]),
        "online": _over(later["online_s"], bars[1]),
        "online_all": [session["online_s"] for session in sessions],
        "sent": f"{later['offline_bytes'] / 1e6:.1f} + {later['online_bytes'] / 1e6:.1f} MB",
        "bytes_a_value": later["online_bytes"] / max(values, 1) / settings["batch"],
        "offline_bytes_a_value": later["offline_bytes"] / max(values, 1) / settings["batch"],
        "online_rounds": sessions[0]["online_rounds"],
        "memory": f"{result['client_bytes'] / 1e6:.0f} / {result['server_bytes'] / 1e6:.0f} MB",
        "client_bytes": result["client_bytes"],
        "server_bytes": result["server_bytes"],
        "foreseen": " / ".join(f"{100 * error:+.0f} %" for error in off.values()),
        "predicted_offline_off": off["offline_s"],
        "predicted_online_off": off["online_s"],
        "predicted_off_all": [{key: _off(session, key) for key in off} for session in sessions],
        "predicted_bytes_exact": all(_bytes_exact(session) for session in sessions),
        "equal_to_clear": result["equal"],
    }
    if near and settings["batch"] == 1 and name in peers:
        peer = peers[name]
        row["spu"] = peer.get("absent") or f"{median(peer['seconds']):.1f} s"
        row["spu_s"] = peer.get("seconds")
    return row


def _over(seconds: float, bar: float | None) -> str:
    """Bold if it is over its bar."""
    text = f"{seconds:.3g} s"
    return f"**{text}**" if bar is not None and seconds > bar else text


def _off(session: dict[str, Any], key: str) -> float:
    """How far the prediction was off: of the first preparation, keys and base transfers included; online of the usual
    inference."""
    measured = session[key][0] if key == "offline_s" else median(session[key][1:])
    return float(session["predicted"][key] / measured - 1)


def _bytes_exact(session: dict[str, Any]) -> bool:
    predicted = session["predicted"]
    same = all(predicted[key] == session[key][0] for key in ("offline_bytes", "online_bytes"))
    return same and bool(predicted["online_rounds"] == session["online_rounds"])


def draw(results: Results) -> dict[str, str]:
    """Online seconds over ReLUs, with the line through them."""
    points = [
        (job.settings["name"], result["relus"], _row(job.settings, result, {})["online_s"])
        for job, result in results
        if job.function is answered and job.settings["link"] is None and job.settings["batch"] == 1
    ]
    line = [(relus, seconds) for name, relus, seconds in points if "in three layers" in name]
    return {"private-line": figures.seconds_over_relus(points, *straight(line))} if len(line) > 2 else {}


def straight(points: list[tuple[int, float]]) -> tuple[float, float, float]:
    """Slope, intercept and R² of the least-squares line."""
    x, y = np.array(points, float).T
    slope, start = np.polyfit(x, y, 1)
    left = ((y - slope * x - start) ** 2).sum()
    return float(slope), float(start), float(1 - left / ((y - y.mean()) ** 2).sum())


PRIVATE = Table(
    "Private inference, two processes",
    _jobs,
    rows,
    {
        "work": "network",
        "link": "link",
        "n": "runs",
        "sessions": "sessions",
        "relus": "ReLUs",
        "offline": "offline",
        "online": "online",
        "spu": "SPU 0.9.5",
        "sent": "bytes, offline + online",
        "bytes_a_value": "online bytes a value",
        "online_rounds": "rounds",
        "memory": "peak memory, client / server",
        "foreseen": "predicted, offline / online",
        "equal_to_clear": "as in the clear",
    },
    "Medians of wall-clock seconds as the client sees them, one picture; in bold what is over its bar. Client and "
    "server are two processes on the cores of one machine, joined by TLS over loopback or over an emulated link: lan "
    "is 1 Gb/s and 0.3 ms, wan 100 Mb/s and 40 ms for a round trip. All answers are compared with those in the clear. "
    "SPU is Cheetah, two processes, all its time online, on networks of the same shape. Before each "
    "session the machine is calibrated and the session predicted; given is the median of the errors, offline of the "
    "first preparation, keys and base transfers included, online of the usual inference; bytes and rounds are "
    "predicted exactly. Weights of these networks are random: no step depends on them.",
    draw,
    serial=True,
    timed=(answered, spu),
)


def _exact_jobs(quick: bool) -> list[Job]:
    names = ("LeNet-5",) if quick else tuple(TRAINED)
    return [
        Job(exact, {"name": name, "network": spec, "n": 50 if quick else n, "batch": batch})
        for name, (spec, n, batch) in TRAINED.items()
        if name in names
    ]


def _exact_rows(results: Results) -> list[Row]:
    return [
        {
            "network": job.settings["name"],
            "relus": r["relus"],
            "n": r["n"],
            "equal": r["equal"],
            "batch": job.settings["batch"],
        }
        for job, r in results
    ]


EXACT = Table(
    "Private answers are those of the run in the clear",
    _exact_jobs,
    _exact_rows,
    {
        "network": "network",
        "relus": "ReLUs",
        "n": "test pictures",
        "equal": "all outputs equal",
        "batch": "pictures a batch",
    },
    "Trained networks in integers, client and server in two processes; an answer counts if all its integers are equal.",
    serial=True,
)
