"""Use models you did not train, on machines you do not own.

    import secrets
    import assay

    report  = assay.inspect("signs.safetensors")             # is the file safe to open? nothing of it is run
    model   = assay.load("signs.safetensors")                # refuses anything that could run code
    clean   = assay.load_data("my-signs/")                   # a folder of class folders, an .npz, or a data set's name
    verdict = assay.scan(model, clean)                       # .backdoored, .target, .trigger, .p_value
    fixed   = assay.repair(model, clean)                     # .model is new; .before, .after
    assay.save(fixed.model, "signs-repaired.safetensors")

    network = assay.compile(fixed.model, clean)              # the same in exact integers
    nonce = secrets.token_bytes(16)                          # the client's
    answer, receipt = assay.prove(network, clean.x[:1], nonce=nonce)
    assay.verify(receipt, clean.x[:1], answer, nonce=nonce, model=network)   # or VerificationError

The other parts are `assay.integer`, `assay.proof`, `assay.private`, `assay.search` and `assay.guard`.

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
    from assay.integer import compile
    from assay.models import Model, load, save
    from assay.proof import prove, verify
    from assay.repair import repair
    from assay.supply import inspect
    from assay.vet import vet

__all__ = [
    "AssayError",
    "Dataset",
    "Model",
    "compile",
    "inspect",
    "load",
    "load_data",
    "private",
    "prove",
    "repair",
    "save",
    "scan",
    "verify",
    "vet",
]

_PLACES = {
    "AssayError": ("assay.errors", "AssayError"),
    "Dataset": ("assay.data", "Dataset"),
    "Model": ("assay.models", "Model"),
    "compile": ("assay.integer", "compile"),
    "inspect": ("assay.supply", "inspect"),
    "load": ("assay.models", "load"),
    "load_data": ("assay.data", "load"),
    "private": ("assay.private", ""),  # connect, Server and the rest
    "prove": ("assay.proof", "prove"),
    "repair": ("assay.repair", ""),  # the package itself, which can be called
    "save": ("assay.models", "save"),
    "scan": ("assay.detect", "scan"),
    "verify": ("assay.proof", "verify"),
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
