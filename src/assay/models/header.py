"""What the header of a model file says, checked: it comes from outside, and nothing is built before it is in bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from assay.errors import ModelError
from assay.models.architectures import ARCHITECTURES
from assay.models.model import ModelSpec

HEADER_KEY = "assay.model"
"""Where in the safetensors metadata the `ModelSpec` stands, as JSON."""

MAX_HEADER = 16 * 2**20
"""Characters."""

MAX_CHANNELS, MAX_SIDE, MAX_VALUES = 64, 4096, 2**22
"""Of the picture that a header may ask for: channels, pixels a side, and all of them multiplied."""

MAX_CLASSES, MAX_NAME = 100_000, 200

MAX_ARGUMENT = 100_000
"""An architecture's argument: width, depth or the like."""

MAX_TEXT = 2**20
"""Characters of an argument that is a text: the list of layers of a `layer-graph`."""

MAX_SCALE = 1e4
"""Mean and standard deviation, for pictures in [0, 1]; a standard deviation is at least 1 / MAX_SCALE."""


def read_header(path: Path, metadata: Mapping[str, str], arch: str | None = None) -> ModelSpec | None:
    """The spec in a file's metadata, or None if there is none.

    Args:
        arch: the architecture that the user names; it stands above the header's, whose arguments are then for another.

    Raises:
        ModelError: if the header is not a spec, is out of bounds, or names code that is not built in.
    """
    if HEADER_KEY not in metadata:
        return None
    text = metadata[HEADER_KEY]
    try:
        if len(text) > MAX_HEADER:
            raise ValueError(f"it has {len(text)} characters, more than {MAX_HEADER}")
        spec = msgspec.json.decode(text, type=ModelSpec)
        _check(spec)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise ModelError(f"{path}: its header does not describe a model: {error}") from error
    if arch is not None and arch != spec.architecture:
        return msgspec.structs.replace(spec, architecture=arch, arguments={})
    if arch is None and spec.architecture not in ARCHITECTURES and not spec.architecture.startswith("torchvision:"):
        raise ModelError(
            f"{path}: its header names the architecture {spec.architecture[:MAX_NAME]!r}, which is not built in; "
            "name your code with --arch module:function"
        )
    return spec


def _check(spec: ModelSpec) -> None:
    """Raise ValueError for what is out of bounds."""
    channels, *sides = spec.input_shape
    if not (1 <= channels <= MAX_CHANNELS and all(1 <= side <= MAX_SIDE for side in sides)):
        raise ValueError(f"it asks for pictures of {spec.input_shape}; at most {MAX_CHANNELS}x{MAX_SIDE}x{MAX_SIDE}")
    if math.prod(spec.input_shape) > MAX_VALUES:
        raise ValueError(f"it asks for pictures of {spec.input_shape}; at most {MAX_VALUES:,} values are taken")
    if not 2 <= spec.classes <= MAX_CLASSES:
        raise ValueError(f"it names {spec.classes} classes; 2 to {MAX_CLASSES:,} are needed")
    if any(len(name) > MAX_NAME or not name.isprintable() for name in spec.class_names):
        raise ValueError(f"class names must be printable and of {MAX_NAME} characters at most")
    if len(spec.mean) != channels or len(spec.std) != channels:
        raise ValueError(f"mean and std must have {channels} entries, one a channel")
    if not all(abs(m) <= MAX_SCALE for m in spec.mean) or not all(1 / MAX_SCALE <= s <= MAX_SCALE for s in spec.std):
        raise ValueError(f"a mean is at most {MAX_SCALE:g}, and a std from {1 / MAX_SCALE:g} to {MAX_SCALE:g}")
    for name, value in spec.arguments.items():
        fits = len(value) <= MAX_TEXT if isinstance(value, str) else abs(value) <= MAX_ARGUMENT
        if not fits or not name.isidentifier() or len(name) > MAX_NAME:
            raise ValueError(f"the argument {name[:80]!r} of its architecture is out of range")
