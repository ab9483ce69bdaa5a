"""The client of a proving service: it fixes the network, draws a nonce, asks, and believes only what it verified."""
