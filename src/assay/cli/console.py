"""What every command shares: common options, one place that prints, errors as sentences, exit codes.

Exit codes: 0 fine; 1 a finding; 2 could not tell; 130 interrupted. What is not 0 is not acceptance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from assay.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from assay.models import Rate

MAX_SEED = 2**31 - 1

MAX_THREADS = 1024


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options that every command takes.

    Attributes:
        json: One JSON document on stdout, nothing else there.
        out: Where results are written.
        seed: The same seed, input and machine give the same result.
        threads: Compute threads; all cores by default.
        debug: Show the traceback of an error.

    Raises:
        InputError: if seed or threads are out of range.
    """

    json: Annotated[bool, Parameter(negative=())] = False
    out: Path | None = None
    seed: int = 0
    threads: int | None = None
    debug: Annotated[bool, Parameter(negative=())] = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"--seed must be from 0 to {MAX_SEED}, got {self.seed}")
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise InputError(f"--threads must be from 1 to {MAX_THREADS}, got {self.threads}")

    def use_threads(self) -> None:
        """Tell torch how many threads to use, if the user said so."""
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)


COMMON = Common()
"""What a command gets that was given none of these options."""


@dataclass(frozen=True)
class Outcome:
    """What a command found: a JSON document for programs, a text for people, an exit code for both."""

    document: dict[str, Any]
    text: RenderableType
    exit_code: int = 0


def rate_json(name: str, rate: Rate) -> dict[str, Any]:
    """A rate beside its interval and n, as JSON keys."""
    return {name: rate.value, f"{name}_interval": list(rate.interval), f"{name}_n": rate.n}


def listed(names: Sequence[object], most: int = 10) -> str:
    """Names with commas between them, and how many more there are; nothing in them is taken for markup."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(as_text(str(name)) for name in names[:most]) + more


def printable(text: str) -> str:
    """One line; whatever in it could steer a terminal (of a name out of a file, say) is shown as a mark."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def as_text(said: str) -> str:
    """Text from outside, fit for the terminal: nothing in it is taken for markup, or steers."""
    from rich.markup import escape

    return escape(printable(said))


def show(outcome: Outcome, as_json: bool) -> None:
    """Print it: the document alone on stdout, or the text."""
    if as_json:
        from assay.runs import to_json

        sys.stdout.write(to_json(outcome.document).decode())
        return
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console.width = WIDTH
    console.print(outcome.text, soft_wrap=isinstance(outcome.text, str), crop=False)


WIDTH = 110
"""Columns of a table that is not printed on a terminal."""


def complain(sentence: str) -> None:
    """One line on stderr."""
    print(f"assay: {printable(sentence)}", file=sys.stderr)


@dataclass
class Progress:
    """Progress on stderr: a bar a task, with what is being measured and the time left.

    Nothing is drawn where stderr is not a terminal; there each task says one line when it begins.
    """

    live: Any
    tasks: dict[str, Any] = field(default_factory=dict)

    def __call__(self, task: str, done: float, total: float, note: str = "") -> None:
        """Say that `done` of `total` of `task` is done."""
        if self.live is None:
            if task not in self.tasks:
                self.tasks[task] = None
                print(f"{task} …", file=sys.stderr, flush=True)
            return
        if task not in self.tasks:
            self.tasks[task] = self.live.add_task(task, total=total, note="")
        self.live.update(self.tasks[task], completed=done, total=total, note=note)

    def ticker(self, task: str) -> Callable[[int, int, dict[str, float]], None]:
        """The same, in the form that the training loop calls."""

        def tick(step: int, steps: int, values: dict[str, float]) -> None:
            self(task, step, steps, f"loss {values['loss']:.3f}  accuracy {100 * values['accuracy']:.1f} %")

        return tick


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars while the block runs."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress(None)
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(24),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=console, transient=False) as live:
        yield Progress(live)
