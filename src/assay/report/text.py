"""How values are written: untrusted strings made harmless to the eye, figures with their units."""

from __future__ import annotations

import math
import unicodedata

LONGEST = 4000
"""Characters of one string; a name in a hostile file may be megabytes long."""


def visible(text: str, longest: int = LONGEST) -> str:
    """Characters that hide or reorder text (controls, bidirectional marks, surrogates) as `\\u202e`; the rest as it is.

    Escaping markup is not done here: the template does that for every string.
    """
    cut = text if len(text) <= longest else text[:longest] + "…"
    return "".join(c if unicodedata.category(c)[0] != "C" or c in "\n\u200d" else _code(c) for c in cut)


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def percent(rate: float | None) -> str:
    """`0.987` as `98.7 %`; what was not measured as `–`."""
    return "–" if rate is None or not math.isfinite(rate) else f"{100 * rate:.1f}\u00a0%"


def between(interval: tuple[float, float, float]) -> str:
    """The ends of a 95 % interval, as `91.1 – 99.7 %`."""
    return f"{100 * interval[1]:.1f}\u00a0–\u00a0{percent(interval[2])}"


def p_value(p: float | None) -> str:
    """Three decimals, or `< 0.001`."""
    if p is None or not math.isfinite(p):
        return "–"
    return f"{p:.3f}" if p >= 0.001 else "<\u00a00.001"


def p_equals(p: float) -> str:
    """The same within a sentence: `p = 0.048`."""
    return f"p\u00a0{p_value(p)}" if p < 0.001 else f"p\u00a0=\u00a0{p_value(p)}"


def size(count: int) -> str:
    """Bytes in the unit that a person would use."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f}\u00a0{unit}"
    return f"{count}\u00a0bytes"


def seconds(count: float) -> str:
    """`0.04 s`, `15.2 s`, `6 min 10 s`."""
    if count < 60:
        return f"{count:.2f}\u00a0s" if count < 1 else f"{count:.1f}\u00a0s"
    whole = round(count)
    return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"


def figure(value: float) -> str:
    """Three significant digits, no exponent for the sizes that charts have."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def prose(line: str) -> str:
    """A percent sign does not begin a line."""
    return line.replace(" %", "\u00a0%")


def sentence(line: str) -> str:
    """Prose with a capital first letter and no full stop, which the page sets."""
    line = prose(line.strip().rstrip("."))
    return line[:1].upper() + line[1:]


def words(name: str) -> str:
    """`neural_cleanse` as a person writes it."""
    return name.replace("_", " ")
