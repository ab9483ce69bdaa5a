"""Coverage-guided fuzzing of both verifiers: `make fuzz`, or `pip install -e '.[fuzz]'` and then

    python benchmarks/fuzz_atheris.py -runs=100000 [CORPUS]

Other options are libFuzzer's. It starts from honest receipts, changes them as the table of changed receipts does and as
libFuzzer likes to, and stops at the first receipt that is accepted and not honest, that raises anything but
VerificationError, or that the stand-alone verifier judges differently. What it found lies in `runs/fuzz`, is where the
next run begins, and so is tried first until it is mended.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

from assay.bench.fuzzing import Victim, victims
from assay.bench.mutation import mutate
from assay.integer.files import to_bytes
from assay.proof import VerificationError, parse

with atheris.instrument_imports(include=["assay.proof.standalone"]):  # compiled kernels cannot be instrumented
    from assay.proof import standalone

KEPT = Path("runs/fuzz")
HONEST = {victim.receipt for victim in victims().values()}


def judged(victim: Victim, data: bytes) -> int:
    """Exit code of the fast verifier: 0 accepted, 1 rejected, 2 unreadable."""
    try:
        victim.verify(data, trusting=True)
    except VerificationError as error:
        return error.exit_code
    return 0


def judged_alone(victim: Victim, data: bytes) -> int:
    """That of the stand-alone one."""
    model, commitment = victim.known.get("model"), victim.known.get("commitment")
    try:
        receipt = standalone.read_receipt(data)
        network = standalone.read_network(to_bytes(model)) if model else None
        standalone.verify(receipt, network, commitment, None, None)
    except standalone.Unreadable:
        return 2
    except standalone.Rejected:
        return 1
    return 0


def check(data: bytes) -> None:
    """Both verifiers on one input, for each of the networks."""
    for victim in victims().values():
        fast, alone = judged(victim, data), judged_alone(victim, data)
        if fast != alone:
            raise AssertionError(f"exit codes {fast} and {alone}")
        if fast == 0 and data not in HONEST:
            raise AssertionError("a changed receipt was accepted")


def change(data: bytes, max_size: int, seed: int) -> bytes:
    """A mutator for libFuzzer: its own, or that of the table, which starts from what is still a receipt."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        return bytes(atheris.Mutate(data, max_size))[:max_size]
    try:
        start = parse(data).to_bytes()
    except VerificationError:
        start = rng.choice(sorted(HONEST))
    return mutate(start, rng)[1][:max_size]


def main() -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    for k, receipt in enumerate(sorted(HONEST)):
        (KEPT / f"honest-{k}").write_bytes(receipt)
    options = ["-max_len=20000", f"-artifact_prefix={KEPT}/", str(KEPT)]  # the first folder is the one that grows
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:]], check, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
