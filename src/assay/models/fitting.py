"""Whether pictures fit a model: size, channels, classes, and the preprocessing that a bare state dict does not say."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from assay.data import Dataset, normalisation
from assay.errors import ModelError
from assay.models.measure import clean_accuracy
from assay.models.model import Model, ModelSpec

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

_ENOUGH = 1000
"""Pictures to choose a preprocessing by."""


def check_fits(model: Model, data: Dataset) -> Dataset:
    """`data` as the model sees it: with the model's class names, and labels that are its outputs.

    Classes go by their names; where those are not the model's but numbers, they are its outputs by number.

    Raises:
        ModelError: if pictures or classes are not those of the model.
    """
    if data.image_shape != model.spec.input_shape:
        want, got = ("x".join(map(str, shape)) for shape in (model.spec.input_shape, data.image_shape))
        raise ModelError(f"the model takes pictures of {want} (channels, height, width), but {data.name} has {got}")
    outputs = np.array(_outputs(data, model.spec.class_names), np.int64)
    return replace(data, y=outputs[data.y], class_names=model.spec.class_names)


def _outputs(data: Dataset, names: tuple[str, ...]) -> list[int]:
    """For each class of the data, which output of the model it is."""
    if data.class_names == names:
        return list(range(len(names)))
    places = {name: i for i, name in enumerate(names)}
    if len(places) == len(names) and all(name in places for name in data.class_names):
        return [places[name] for name in data.class_names]
    if all(name.isdecimal() for name in data.class_names):
        numbers = [int(name) for name in data.class_names]
        if max(numbers) >= len(names):
            raise ModelError(f"the model knows {len(names)} classes, but {data.name} has a class {max(numbers)}")
        if len(set(numbers)) < len(numbers):
            raise ModelError(f"{data.name} has two classes of the same number: {', '.join(data.class_names)}")
        return numbers
    stranger = next((name for name in data.class_names if name not in places), data.class_names[0])
    raise ModelError(
        f"the model knows {len(names)} classes, and {stranger[:80]!r} of {data.name} is not one of them "
        f"({', '.join(names[:5])}, ...); name the classes as the model does, or by number, 0 to {len(names) - 1}"
    )


def likely_preprocessing(model: Model, like: Dataset) -> ModelSpec:
    """The model's spec with the usual preprocessing under which it labels most of the pictures rightly.

    Cost: five runs over at most 1,000 pictures.
    """
    channels = like.image_shape[0]
    usual = [((0.0,), (1.0,)), ((0.5,), (0.5,)), ((0.0,), (1 / 255,))]
    candidates = [normalisation(like), *((m * channels, s * channels) for m, s in usual)]
    candidates += [_IMAGENET] if channels == 3 else []
    specs = [msgspec.structs.replace(model.spec, mean=mean, std=std) for mean, std in candidates]
    some = like.halves(min(1.0, _ENOUGH / len(like)), seed=0)[0]
    return max(specs, key=lambda spec: clean_accuracy(Model(model.network, spec), some).value)
