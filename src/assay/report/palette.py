"""The colours of pages and charts: one set for light, one for dark.

Every text colour has a contrast of at least 4.5 to the surfaces it stands on, and what charts are made of at least 3
(WCAG 2.2, 1.4.3 and 1.4.11); tests measure both.
"""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "raised": "#f5f6f8",
    "line": "#dbdfe5",
    "rule": "#858f9c",
    "ink": "#171a1f",
    "muted": "#565f6b",
    "quiet": "#8b95a3",
    "calm": "#2f5f9e",
    "bad": "#b42318",
    "bad-tint": "#fdeeec",
    "good": "#17683a",
    "good-tint": "#eaf6ee",
    "unsure": "#875300",
    "unsure-tint": "#fdf4e2",
    "on-badge": "#fffffe",
}
"""No two values are equal: a chart is drawn in these, and each is then found again and made a variable."""

DARK: Mapping[str, str] = {
    "paper": "#111419",
    "raised": "#191d24",
    "line": "#2d343e",
    "rule": "#6b7786",
    "ink": "#e8ebef",
    "muted": "#9fa9b6",
    "quiet": "#626e7e",
    "calm": "#82b1f2",
    "bad": "#ff8f84",
    "bad-tint": "#331b1a",
    "good": "#70d49c",
    "good-tint": "#14291d",
    "unsure": "#efbb62",
    "unsure-tint": "#2e2412",
    "on-badge": "#101318",
}


def rules() -> str:
    """CSS that declares every colour as a variable. Dark is for screens alone: paper is white."""
    return f":root{{{_declared(LIGHT)}}}@media screen and (prefers-color-scheme:dark){{:root{{{_declared(DARK)}}}}}"


def _declared(colours: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())
