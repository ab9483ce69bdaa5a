"""Nobody waits for a compiler while a picture is being answered."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher
from small_networks import NETWORKS, pictures

import assay.private
from assay.private import Server, connect
from assay.private.warming import warm_up


def kernels() -> dict[str, Any]:
    """Every compiled function of the package."""
    modules = [importlib.import_module(f"assay.private.{m.name}") for m in pkgutil.iter_modules(assay.private.__path__)]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }


def test_after_warming_no_session_compiles_or_loads_anything() -> None:
    warm_up()
    before = {name: set(kernel.overloads) for name, kernel in kernels().items()}
    assert any(before.values())
    for network in NETWORKS.values():
        with Server(network) as server, connect(f"127.0.0.1:{server.port}", insecure_plaintext=True) as session:
            for count in (1, 3):
                x = pictures(network, count)
                assert np.array_equal(session.infer(x), network.run(x))
    assert {name: set(kernel.overloads) for name, kernel in kernels().items()} == before
