"""The prover as a service: `POST /infer` for receipts, `/live` for interactive proofs; limits for both.

The server is the party that is not trusted. Nothing here matters for what a client may believe; it matters that the
server stays alive whatever it is sent, and says in one sentence what was wrong.
"""
