"""The one who answers: runs the network and proves, in threads of its own, so that the event loop is free meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from assay.integer import IntegerNetwork
from assay.proof.api import plan_for, prove_run, soundness_of
from assay.proof.hidden import HiddenNetwork
from assay.proof.live import prove_live
from assay.proof.serving.limits import Limits
from assay.proof.serving.refusal import Refusal
from assay.proof.soundness import Ledger
from assay.proof.tensors import Ints
from assay.proof.transcript import Stream

T = TypeVar("T")
WARM_NONCE = bytes(16)


class Gone(Exception):
    """Nobody waits for this answer any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Attributes:
    outputs: (pictures, classes).
    receipt: None where no proof was wanted.
    clamped: values that met a limit of the calibrated range; None where that was not looked at.
    seconds: that it took.
    """

    outputs: Ints
    receipt: bytes | None
    clamped: int | None
    seconds: float


class Prover:
    """A network, what it takes to prove its answers, and threads to do so."""

    def __init__(self, network: IntegerNetwork, proves: bool, committed: bool, limits: Limits) -> None:
        """Raises UnprovableError if proofs are wanted of a network that cannot be proven, or committed to."""
        self.network, self.proves = network, proves
        self.hidden = HiddenNetwork(network) if committed else None
        if proves:
            plan_for(network, 1, self.hidden)
        self._answers = ThreadPoolExecutor(limits.at_once, "assay-answer")
        self._talks = ThreadPoolExecutor(max(1, limits.live), "assay-live")
        self._closing = threading.Event()

    def soundness(self) -> Ledger:
        """Of a receipt for one picture."""
        return soundness_of(self.network, 1, self.hidden)

    async def answer(self, pictures: NDArray[np.integer], nonce: bytes | None) -> Answer:
        """The answer, with a receipt if there is a nonce. If the caller is cancelled, the work stops at the next layer.

        Raises:
            InputError: if the pictures do not fit.
            Refusal: 503, if there is not enough memory.
        """
        return await self._in_thread(self._answers, lambda gone: self._make(pictures, nonce, gone))

    async def talk(self, stream: Stream, pictures: NDArray[np.integer]) -> Ints:
        """An interactive proof over the stream; errors as for `answer`, and OSError if the stream breaks."""

        def prove(gone: Callable[[], None]) -> Ints:
            return prove_live(stream, self.network, pictures, hidden=self.hidden, tick=lambda *_: gone())

        return await self._in_thread(self._talks, prove)

    async def warm_up(self) -> None:
        """Load, or the first time compile, the kernels, so that the first client need not wait for it."""
        blank = np.full((1, *self.network.input_shape), self.network.input.low, np.int64)
        await self.answer(blank, WARM_NONCE if self.proves else None)

    def close(self) -> None:
        """No more answers; what is under way stops at the next layer."""
        self._closing.set()
        for threads in (self._answers, self._talks):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[Callable[[], None]], T]) -> T:
        left = threading.Event()

        def gone() -> None:
            if left.is_set() or self._closing.is_set():
                raise Gone

        def run() -> T:
            gone()
            return work(gone)

        future = asyncio.get_running_loop().run_in_executor(threads, run)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            left.set()
            await asyncio.wait([future])  # one's turn ends when the thread does
            future.cancelled() or future.exception()
            raise
        except (Gone, MemoryError) as error:
            lack = isinstance(error, MemoryError)
            sentence = "there is not enough memory for this; send fewer pictures" if lack else "the server is closing"
            raise Refusal(503, sentence) from error

    def _make(self, pictures: NDArray[np.integer], nonce: bytes | None, gone: Callable[[], None]) -> Answer:
        begun = time.perf_counter()
        if nonce is None:
            outputs = self.network.run(pictures)
            return Answer(outputs, None, None, time.perf_counter() - begun)
        plan_for(self.network, len(pictures), self.hidden)  # before the work of running it
        trace = self.network.trace(pictures)
        receipt = prove_run(self.network, list(trace.values), nonce, self.hidden, lambda *_: gone())
        clamped = sum(trace.clamped.values())
        return Answer(trace.values[-1], receipt.to_bytes(), clamped, time.perf_counter() - begun)
