"""The table about NNoculation: a row a network, medians over seeds, nothing shown that was not measured."""

from __future__ import annotations

from typing import Any

from tables import made_up

from assay.bench import TABLES, nnoculation
from assay.bench.nnoculation import inoculated, treated
from assay.bench.table import Job
from assay.bench.zoo import ZooModel, repaired


def results(seeds: tuple[int, ...]) -> list[tuple[Job, dict[str, Any]]]:
    found: list[tuple[Job, dict[str, Any]]] = []
    for seed in seeds:
        model = ZooModel("mnist", seed, "pattern", "single", 7)
        jobs = [Job.of(treated, model), Job.of(inoculated, model), Job.of(repaired, model, method="fine-tuning")]
        found += [(job, made_up(job)) for job in jobs]
    return found


def test_there_is_a_row_a_network_with_medians_over_seeds() -> None:
    rows = nnoculation.rows(results((1, 2, 3)))
    assert [row["network"] for row in rows] == [
        "received", "fine-tuning", "treated by hardening", "repaired while it serves", "the same without generator",
    ]  # fmt: skip
    assert all(row["n"] == 3 and row["seed"] == [1, 2, 3] for row in rows)
    assert rows[0]["clean_accuracy"] == 0.988 and rows[0]["highest_attack_success_rate"] == 0.03
    assert rows[2]["seconds"] == 102.0 and rows[3]["quarantined_triggered_rate"] == 0.9


def test_the_quick_table_is_part_of_the_full_one() -> None:
    table = TABLES["nnoculation"]
    full = [(job.function, job.settings) for job in table.jobs(False)]
    assert all((job.function, job.settings) in full for job in table.jobs(True))
    assert len({str(job) for job in full}) == len(full)


def test_the_halves_of_the_test_part_do_not_meet(monkeypatch: Any) -> None:
    import numpy as np

    from assay.data import Dataset

    x = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    test = Dataset(x, np.zeros(100, np.int64), ("a", "b"), "mnist", "test")
    monkeypatch.setattr(nnoculation, "load_data", lambda name, split: test)
    live, held = nnoculation.halves(ZooModel("mnist", 1, "pattern", "single", 7))
    assert not set(live.x.ravel()) & set(held.x.ravel())
    assert len(live) + len(held) == 100
