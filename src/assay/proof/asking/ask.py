"""`ask`: an answer from a server that is not trusted, verified."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.integer import IntegerNetwork
from assay.proof.api import verify
from assay.proof.asking import pins
from assay.proof.asking.agreed import Agreed, agree
from assay.proof.asking.http import Place, ServerError, call
from assay.proof.asking.live import conversation
from assay.proof.live import verify_live
from assay.proof.receipt import check_pictures, encode_pictures
from assay.proof.soundness import Ledger
from assay.proof.tensors import Ints

NONCE_BYTES = 32
MAX_RECEIPT = 64 << 20
BYTES_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """An answer, and what is known of it.

    Attributes:
        outputs: (pictures, classes), verified.
        agreed: the network that they are verified to come from, and who says so.
        ledger: the soundness, term by term.
        nonce: that was drawn for it; None for an interactive proof.
        receipt: as it came; None for an interactive proof.
        proof_bytes: of the receipt, or what the prover said.
        server_s: seconds that the server says it took; None where it does not say.
        round_trip_s: seconds from request to answer; of an interactive proof, with its verification.
        verify_s: seconds of this machine's time.
    """

    outputs: Ints
    agreed: Agreed
    ledger: Ledger
    nonce: bytes | None
    receipt: bytes | None
    proof_bytes: int
    server_s: float | None
    round_trip_s: float
    verify_s: float

    @property
    def labels(self) -> list[int]:
        """The class of each picture."""
        return [int(label) for label in self.outputs.argmax(1)]

    @property
    def classes(self) -> list[str]:
        """Their names."""
        return [self.agreed.class_names[label] for label in self.labels]

    @property
    def verified(self) -> str:
        """What was shown, in one sentence, and nothing that was not."""
        fresh = "made for your nonce" if self.nonce is not None else "proven to challenges that were drawn here"
        return f"the outputs are those of {self.agreed.said} on exactly your pictures, {fresh}"

    @property
    def not_verified(self) -> tuple[str, ...]:
        """What stays open, worst first."""
        return self.agreed.not_verified


def ask(
    url: str,
    pictures: NDArray[np.integer],
    *,
    model: IntegerNetwork | None = None,
    commitment: bytes | None = None,
    live: bool = False,
    timeout_s: float = 120.0,
) -> Asked:
    """Ask a server for the outputs on these pictures, and verify them.

    Args:
        url: of `assay serve --prove`.
        pictures: `n c h w`, integers.
        model: the network that was agreed on, or else
        commitment: the 32 bytes of the commitment to it. Without either, the network that this server was first seen
            with; that network is then of the server's choosing (`Asked.agreed.not_verified`).
        live: an interactive proof, whose challenges are drawn here, in place of a receipt.

    Raises:
        VerificationError: if the answer is not verified.
        ServerError: if there is none.
        InputError: if the pictures do not fit the network.
    """
    place = Place.parse(url, timeout_s)
    return ask_agreed(place, agree(place, model, commitment), pictures, live=live)


def ask_agreed(place: Place, agreed: Agreed, pictures: NDArray[np.integer], *, live: bool = False) -> Asked:
    """The same for a network that is fixed already. A network of first use is pinned once an answer is verified."""
    check_pictures(agreed.given, pictures)
    asked = (_talk if live else _receive)(place, agreed, pictures)
    if agreed.by == "first use":
        pins.keep(place.url, agreed.kind, agreed.digest)
    return asked


def _receive(place: Place, agreed: Agreed, pictures: NDArray[np.integer]) -> Asked:
    nonce = secrets.token_bytes(NONCE_BYTES)  # after the network is fixed
    begun = time.perf_counter()
    body = encode_pictures(pictures, agreed.given)
    reply = call(place, "POST", f"/infer?nonce={nonce.hex()}", most=MAX_RECEIPT, body=body, kind=BYTES_TYPE)
    waited = time.perf_counter() - begun
    if reply.kind == "application/json":
        raise ServerError(f"{place.url} sends an answer without a proof, so nothing can be verified")
    found = verify(reply.body, pictures, nonce=nonce, model=agreed.model, commitment=agreed.commitment)
    return Asked(
        outputs=found.outputs,
        agreed=agreed,
        ledger=found.ledger,
        nonce=nonce,
        receipt=reply.body,
        proof_bytes=len(reply.body),
        server_s=reply.server_s,
        round_trip_s=waited,
        verify_s=found.verify_s,
    )


def _talk(place: Place, agreed: Agreed, pictures: NDArray[np.integer]) -> Asked:
    begun, cpu = time.perf_counter(), time.thread_time()
    with conversation(place, encode_pictures(pictures, agreed.given)) as stream:
        found = verify_live(stream, pictures, model=agreed.model, commitment=agreed.commitment)
    return Asked(
        outputs=found.outputs,
        agreed=agreed,
        ledger=found.ledger,
        nonce=None,
        receipt=None,
        proof_bytes=stream.received,
        server_s=None,
        round_trip_s=time.perf_counter() - begun,
        verify_s=time.thread_time() - cpu,
    )
