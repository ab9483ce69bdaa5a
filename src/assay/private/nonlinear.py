"""What is not linear in a network, as protocols between two parties that hold shares: the executor's way in."""

from __future__ import annotations

from math import prod

from assay.integer.bounds import Bound
from assay.integer.graph import MaxPool, Node, ReLU, Requantise, Square
from assay.private.activation import relu, relu_plan, requantise, rounding, width
from assay.private.max_pool import max_pool, pool_demand, pool_plan
from assay.private.ot_store import Demand
from assay.private.party import Party
from assay.private.ring import Residues, Ring
from assay.private.square import square

__all__ = ["compute", "demand_of", "max_pool", "relu", "requantise", "ring_bits", "square"]


def compute(party: Party, node: Node, bound: Bound, share: Residues) -> Residues:
    """The party's share of what a node computes, bit for bit as `assay.integer.definition` has it.

    Args:
        bound: of the tensor that is read. Only its least and its greatest value matter, and both parties give the same.
        share: `n c h w` or `n k`.

    Raises:
        ProtocolError: if the other party does not keep to the protocol, or what was prepared is used up.
    """
    party.agree()
    match node:
        case ReLU():
            return relu(party, node, bound, share)
        case Requantise():
            return requantise(party, node, bound, share)
        case MaxPool():
            return max_pool(party, node, bound, share)
        case Square():
            return square(party, node, bound, share)
    raise TypeError(f"{type(node).__name__} is no protocol: it is linear, or no computation")


def demand_of(node: Node, bound: Bound, ring: Ring, shape: tuple[int, ...]) -> Demand:
    """What `compute` takes from the store for a batch of shape `n c h w` or `n k` that is read, exactly."""
    match node:
        case ReLU():
            return relu_plan(node, bound).demand(prod(shape) // shape[1] * (node.stop - node.start))
        case Requantise():
            return rounding(node, bound)[0].demand(prod(shape))
        case MaxPool():
            return pool_demand(node, bound, shape)
        case Square():
            return Demand(products=prod(shape))
    raise TypeError(f"{type(node).__name__} is no protocol: it is linear, or no computation")


def ring_bits(node: Node, bound: Bound) -> int:
    """Bits of the smallest ring in which `compute` is exact for values within the bound."""
    match node:
        case ReLU():
            return relu_plan(node, bound).bits
        case Requantise():
            return rounding(node, bound)[0].bits
        case MaxPool():
            return pool_plan(bound).bits
        case Square():
            return width(0, bound.largest**2)
    raise TypeError(f"{type(node).__name__} is no protocol: it is linear, or no computation")
