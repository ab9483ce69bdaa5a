"""Modules that can be called: `assay.repair` is a package, and also what a user calls.

The import system puts a submodule in place of whatever its parent had under that name, so a function `assay.repair`
beside a package `assay.repair` would be there or not, depending on who imported what before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """From now on, calling the imported `module` calls `function`."""

    class CallableModule(ModuleType):
        __doc__ = function.__doc__

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    sys.modules[module].__class__ = CallableModule
