"""What is predicted of bytes and rounds is what is measured, to the byte; what seconds are predicted from."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import NETWORKS, pictures

from assay.private import Server, connect
from assay.private.architecture import describe
from assay.private.calibration import SIZES, fit, probe, typical
from assay.private.channel import Traffic
from assay.private.cost import work_of
from assay.private.pipeline import Layer, alone, layers_of, waited
from assay.private.rehearsal import rehearse
from assay.private.steps import Plan


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_rehearsal_says_and_hears_as_many_bytes_in_as_many_rounds(name: str, size: int) -> None:
    network = NETWORKS[name]
    with Server(network) as server, connect(f"127.0.0.1:{server.port}", insecure_plaintext=True) as session:
        session.infer(pictures(network, size))
        measured = dict(session._channel.ledger)
        rehearsed = rehearse(session.architecture, size)
    assert set(rehearsed) == set(measured)
    for part, traffic in measured.items():
        told = rehearsed[part]
        assert (told.sent, told.received, told.rounds, told.messages) == (
            traffic.sent, traffic.received, traffic.rounds, traffic.messages,
        ), part  # fmt: skip
    assert np.all([t.seconds >= 0 for t in rehearsed.values()])


def test_the_probe_tells_what_each_unit_of_work_costs() -> None:
    plan = Plan(describe(probe()))
    online = [
        work for size in SIZES for part, work in work_of(plan, size, rehearse(plan.architecture, size)).items()
        if part.startswith("online/") and part.removeprefix("online/").isdigit()
    ]  # fmt: skip
    layers = layers_of(plan)
    for samples in (online, *([getattr(layer, call) for layer in layers] for call in ("ask", "answer", "finish"))):
        units = sorted({unit for work in samples for unit in work})
        rows = np.array([[work.get(unit, 0.0) for unit in units] for work in samples])
        assert np.linalg.matrix_rank(rows / rows.max(axis=0)) == len(units), units


def test_two_parties_at_work_side_by_side_wait_for_the_slower_one() -> None:
    layers = [Layer(node, {"requests": 1}, {"hidden": 1}, {"replies": 1}) for node in range(4)]
    rates = {"requests": 1.0, "hidden": 10.0, "replies": 2.0}
    spent = waited(layers, rates, 1)
    assert spent.keys() == {0, 1, 2, 3}
    assert sum(spent.values()) == pytest.approx(1 + 4 * 10 + 2), "the server never waits but for the first request"
    assert sum(waited(layers, rates | {"requests": 10.0, "hidden": 1.0}, 1).values()) == pytest.approx(48)
    assert sum(waited(layers[:1], rates, 1).values()) == pytest.approx(13), "of one layer nothing is side by side"
    assert sum(waited(layers, rates, 3).values()) == pytest.approx(1 + 12 * 10 + 2)
    assert waited([], rates, 1) == {}


def test_each_call_of_a_linear_layer_is_timed_alone() -> None:
    network = NETWORKS["convolutional"]
    plan = Plan(describe(network))
    samples = alone(network, plan, rounds=2)
    assert [len(each) for each in samples.values()] == [2 * len(plan.linear)] * 3
    assert all(seconds > 0 for each in samples.values() for _, seconds in each)


def test_a_protocol_on_few_values_is_not_taken_for_free() -> None:
    plan = Plan(describe(probe()))
    assert min(plan.values(node) for node in plan.secure) <= 256
    fitted = fit(
        [({"rounds": 4, "digits": 100}, 2e-3), ({"rounds": 4, "digits": 100_000}, 0.022), ({"reveal": 1}, 1e-5)]
    )
    assert fitted["rounds"] == pytest.approx(0.0005, rel=0.1)
    assert fitted["digits"] == pytest.approx(2e-7, rel=0.1)


def test_of_what_is_online_the_usual_inference_counts_and_the_first_does_not() -> None:
    work = {"offline/1": {"base": 1.0, "requests": 2.0}, "offline/request": {"start": 1.0}, "online/2": {"rounds": 3.0}}
    seconds = ((0.3, 0.01, 9.0), (0.1, 0.0, 0.002), (0.2, 0.0, 0.004), (0.1, 0.0, 0.003))
    ledgers = [dict(zip(work, (Traffic(seconds=s) for s in each), strict=True)) for each in seconds]
    assert typical([work] * 4, ledgers) == [
        ("offline/1", {"base": 1.0, "requests": 2.0}, 0.3),
        ("offline/request", {"start": 1.0}, 0.01),
        *(("offline/1", {"requests": 2.0}, s) for s in (0.1, 0.2, 0.1)),
        ("online/2", {"rounds": 3.0}, 0.003),
    ]
