"""`assay count`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import COMMON, Common, Outcome
from assay.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from assay.search import Counts

LARGEST = 4096
"""Of a picture: channels, height and width."""


def count(
    model: Path | None = None,
    *,
    arch: str | None = None,
    image: str = "3x32x32",
    classes: int = 10,
    network: str | None = None,
    pictures: int = 1,
    common: Common = COMMON,
) -> Outcome:
    """ReLUs, multiplications and parameters of a network, layer by layer: what private inference will cost.

    Parameters
    ----------
    model
        A model file, or an integer network (`net.assay`).
    arch
        An architecture to be counted without a file: a name, torchvision:NAME, or module:function of your own code.
    image
        Channels, height and width of its pictures, with --arch.
    classes
        How many, with --arch.
    network
        Predict private inference of a `net.assay` over `lan`, `wan`, or a link like `100Mbps,40ms`.
    pictures
        How many are answered in one set of rounds, for the prediction.
    """
    from rich.console import Group

    from assay.cli.private import layer_table, over, predicted

    if (model is None) == (arch is None):
        raise InputError("count takes a model file or --arch NAME, one of the two")
    document: dict[str, Any]
    if model is not None and _is_integer_network(model):
        counted, document = _integer_network(model)
        document["predicted"] = predicted(model, network, pictures)
    else:
        counted, document = _network(model, arch, image, classes), {}
    document = {
        "relus": counted.relus,
        "macs": counted.macs,
        "parameters": counted.parameters,
        "maxima": counted.total("maxima"),
        "squares": counted.total("squares"),
        "other": counted.total("other"),
        "others": list(counted.others),
        **document,
        "layers": [asdict(layer) for layer in counted.layers],
    }
    shown: Group | Table = _shown(counted, str(model or arch))
    if document.get("predicted"):
        shown = Group(shown, layer_table(document["predicted"], f"private inference, predicted, {over(network)}"))
    return Outcome(document, shown)


def _is_integer_network(path: Path) -> bool:
    return path.suffix == ".assay"


def _integer_network(path: Path) -> tuple[Counts, dict[str, Any]]:
    from assay.integer import load
    from assay.search.count_integer import count_integer, rounded_values

    network = load(path)
    return count_integer(network), {"rounded": rounded_values(network), "ring_bits": network.ring_bits}


def _network(model: Path | None, arch: str | None, image: str, classes: int) -> Counts:
    from assay.models import load
    from assay.search import count as counted
    from assay.search import count_architecture

    if model is not None:
        opened = load(model)
        return counted(opened.network, opened.spec.input_shape)
    if not 2 <= classes <= 100_000:
        raise InputError(f"--classes must be from 2 to 100000, got {classes}")
    return count_architecture(str(arch), parse_image(image), classes)


def parse_image(text: str) -> tuple[int, int, int]:
    """`3x32x32` as channels, height, width."""
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(side.isascii() and side.isdecimal() and 1 <= int(side) <= LARGEST for side in sides):
        raise InputError(f"--image must be channels x height x width, as 3x32x32, got {text!r}")
    channels, height, width = map(int, sides)
    return channels, height, width


def _shown(counted: Counts, name: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("layer", title=escape(name))
    for heading in ("ReLUs", "multiplications", "parameters"):
        table.add_column(heading, justify="right")
    for layer in counted.layers:
        if layer.relus or layer.macs or layer.parameters:
            table.add_row(
                escape(layer.name or "(network)"), *(f"{n:,}" for n in (layer.relus, layer.macs, layer.parameters))
            )
    table.add_section()
    table.add_row("all", *(f"{n:,}" for n in (counted.relus, counted.macs, counted.parameters)))
    more = [
        (counted.total("maxima"), "comparisons of max pools"),
        (counted.total("squares"), "squares"),
        (counted.total("other"), f"values through {', '.join(counted.others)}, which private inference does not have"),
    ]
    table.caption = "; ".join(f"{n:,} {what}" for n, what in more if n)
    return table
