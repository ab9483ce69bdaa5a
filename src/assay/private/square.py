"""Shares of x² from shares of x: each party squares its own, and twice the product of both comes from prepared ones.

Source: Beaver, "Efficient Multiparty Protocols Using Circuit Randomization" (CRYPTO 1991). With a and b random and a·b
shared beforehand, each party says its share less its random word, and a·y + b·(x-a) + ... follows locally.

Cost: a word each way, one round. Who learns what: nothing; both words are uniform.
"""

from __future__ import annotations

from assay.integer.bounds import Bound
from assay.integer.graph import Square
from assay.private.party import Party
from assay.private.ring import Residues
from assay.private.wire import packed_words, unpacked_words
from assay.private.words import packed_size


def square(party: Party, node: Square, bound: Bound, share: Residues) -> Residues:
    """Shares of x², exact while the ring holds it. `node` and `bound` are not needed: here as for the other protocols.

    With server's x = a + α and client's y = b + β, α and β said aloud: x·y = a·b + α·y + β·a.
    The client adds α·y, the server β·a.
    """
    ring, count = party.ring, share.size
    own, product = (array.reshape(share.shape) for array in party.store.take("products", count))
    width = ring.bits - 1  # twice the product is wanted mod 2^k
    party.channel.send(packed_words(share - own, width))
    said = party.channel.receive(packed_size(count, width))
    other = unpacked_words(said, count, width, ring.dtype).reshape(share.shape)
    product += other * (own if party.serves else share)
    return ring.reduce(share * share + product + product)
