"""Which network an answer must come from, fixed before the nonce is drawn; and who says that it is this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from assay.errors import AssayError, InputError
from assay.integer import IntegerNetwork
from assay.integer.files import from_bytes
from assay.integer.graph import Input
from assay.proof.asking import pins
from assay.proof.asking.http import SMALL, Place, ServerError, call
from assay.proof.errors import VerificationError
from assay.proof.hidden import CommitmentFile, accept_commitment, read_architecture
from assay.runs import write_atomically

T = TypeVar("T")
By = Literal["model", "commitment", "known server", "first use"]

MAX_NETWORK = 256 << 20
"""Bytes of a network that is fetched from a server; a larger one has to come by another way."""

MAX_COMMITMENT = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Agreed:
    """What a receipt is held against.

    Attributes:
        model: the network, or else
        commitment: to its weights.
        given: what a picture must look like.
        class_names: of the outputs.
        by: who says that this is the right network.
    """

    model: IntegerNetwork | None
    commitment: bytes | None
    given: Input
    class_names: tuple[str, ...]
    by: By

    @property
    def digest(self) -> str:
        """Of the network, or the commitment, in hex."""
        return self.model.digest if self.model is not None else (self.commitment or b"").hex()

    @property
    def kind(self) -> pins.Kind:
        return "network" if self.model is not None else "commitment"

    @property
    def said(self) -> str:
        """Which network it is, in words that claim no more than is known."""
        name = f"SHA-256 {self.digest}" if self.kind == "network" else f"commitment {self.digest}"
        which = {
            "model": "exactly the network that you hold",
            "commitment": "exactly the network that you hold the commitment to",
            "known server": "the same network that this server was first seen with",
            "first use": "one network, of the server's own choice",
        }[self.by]
        return f"{which} ({name})"

    @property
    def not_verified(self) -> tuple[str, ...]:
        """What stays open, worst first."""
        always = "whether that network is accurate, or free of a backdoor; nothing is hidden from the server"
        if self.by in ("model", "commitment"):
            return (always,)
        which = (
            "that this is the network you agreed on, since it came from the server itself; compare its digest with "
            "what the provider published, or give --model or --commitment"
        )
        return (which, always)


def agree(
    place: Place, model: IntegerNetwork | None = None, commitment: bytes | None = None, accept_change: bool = False
) -> Agreed:
    """Fix the network: the caller's, the committed one, or the one this server was first seen with.

    Args:
        accept_change: what the server offers now takes the place of what it was first seen with.

    Raises:
        VerificationError: if the server offers another network than before, or a commitment that is not acceptable.
        ServerError: if it does not say, or send, what is needed.
    """
    if model is not None and commitment is not None:
        raise InputError("give the network or a commitment to it, not both")
    if model is not None:
        return Agreed(model, None, model.input, model.class_names, "model")
    if commitment is not None:
        return _committed(place, commitment, "commitment")
    offer = ask_offer(place)
    pin = None if accept_change else pins.find(place.url)
    if pin is not None and (pin.kind, pin.digest) != (offer.kind, offer.digest):
        raise VerificationError(
            f"{place.url} offers the {offer.kind} {offer.digest}, but was first seen, {pin.first_seen}, with the "
            f"{pin.kind} {pin.digest}; if the provider announced the change, say --accept-change"
        )
    by: By = "first use" if pin is None else "known server"
    if offer.kind == "commitment":
        return _committed(place, bytes.fromhex(offer.digest), by)
    found = _network(place, offer.digest)
    return Agreed(found, None, found.input, found.class_names, by)


class Offer(msgspec.Struct, frozen=True):
    """What `/network` says, as far as a client needs it."""

    proves: bool
    weights: Literal["open", "committed"]
    digest: str

    @property
    def kind(self) -> pins.Kind:
        return "network" if self.weights == "open" else "commitment"


def ask_offer(place: Place) -> Offer:
    """What the server says it serves.

    Raises:
        ServerError: if it makes no sense, or nothing is proven there.
    """
    reply = call(place, "GET", "/network", most=SMALL)
    try:
        offer = msgspec.json.decode(reply.body, type=Offer)
        if len(bytes.fromhex(offer.digest)) != 32 or offer.digest != offer.digest.lower():
            raise ValueError("its digest is none")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ServerError(f"{place.url} is no server of Assay: {error}") from error
    if not offer.proves:
        raise ServerError(f"{place.url} answers without proofs (it runs without --prove), so nothing can be verified")
    return offer


def _network(place: Place, digest: str) -> IntegerNetwork:
    """The network with this digest, out of the cache or from the server."""

    def read(data: bytes) -> IntegerNetwork:
        network = from_bytes(data, f"the network that {place.url} sends")
        if network.digest != digest:
            raise VerificationError(f"{place.url} sends the network {network.digest}, but speaks of {digest}")
        return network

    return _fetched(place, "/network.assay", MAX_NETWORK, pins.cache_folder() / f"{digest}.assay", read)


def _committed(place: Place, commitment: bytes, by: By) -> Agreed:
    """A commitment whose range proof was checked here: 32 bytes alone do not bound the weights."""

    def read(data: bytes) -> bytes:
        if accept_commitment(data) != commitment:
            raise VerificationError(f"{place.url} sends a commitment to another network than {commitment.hex()}")
        return msgspec.msgpack.decode(data, type=CommitmentFile).architecture

    cached = pins.cache_folder() / f"{commitment.hex()}.commitment"
    architecture = _fetched(place, "/network.commitment", MAX_COMMITMENT, cached, read)
    given = read_architecture(architecture).input
    return Agreed(None, commitment, given, _class_names(architecture), by)


class _Names(msgspec.Struct):
    class_names: tuple[str, ...]


class _Graph(msgspec.Struct):
    graph: str


def _class_names(architecture: bytes) -> tuple[str, ...]:
    """They are part of what is committed to; `read_architecture` has checked the text around them."""
    return msgspec.json.decode(msgspec.json.decode(architecture, type=_Graph).graph, type=_Names).class_names


def _fetched(place: Place, route: str, most: int, cached: Path, read: Callable[[bytes], T]) -> T:
    """What `read` makes of a cached file or, if there is no sound one, of what the server sends, which is then kept."""
    if cached.is_file():
        try:
            return read(cached.read_bytes())
        except (OSError, AssayError):
            pass  # it is fetched again
    data = call(place, "GET", route, most=most).body
    found = read(data)
    write_atomically(cached, data)
    return found
