"""Base transfers give the receiver exactly the key that it chose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assay.private import base_ot
from assay.private.channel import pair

SESSION = b"a session of tests"


def test_the_receiver_has_the_chosen_key_and_not_the_other() -> None:
    one, other = pair()
    choices = np.array([0, 1, 1, 0, 1, 0, 0, 1], np.uint8)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(base_ot.send, one, len(choices), SESSION)
        received = base_ot.receive(other, choices, SESSION)
        keys = sent.result()
    rows = np.arange(len(choices))
    assert (received == keys[rows, choices]).all()
    assert len(np.unique(keys.reshape(-1, 16), axis=0)) == 2 * len(choices)
    assert (received != keys[rows, 1 - choices]).any(axis=1).all()


def test_parties_of_different_sessions_have_nothing_in_common() -> None:
    one, other = pair()
    choices = np.array([0, 1], np.uint8)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(base_ot.send, one, 2, b"this session")
        received = base_ot.receive(other, choices, b"that session")
    assert not (received[:, None] == sent.result()).all(axis=2).any()
