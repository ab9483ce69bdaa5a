"""`assay data`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assay.cli.console import COMMON, Common, Outcome
from assay.errors import InputError

if TYPE_CHECKING:
    from assay.data import Dataset


def data(
    name: str,
    *,
    split: Literal["train", "clean", "test"] = "test",
    take: int | None = None,
    download: bool = False,
    common: Common = COMMON,
) -> Outcome:
    """Examples out of a data set: an `.npz` with x and y, or one `.png`.

    Parameters
    ----------
    name
        A data set's name; or a folder of class folders, or an `.npz` with x and y, read whole.
    split
        `train`, `clean` (the defender's share) or `test`; no picture is in two of them.
    take
        How many; all by default.
    download
        Fetch the official data set if it is not here.
    """
    import numpy as np
    from rich.markup import escape

    from assay.data import load

    if take is not None and take < 1:
        raise InputError(f"--take must be at least 1, got {take}")
    if common.out is not None and common.out.suffix not in (".npz", ".png"):
        raise InputError(f"--out must end in .npz or .png, got {common.out}")
    whole = load(name, split, download=download)
    chosen = whole.take(take) if take else whole
    document = {
        "name": name,
        "split": chosen.split,
        "n": len(chosen),
        "of": len(whole),
        "shape": list(chosen.image_shape),
        "class_names": chosen.class_names,
        "per_class": np.bincount(chosen.y, minlength=chosen.classes).tolist(),
        "file": str(_write(chosen, common.out)) if common.out else None,
    }
    shape = "x".join(map(str, chosen.image_shape))
    text = f"{name}, {chosen.split}: {len(chosen)} of {len(whole)} pictures of {shape} (channels, height, width), "
    text += f"{chosen.classes} classes"
    return Outcome(document, escape(text + (f"\nwritten to {document['file']}" if common.out else "")))


def _write(chosen: Dataset, out: Path) -> Path:
    import numpy as np

    from assay.runs import write_atomically

    blob = io.BytesIO()
    if out.suffix == ".npz":
        np.savez_compressed(blob, x=chosen.x, y=chosen.y, class_names=np.array(chosen.class_names))
    else:
        from PIL import Image

        if len(chosen) != 1:
            raise InputError(f"a .png holds one picture, not {len(chosen)}; add --take 1 or write an .npz")
        picture = chosen.x[0]
        Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).save(blob, "PNG")
    write_atomically(out, blob.getvalue())
    return out
