"""What the operator of a guard chooses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from assay.errors import InputError

Policy = Literal["answer", "abstain", "received"]
"""What a client gets when the networks differ: the treated one's answer, none, or the received one's."""


Treatment = Literal["hardening", "nnoculation"]
"""What makes the copy that is served beside the received network; NNoculation's paper has a grid of noise."""


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Settings of the service.

    Attributes:
        policy: see `Policy`.
        treatment: see `Treatment`.
        enough: new quarantined inputs after which a repair begins.
        capacity: quarantined inputs that are kept; the oldest leave.
        per_client: of those, how many of one client; its own oldest leave.
        in_flight: requests of one client that may be under way at once.
        max_batch: pictures that the networks are run on together.
        max_wait_s: how long the first picture of a batch waits for company.
        body_bytes: largest request.
        body_s: seconds that a request may take to arrive.
        most_loss: a candidate's validation accuracy may be this much under the best version so far, and that on stamped
            pictures under the served version's.
        most_change: share of recent inputs outside quarantine whose answer a candidate may change.
        least_quality: share of clean pictures that the learnt trigger must turn for it to be believed.
        least_gain: of stamped pictures, the share that a repair of a repaired version must label rightly on top.
        keeps: share of the inputs of a repair on which a candidate must still differ from the received network.
        live_window: recent inputs outside quarantine that a candidate is tried on.
        seed: of treatment and repairs.
    """

    policy: Policy = "answer"
    treatment: Treatment = "hardening"
    enough: int = 200
    capacity: int = 5000
    per_client: int = 2000
    in_flight: int = 64
    max_batch: int = 64
    max_wait_s: float = 0.005
    body_bytes: int = 8 * 2**20
    body_s: float = 10.0
    most_loss: float = 0.01
    most_change: float = 0.06
    least_quality: float = 0.5
    least_gain: float = 0.05
    keeps: float = 0.7
    live_window: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        whole = ("enough", "capacity", "per_client", "in_flight", "max_batch", "body_bytes", "live_window")
        values = asdict(self)
        if self.policy not in get_args(Policy):
            raise InputError(f"the policy must be one of {', '.join(get_args(Policy))}, got {self.policy!r}")
        if self.treatment not in get_args(Treatment):
            raise InputError(f"the treatment must be one of {', '.join(get_args(Treatment))}, got {self.treatment!r}")
        for name in whole:
            if values[name] < 1:
                raise InputError(f"{name} must be at least 1, got {values[name]}")
        for name in ("most_loss", "most_change", "least_quality", "least_gain", "keeps"):
            if not 0 <= values[name] <= 1:
                raise InputError(f"{name} must be in [0, 1], got {values[name]}")
        if self.enough > min(self.capacity, self.per_client):
            raise InputError(
                f"a repair after {self.enough} inputs needs a quarantine, and a share a client, of as many"
            )
