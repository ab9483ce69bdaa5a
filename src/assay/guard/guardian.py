"""The guard: answers, quarantine, and the loop that treats, repairs, tries and swaps."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from assay.data import Dataset, require_clean
from assay.detect.online import ONLINE, thresholds
from assay.guard import log, repairing
from assay.guard.batching import Batcher
from assay.guard.demand import Demand, explained, rest_s
from assay.guard.doubt import suspects
from assay.guard.gates import Evidence, approval, knows, refusal
from assay.guard.metrics import Metrics
from assay.guard.repairing import REMOVER, Job, Running, read_generator
from assay.guard.settings import GuardSettings
from assay.guard.store import Entry, Store, StoreError
from assay.guard.versions import RECEIVED, Answers, Version, Versions, versions_folder
from assay.models import Model, check_fits, load, predict, save
from assay.repair import LiveSettings
from assay.repair.deferring import deferring
from assay.repair.stampers import Stamper

TICK_S = 0.5

SCORED_A_TICK = 48
"""Quarantined inputs that get their second opinions at a time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture, uint8 `c h w`, and who sent it."""

    client: str
    x: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told; `label` is None where the policy is to abstain. `failure`: it could not be quarantined."""

    label: int | None
    probabilities: list[float]
    quarantined: bool
    version: int
    failure: str | None = None


def model_digest(model: Model) -> str:
    """SHA-256 over spec and weights: which model a quarantine belongs to."""
    digest = hashlib.sha256(msgspec.json.encode(model.spec))
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Guard:
    """Everything that one store has: made once, started in a running loop, stopped at the end.

    Raises:
        InputError: at making, as `Store`; DataError, ModelError: if clean set and model do not fit.
    """

    def __init__(
        self,
        model: Model,
        clean: Dataset,
        path: Path,
        settings: GuardSettings,
        *,
        arch: str | None = None,
        begin: Callable[[Job], Running] = repairing.begin,
    ) -> None:
        require_clean(clean)
        self.clean, self.settings, self.arch, self._begin = check_fits(model, clean), settings, arch, begin
        self.received = model.eval()
        self.shape = model.spec.input_shape
        self.store = Store(path, model_digest(model), self.shape, settings.capacity, settings.per_client)
        self.folder = versions_folder(path)
        self.received_file = self.folder / "received.safetensors"
        save(model, self.received_file)
        self.versions = Versions(
            self.store, self.folder, self.received, arch, suspects(self.received, self.clean, settings.seed)
        )
        self.versions.resume()
        self.demand = Demand(self.store, self.folder, self.received, self.clean, settings)
        self.metrics = Metrics()
        self.live: deque[NDArray[np.uint8]] = deque(maxlen=settings.live_window)
        self.batcher: Batcher[Asked, Answer] = Batcher(self._answer, settings.max_batch, settings.max_wait_s)
        self.running: Running | None = None
        self._aside = ThreadPoolExecutor(1, "aside")
        self._scores: dict[str, Any] = {}
        self._limits: dict[str, float] = {}
        self._fresh: Counter[int] = Counter()
        self._fresh_quarantined: Counter[int] = Counter()
        self._written = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    # Answers.

    def _answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """One batch, all of it by the pair that serves when it begins; runs in the batch thread."""
        pair = self.versions.pair
        x = np.stack([one.x for one in asked])
        said = pair.answer(x)
        entries = [
            Entry(asked[i].client, pair.version, int(said.received[i]), int(said.treated[i]),
                  float(said.probabilities[i].max()), asked[i].x)
            for i in map(int, np.flatnonzero(said.doubted))
        ]  # fmt: skip
        failure = None
        try:
            self.store.add(entries)
        except StoreError as error:
            failure = str(error)
        self.live.extend(x[~said.doubted])
        return [self._worded(said, i, failure) for i in range(len(asked))]

    def _worded(self, said: Answers, i: int, failure: str | None) -> Answer:
        label: int | None = int(said.treated[i])
        doubted = bool(said.doubted[i])
        if doubted and self.settings.policy != "answer":
            label = None if self.settings.policy == "abstain" else int(said.received[i])
        probabilities = [round(float(p), 6) for p in said.probabilities[i]]
        return Answer(label, probabilities, doubted and failure is None, said.version, failure if doubted else None)

    async def predict(self, client: str, x: NDArray[np.uint8]) -> Answer:
        """The answer to one picture; when it says `quarantined`, the input is kept."""
        begun = time.monotonic()
        answer = await self.batcher.submit(Asked(client, x))
        self.metrics.answered(answer.version, answer.quarantined, time.monotonic() - begun)
        self._fresh[answer.version] += 1
        self._fresh_quarantined[answer.version] += answer.quarantined
        return answer

    # The loop.

    def start(self) -> None:
        """Begin to answer and to watch."""
        self.batcher.start()
        log.note(self.store, "start", f"version {self.versions.pair.version} serves")
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Answer what has arrived, end a repair that is under way, close the store."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.batcher.stop()
        if self.running:
            self.running.stop()
        self._aside.shutdown()
        with contextlib.suppress(StoreError):
            self._write_history()
            log.note(self.store, "stop", f"version {self.versions.pair.version} was serving")
        self.store.close()

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(StoreError):  # each request that needs the store says so itself
                await self.tick()
            await asyncio.sleep(TICK_S)

    async def tick(self) -> None:
        """One look: is a process finished, is one due, are there inputs without second opinions?"""
        loop = asyncio.get_running_loop()
        if self.running is None:
            job = await loop.run_in_executor(self._aside, self._due)
            if job is not None:
                self.running = self._begin(job)  # here, not in a thread: it would die with it
        elif self.running.finished:
            done, self.running = self.running, None
            await loop.run_in_executor(self._aside, self._conclude, done)
        if self.batcher.waiting < self.settings.max_batch:
            await loop.run_in_executor(self._aside, self._give_second_opinions)
        if time.monotonic() - self._written > 5:
            self._write_history()

    def _write_history(self) -> None:
        """What was answered since the last time, for the page and for the next start."""
        self._written = time.monotonic()
        now, kept = time.time(), self._fresh_quarantined
        rows = [(now, version, count, kept[version]) for version, count in self._fresh.items()]
        with self.store.transaction() as write:
            write.executemany("INSERT INTO history VALUES (?, ?, ?, ?)", rows)
        self._fresh, self._fresh_quarantined = Counter(), Counter()

    # Treatment and repair.

    @property
    def automatic(self) -> bool:
        """Whether repairs are begun and swapped in; a person who goes back to an older version turns it off."""
        return self.store.get("automatic", "yes") == "yes"

    def _due(self) -> Job | None:
        """The work to begin now."""
        if not self.automatic:
            return None
        if not self.versions.all():
            return self._job(None, np.zeros((0, *self.shape), np.uint8)) if self._may_try() else None
        pair = self.versions.pair
        if pair.version == RECEIVED or not self._may_try():
            return None
        entries = self.demand.inputs(pair, self._requests(pair.version), self._limits)
        if not entries:
            return None
        return self._job(self.versions.find(pair.version), np.stack([e.x for e in entries]))

    def _may_try(self) -> bool:
        """A process that failed is tried again after a while."""
        failures = int(self.store.get("failures", "0"))
        return time.time() >= float(self.store.get("failed at", "0")) + rest_s(failures)

    def _requests(self, version: int) -> int:
        (told,) = self.store.rows("SELECT coalesce(sum(requests), 0) FROM history WHERE version = ?", version)[0]
        return int(told) + self._fresh[version]

    def _job(self, serving: Version | None, quarantined: NDArray[np.uint8]) -> Job:
        id = self.versions.next_id()
        earlier = [
            self.folder / v.folder / "generator.safetensors" for v in self.versions.all() if v.kind == "repaired"
        ]
        kind = "treatment" if serving is None else f"repair from {len(quarantined)} inputs"
        log.note(self.store, "begin", f"{kind}, to become version {id}")
        return Job(
            self.folder / f"{id:04d}",
            self.received_file,
            self.arch,
            self.clean,
            self.settings.seed,
            self.folder / serving.folder / "model.safetensors" if serving else None,
            serving.answers_for if serving else (),
            quarantined,
            [file for file in earlier if file.exists()],
            treatment=self.settings.treatment,
            live=LiveSettings().no_faster_than(self._bearable_rate()),
        )

    def _bearable_rate(self) -> float:
        """The learning rate that the treatment chose."""
        treatment = next((v for v in self.versions.all() if v.kind == "pre-treated"), None)
        chosen = ((treatment.record.get("record") or {}) if treatment else {}).get("chosen")  # type: ignore[attr-defined]
        return float(chosen["rate"]) if chosen else float("inf")

    def _conclude(self, done: Running) -> None:
        """Accept or refuse what a process made."""
        id, kind = int(done.job.folder.name), done.job.kind
        result = done.result()
        if result is None:
            self._failed(f"the process of version {id} failed: {done.failure()}")
            return
        self.store.put("failures", "0")
        seconds = round(time.monotonic() - done.begun, 1)
        record = {**result, "seconds": seconds, "inputs": len(done.job.quarantined)}
        if done.job.treated is None:
            self._accept(id, kind, record, f"clean accuracy {100 * result['accuracy']:.1f} %")
            return
        seen = self._evidence(done.job, result)
        why = refusal(seen, self.settings) if self.automatic else "a person has turned swaps off"
        if why is None:
            self._accept(id, kind, record, approval(seen))
            self.demand.met()
        else:
            log.note(self.store, "refusal", f"version {id} is not accepted: {why}")
            remover = done.job.folder / REMOVER if knows(seen, self.settings) else None
            self.demand.in_vain(done.job.treated.parent, remover)
            shutil.rmtree(done.job.folder, ignore_errors=True)

    def _accept(self, id: int, kind: str, record: dict[str, object], reason: str) -> None:
        accuracy = record["accuracy"]
        assert isinstance(accuracy, float)
        self.versions.accept(id, kind, accuracy, record, reason)

    def _failed(self, sentence: str) -> None:
        log.note(self.store, "failure", sentence)
        self.store.put("failures", str(int(self.store.get("failures", "0")) + 1))
        self.store.put("failed at", str(time.time()))

    def _evidence(self, job: Job, result: dict[str, Any]) -> Evidence:
        """What the process measured, and the shadow test: the candidate on recent inputs beside what serves now.

        Where clean pictures are few, beside the received network: a repair begins from that, and the treated one may
        have forgotten what the candidate still knows.
        """
        repaired = load(job.folder / "model.safetensors", self.arch)
        candidate = deferring(self.received, repaired, result["answers_for"])
        recent = list(self.live.copy())  # in one step: the batch thread goes on adding
        changed = 0.0
        if recent:
            x, beside = np.stack(recent), self.versions.pair.treated or self.received
            if self.versions.suspects is not None:
                beside = self.received
            x = x[predict(candidate, x) != predict(beside, x)]
            changed = float((~explained(self.received, candidate, self._learnt(job), x)).sum() / len(recent))
        figures = {n: float("nan") if result[n] is None else float(result[n])
                   for n in ("accuracy", "quality", "stamped_before", "stamped_after", "kept")}  # fmt: skip
        serving = next((v for v in self.versions.all() if job.treated and v.folder == job.treated.parent.name), None)
        return Evidence(
            best=self.versions.best_accuracy(),
            changed=changed,
            live=len(recent),
            serving=serving.accuracy if serving else 0.0,
            repaired=serving is not None and serving.kind == "repaired",
            **figures,
        )

    def _learnt(self, job: Job) -> list[Stamper]:
        """What takes off the trigger that a repair learnt."""
        file = job.folder / REMOVER
        return [read_generator(file, self.shape)] if file.exists() else []

    def _give_second_opinions(self) -> None:
        if not self._scores:
            self._scores = {name: make(self.received, self.clean, self.settings.seed) for name, make in ONLINE.items()}
            self._limits = thresholds(self._scores, self.clean, most=200)
        entries = self.store.unscored(SCORED_A_TICK)
        if entries:
            x = np.stack([e.x for e in entries])
            said = {name: score(x) for name, score in self._scores.items()}
            self.store.score({e.id: {n: float(said[n][i]) for n in said} for i, e in enumerate(entries)})

    # Orders of a person.

    def order(self, version: int, who: str) -> None:
        """Let an accepted version serve, and stop swapping by itself until `resume_swaps`.

        Raises:
            InputError: if there is no such version.
        """
        self.versions.activate(version, who)
        self.store.put("automatic", "no")

    def resume_swaps(self, who: str) -> None:
        """Repairs are begun and swapped in again."""
        self.store.put("automatic", "yes")
        log.note(self.store, "order", f"automatic repairs are on again: {who}")
