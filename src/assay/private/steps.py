"""The plan: an integer network as steps of two parties, derived by both of them from its architecture alone.

Every tensor is shared. One that enters linear layers has one mask r an inference; x - r is opened once, by one message
of the client, and every layer that reads it uses it. A linear layer then costs nothing while the client waits: the
server computes W(x - r) + s + b, the client has had W·r - s since the offline phase. Rearranging, adding and summing
is done by each party on its own share. All else is a protocol between the two.

Source: Delphi (Mishra et al., USENIX Security 2020), section 4; one mask a tensor as in `private.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

from assay.integer import graph as g
from assay.private.architecture import LINEAR, SECURE, Architecture


@dataclass(frozen=True, slots=True)
class Open:
    """The client sends its share less the mask; the server then knows x - r."""

    node: int


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or linear layer: local, by what was prepared. `layer` counts these."""

    node: int
    layer: int


@dataclass(frozen=True, slots=True)
class Local:
    """Each party works on its own share."""

    node: int


@dataclass(frozen=True, slots=True)
class Secure:
    """A protocol between the two parties."""

    node: int


@dataclass(frozen=True, slots=True)
class Reveal:
    """The server sends its share of the answer."""

    node: int


Step = Open | Product | Local | Secure | Reveal


@dataclass(frozen=True, eq=False)
class Plan:
    """What the two parties do, in order."""

    architecture: Architecture

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """In the order of the nodes; a tensor is opened right before the first linear layer that reads it."""
        steps: list[Step] = []
        opened: set[int] = set()
        layer = 0
        for position, node in enumerate(self.architecture.nodes):
            if isinstance(node, LINEAR):
                if node.input not in opened:
                    opened.add(node.input)
                    steps.append(Open(node.input))
                steps.append(Product(position, layer))
                layer += 1
            elif isinstance(node, SECURE):
                steps.append(Secure(position))
            elif not isinstance(node, g.Input):
                steps.append(Local(position))
        return (*steps, Reveal(len(self.architecture.nodes) - 1))

    @cached_property
    def linear(self) -> tuple[int, ...]:
        """The nodes of the linear layers, in order."""
        return tuple(step.node for step in self.steps if isinstance(step, Product))

    @cached_property
    def masked(self) -> tuple[int, ...]:
        """The tensors that are opened."""
        return tuple(step.node for step in self.steps if isinstance(step, Open))

    @cached_property
    def secure(self) -> tuple[int, ...]:
        """The nodes that take a protocol."""
        return tuple(step.node for step in self.steps if isinstance(step, Secure))

    @cached_property
    def last_use(self) -> dict[int, int]:
        """Of each tensor: the index of the step after which its shares are no longer needed."""
        last: dict[int, int] = {}
        for index, step in enumerate(self.steps):
            read = (step.node,) if isinstance(step, Open | Reveal) else self.architecture.nodes[step.node].inputs
            last.update(dict.fromkeys(read, index))
        return last

    def values(self, node: int) -> int:
        """Values of one tensor of one picture."""
        return prod(self.architecture.shapes[node])

    def source(self, node: int) -> int:
        """The tensor that a node reads which reads only one."""
        (source,) = self.architecture.nodes[node].inputs
        return source


Tick = Callable[[str, int, int], None]
"""Told what is being done, and how much of it is done."""


def no_tick(what: str, done: int, total: int) -> None:
    """For those who do not want to know."""
