"""Use models you did not train, on machines you do not own.

    import assay

    report  = assay.inspect("signs.safetensors")             # is the file safe to open? nothing of it is run
    model   = assay.load("signs.safetensors")                # refuses anything that could run code
    clean   = assay.load_data("my-signs/")                   # a folder of class folders, an .npz, or a data set's name
    verdict = assay.scan(model, clean)                       # .backdoored, .target, .trigger, .p_value
    fixed   = assay.repair(model, clean)                     # .model is new; .before, .after
    assay.save(fixed.model, "signs-repaired.safetensors")

    with assay.private.connect("server:7000", cert=…, key=…, server_ca=…) as session:
        y = session.infer(x)                                 # the server did not see x, nor we its weights

Names are imported when they are first used, so that `import assay` takes a moment.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay import private
    from assay.data import Dataset
    from assay.data import load as load_data
    from assay.detect import scan
    from assay.errors import AssayError
    from assay.models import Model, load, save
    from assay.repair import repair
    from assay.supply import inspect
    from assay.vet import vet

__all__ = ["AssayError", "Dataset", "Model", "inspect", "load", "load_data", "private", "repair", "save", "scan", "vet"]

_PLACES = {
    "AssayError": ("assay.errors", "AssayError"),
    "Dataset": ("assay.data", "Dataset"),
    "Model": ("assay.models", "Model"),
    "inspect": ("assay.supply", "inspect"),
    "load": ("assay.models", "load"),
    "load_data": ("assay.data", "load"),
    "private": ("assay.private", ""),  # connect, Server and the rest
    "repair": ("assay.repair", ""),  # the package itself, which can be called
    "save": ("assay.models", "save"),
    "scan": ("assay.detect", "scan"),
    "vet": ("assay.vet", ""),
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = import_module(module)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value
