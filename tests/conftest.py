"""What all tests share: one compute thread, a cache of their own, the data sets beside the project where they are.

The data sets are found through ASSAY_DATA; a test that needs them takes the fixture `shared_data` and is skipped
where they are absent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache or state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets."""
    given = os.environ.get("ASSAY_DATA")
    if not given:
        pytest.skip("ASSAY_DATA is not set: this test needs the real data sets")
    folder = Path(given)
    if not (folder / "mnist.npz").is_file():
        pytest.skip(f"ASSAY_DATA is {given}, which has no mnist.npz: this test needs the real data sets")
    return folder
