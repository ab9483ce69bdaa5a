"""The same study on a Ray cluster of this machine: as many trials, and a worker that dies costs one retry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import study_jobs

from assay.errors import InputError
from assay.search.cluster import RayExecutor
from assay.search.controller import Chance
from assay.search.space import Space
from assay.search.study import Study, Trying, run_study

SPACE = Space(4)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster with two workers, ended afterwards."""
    ray = pytest.importorskip("ray", reason="this test needs the extra `ray`")
    here = str(Path(study_jobs.__file__).parent)
    context = ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8,
        runtime_env={"env_vars": {"PYTHONPATH": _python_path(here)}},
    )  # fmt: skip
    yield context.address_info["address"]
    ray.shutdown()


def _python_path(here: str) -> str:
    import sys

    return ":".join([here, *(p for p in sys.path if p)])


@pytest.mark.filterwarnings("ignore")
def test_a_study_on_a_cluster_has_the_trials_of_one_on_this_process(address: str, tmp_path: Path) -> None:
    study = Study(SPACE, tmp_path / "journal.jsonl", "test")
    trying = Trying(study_jobs.worth, lambda s: {"skeleton": s})
    run_study(study, [Chance(SPACE, 1)], 4, trying, lambda: RayExecutor(address), 2)
    expected = Chance(SPACE, 1)
    assert [t.skeleton for t in study.trials] == [expected.ask() for _ in range(4)]
    assert all(t.accuracy == study_jobs.worth({"skeleton": t.skeleton})["accuracy"] for t in study.trials)


@pytest.mark.filterwarnings("ignore")
def test_a_worker_of_the_cluster_that_dies_costs_one_retry(address: str, tmp_path: Path) -> None:
    study = Study(SPACE, tmp_path / "journal.jsonl", "test")
    trying = Trying(study_jobs.dies_once, lambda s: {"skeleton": s, "mark": str(tmp_path / "mark")})
    run_study(study, [Chance(SPACE, 1)], 3, trying, lambda: RayExecutor(address), 2)
    assert len(study.of("random")) == 3
    assert 2 in {t.attempts for t in study.trials}


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'assay\[ray\]'"):
        RayExecutor("auto")
