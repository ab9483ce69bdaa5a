"""Matplotlib figures as SVG that a page can hold: real text, and colours that follow light and dark.

A figure is drawn in the colours of `palette.LIGHT`; each is then found again and becomes a CSS variable. Names that
come from outside are never shown to matplotlib, which would take `$` for mathematics and warn of letters that its font
lacks: they travel as marks and are put in, escaped, at the end.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assay.report.palette import LIGHT, rules
from assay.report.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, NARROW = 680, 330
"""Width of a chart in CSS pixels, on a desktop and on a phone: text is 12 pixels high in both."""

STYLE: Any = {
    "font.size": 12,
    "svg.fonttype": "none",
    "svg.hashsalt": "assay",  # the same chart twice is the same bytes
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": LIGHT["rule"],
    "axes.linewidth": 1,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.labelcolor": LIGHT["muted"],
    "figure.facecolor": "none",
    "grid.color": LIGHT["line"],
    "grid.linewidth": 1,
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["rule"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.color": LIGHT["rule"],
    "ytick.labelcolor": LIGHT["muted"],
    "ytick.left": False,
    "path.simplify": False,
}


@contextmanager
def style() -> Iterator[None]:
    """The looks of all charts, whatever the user's own settings of matplotlib are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def to_svg(figure: Figure, names: Mapping[str, str] | None = None) -> str:
    """An `<svg>` to be put into a page that declares the palette; `names` are put in place of the marks drawn.

    Its ids are unlike those of any other chart, so that a page can hold many. Draw and save within `style()`.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true">', svg, count=1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href", "href")
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    own = hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>c{own}-", svg)
    for name, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{name})")
    # All marks at once: a name that looks like a mark stays a name.
    return re.sub(r">(@\w+@)<", lambda found: f">{html.escape((names or {}).get(found[1], found[1]))}<", svg)


def standalone(svg: str) -> str:
    """The same chart as a file of its own, for documentation: it brings the palette and follows the reader's mode."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" '
    look = f"<style>{rules()} text{{font-family:system-ui,sans-serif!important}}</style>"
    return re.sub(r"<svg ([^>]*)>", rf"{head}\1>{look}", svg, count=1)


def columns(text: str) -> int:
    """Columns of a typewriter; wide letters, as in Chinese, take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def shorten(name: str, most: int) -> str:
    """The name in one line of at most `most` columns."""
    name = " ".join(visible(name, 4 * most).split())
    if columns(name) <= most:
        return name
    while columns(name) >= most:
        name = name[:-1]
    return name.rstrip() + "…"
