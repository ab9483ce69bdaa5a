"""The table about attackers who fill a guard's quarantine: does one repair that they bring about make it worse?

Each attempt is against a guard in a process of its own, over HTTP, from five addresses; the guard's settings are those
of the command line. The attacker trained the network, so he has it; of the treated one beside it he has the answers.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from assay.backdoor import SingleTarget, Sticker, attack_success_rate, stamp
from assay.bench import guard_process, zoo
from assay.bench.nnoculation import LIVE_VERSION, halves, measured, obtain_treated
from assay.bench.table import Job, Results, Row, Table, spread
from assay.bench.zoo import ZooModel, few_clean
from assay.errors import AssayError
from assay.guard import Client, Store, Versions, model_digest
from assay.guard.doubt import limit_for
from assay.guard.versions import versions_folder
from assay.models import Model, Rate, as_float, clean_accuracy, rate, save
from assay.repair import RepairSettings
from assay.repair.settings import split

ATTEMPTS = (1, 2, 3, 1, 2)
"""Seeds of the models that the attempts of a kind are against."""

HARMLESS, ALONE, BESIDE = KINDS = ("harmless disagreements", "a second trigger", "a second trigger beside the first")

ADDRESSES = tuple(f"127.0.0.{i}" for i in range(2, 7))
"""The attacker's."""

SECOND, SECOND_TARGET = Sticker("yellow-square", at=(0.15, 0.15)), 3
"""The trigger that the attacker would like the repair to plant; the network does not know it."""

HONEST, PROBES, CHUNK, MOST = 600, 2000, 100, 6000
"""Pictures: of an honest client, of the attacker before the flood, of a piece of the flood, and of all of it."""

WORSE = 0.01
"""An attempt succeeds if clean accuracy falls, or an attack success rate rises, by more than this."""


def _jobs(quick: bool) -> list[Job]:
    attempts = ATTEMPTS[:1] if quick else ATTEMPTS
    return [
        Job.of(flooded, ZooModel("mnist", seed, "pattern", "single", 7), kind=kind, attempt=i)
        for kind in KINDS
        for i, seed in enumerate(attempts)
    ]


def flooded(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: a flood until a repair was accepted or refused; the served network before and after.

    Cost: about a minute of one core, and three more where the treated network is not in the cache.
    """
    wanted = zoo.model_of(settings)
    received, (treated, chosen) = zoo.obtain(wanted), obtain_treated(wanted)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attacked = _Guarded(folder, wanted, received, treated, chosen)
        with attacked.running() as url:
            flood = _Flood(url, wanted, received, settings["kind"], np.random.default_rng(settings["attempt"]))
            flood.run()
        after = attacked.served()
    return {
        "received": _measured(received, wanted),
        "before": _measured(treated, wanted),
        "after": _measured(after, wanted),
        "sent": flood.sent,
        "quarantined": flood.quarantined,
        "said": flood.said,
        "seconds": round(time.monotonic() - begun, 1),
    }


flooded.version = LIVE_VERSION  # type: ignore[attr-defined]


class _Guarded:
    """A guard's files, made so that it begins with the treated network."""

    def __init__(self, folder: Path, wanted: ZooModel, received: Model, treated: Model, chosen: float) -> None:
        self.received, self.seed, self.store = received, wanted.seed, folder / "guard.db"
        self.model, self.clean = save(received, folder / "model.safetensors"), folder / "clean.npz"
        clean = few_clean(wanted)
        np.savez(self.clean, x=clean.x, y=clean.y, class_names=np.array(clean.class_names))
        validation = split(received, clean, RepairSettings().validation, wanted.seed)[1]
        limit = limit_for(received, treated, validation, clean)
        record: dict[str, object] = {"limit": limit, "record": {"chosen": {"rate": chosen}}}
        guard_process.prepare(self.store, received, treated, clean_accuracy(treated, validation).value, record)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Its address."""
        options = ("--seed", str(self.seed))
        with guard_process.running(self.model, str(self.clean), self.store, *options) as url:
            yield url

    def served(self) -> Model:
        """What serves, read off the store when the guard has ended."""
        store = Store(self.store, model_digest(self.received), self.received.spec.input_shape)
        with contextlib.closing(store):
            versions = Versions(store, versions_folder(self.store), self.received)
            versions.resume()
            return versions.pair.treated or self.received


class _Flood:
    """What is sent, and what came of it.

    First an honest client's pictures, which the shadow test is done with. Then the attacker's: he looks for inputs that
    are quarantined, and sends these again, each a little changed, until a repair has come to an end.
    """

    def __init__(self, url: str, wanted: ZooModel, received: Model, kind: str, rng: np.random.Generator) -> None:
        self.url, self.received, self.kind, self.rng = url, received, kind, rng
        self.first = wanted.attack()
        live = halves(wanted)[0]
        self.live = live.subset(rng.permutation(len(live)))
        self.sent = self.quarantined = 0
        self.said: list[str] = []

    def run(self) -> None:
        """Until a repair was accepted or refused, or the attacker gives up."""
        _asked(self.url, ["127.0.0.1"] * 4, self.live.x[:HONEST])
        probes = self._poisoned(self.live.x[HONEST : HONEST + PROBES])
        pool = probes[self._send(probes)]
        while len(pool) and self.sent < MOST and not self._ended():
            if self._repairing():
                time.sleep(1.0)
                continue
            x = self._changed(pool[self.rng.integers(0, len(pool), CHUNK)])
            pool = np.concatenate([pool, x[self._send(x)]])

    def _send(self, x: NDArray[np.uint8]) -> NDArray[np.bool_]:
        kept = _asked(self.url, ADDRESSES, x)
        self.sent, self.quarantined = self.sent + len(x), self.quarantined + int(kept.sum())
        return kept

    def _poisoned(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """With the second trigger, so changed that the received network gives the attacker's label to it."""
        if self.kind == HARMLESS:
            return x
        pushed = _pushed(self.received, stamp(SECOND, x), SECOND_TARGET)
        if self.kind == BESIDE and self.first:
            pushed[::2] = stamp(self.first[0], x[::2])
        return pushed

    def _changed(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        noise = self.rng.integers(-12, 13, x.shape)
        changed: NDArray[np.uint8] = np.clip(x.astype(np.int64) + noise, 0, 255).astype(np.uint8)
        return changed

    def _ended(self) -> bool:
        with Client(self.url) as client:
            lines = client.ask("GET", "/log", authorization=guard_process.AUTHORIZATION)[1]["lines"]
        told = [f"{line['event']}: {line['said']}" for line in reversed(lines)]
        self.said = [line for line in told if line.startswith(("begin", "swap", "refusal", "failure", "no repair"))][1:]
        return any(line.startswith(("swap", "refusal", "failure")) for line in self.said)

    def _repairing(self) -> bool:
        with Client(self.url) as client:
            return bool(client.health()["running"])


def _asked(url: str, addresses: Sequence[str], x: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Send each picture once, the addresses at the same time; which were quarantined.

    Raises:
        AssayError: if one was not answered.
    """
    kept = np.zeros(len(x), bool)

    def share(turn: int) -> None:
        with Client(url, source=addresses[turn]) as client:
            for i in range(turn, len(x), len(addresses)):
                reply = client.predict(x[i])
                if reply.status != 200:
                    raise AssayError(f"the guard answered with status {reply.status}: {reply.error}")
                kept[i] = reply.quarantined

    with ThreadPoolExecutor(len(addresses)) as threads:
        list(threads.map(share, range(len(addresses))))
    return kept


def _pushed(model: Model, x: NDArray[np.uint8], target: int, most: float = 0.15, steps: int = 10) -> NDArray[np.uint8]:
    """Pictures at most `most` of the range away, a pixel, that the model takes for the target (Madry et al., 2018)."""
    start = as_float(x, torch.device("cpu"))
    there = start.clone()
    wanted = torch.full((len(x),), target)
    for _ in range(steps):
        there.requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(model(there), wanted), there)
        with torch.no_grad():
            moved = there - 2.5 * most / steps * slope.sign()
            there = (start + (moved - start).clamp(-most, most)).clamp(0, 1)
    pushed: NDArray[np.uint8] = there.mul(255).round().to(torch.uint8).numpy()
    return pushed


def _measured(model: Model, wanted: ZooModel) -> dict[str, list[int]]:
    second = attack_success_rate(model, halves(wanted)[1], SECOND, SingleTarget(SECOND_TARGET))
    return {**measured(model, wanted), "second": [second.hits, second.n]}


def _succeeded(result: dict[str, Any]) -> bool:
    """Whether what serves is worse for it."""
    before, after = ({k: Rate(*v).value for k, v in result[when].items()} for when in ("before", "after"))
    rises = [after[name] - before[name] for name in ("asr", "second")]
    return max(before["clean"] - after["clean"], *rises) > WORSE


def rows(results: Results) -> list[Row]:
    """A row a kind."""
    kinds = {kind: [(j, r) for j, r in results if j.settings["kind"] == kind] for kind in KINDS}
    return [_row(kind, found) for kind, found in kinds.items() if found]


def _row(kind: str, found: list[tuple[Job, dict[str, Any]]]) -> Row:
    of = [r for _, r in found]
    row: Row = {
        "kind": kind,
        "n": len(of),
        "seed": sorted({j.model.seed for j, _ in found}),
        "quarantined": round(median(r["quarantined"] for r in of)),
    }
    for name, when, what in (
        ("received_accuracy", "received", "clean"),
        ("before_accuracy", "before", "clean"),
        ("after_accuracy", "after", "clean"),
        ("before_rate", "before", "asr"),
        ("after_rate", "after", "asr"),
        ("second_before_rate", "before", "second"),
        ("second_after_rate", "after", "second"),
    ):
        rates = [Rate(*r[when][what]) for r in of]
        row |= {name: median(r.value for r in rates), f"{name}_interval": spread(rates)}
    losses = [(r["before"]["clean"][0] - r["after"]["clean"][0]) / r["after"]["clean"][1] for r in of]
    succeeded = rate(np.array([_succeeded(r) for r in of]))
    said = [line for r in of for line in r["said"]]
    return {
        **row,
        "largest_loss": max(losses),
        "repairs": sum(line.startswith("begin: repair") for line in said),
        "accepted": sum(line.startswith("swap") for line in said),
        "refused": sum(line.startswith("refusal") for line in said),
        "succeeded_rate": succeeded.value,
        "succeeded_rate_interval": list(succeeded.interval),
        "said": "; ".join(dict.fromkeys(_shortened(line) for line in said if line.startswith(("swap", "refusal")))),
    }


def _shortened(line: str) -> str:
    """Without the numbers of versions and the figures, which differ from attempt to attempt."""
    return line.split(":")[2].strip() if line.startswith("refusal") else "accepted"


GUARD_FLOODS = Table(
    "Attackers who fill the quarantine",
    _jobs,
    rows,
    {
        "kind": "what is sent",
        "n": "attempts",
        "quarantined": "inputs quarantined",
        "repairs": "repairs begun",
        "accepted": "accepted",
        "refused": "refused",
        "received_accuracy": "clean accuracy received",
        "before_accuracy": "served before",
        "after_accuracy": "served after",
        "largest_loss": "largest loss",
        "before_rate": "attack success before",
        "after_rate": "attack success after",
        "second_before_rate": "second trigger before",
        "second_after_rate": "second trigger after",
        "succeeded_rate": "attempts that succeeded",
        "said": "what the gates said",
    },
    "MNIST BadNets (pattern, all to 7) behind `assay guard` over HTTP with the settings of the command line, the "
    "treated network serving. The attacker has five addresses and the received network: he sends test pictures on "
    "which the two networks differ, again and again with a little noise, until a repair was accepted or refused; or "
    "such with a yellow square that the network does not know, pushed by its gradient to the label 3; or these, and as "
    "many with the trigger that it knows, from which there is something to learn. An attempt succeeds if what serves "
    "afterwards has more than 1 point less of clean accuracy than before, or more than 1 point more of attack success, "
    "with the old trigger or with the yellow square. Medians over the attempts, measured on the half of the test part "
    "that nobody sent; in brackets the lowest and highest end of their 95 % intervals, for the last rate the interval.",
)
