"""Private inference between two parties: the server never sees the picture, the client never sees the weights.

    with assay.private.connect("server:7000", cert=…, key=…, server_ca=…) as session:
        session.prepare(batches=4)       # offline: no picture is needed yet
        y = session.infer(x)             # online: the integers that IntegerNetwork.run gives

Semi-honest parties, 128 bits computational and 40 bits statistical, no third party; see docs/threat-models/private.md.
"""

from __future__ import annotations

from assay.private.architecture import Architecture, describe
from assay.private.channel import ProtocolError
from assay.private.client import Session, connect
from assay.private.emulator import Emulator, Link, parse_link
from assay.private.keys import make_keys
from assay.private.limits import Limits
from assay.private.processes import Run, between_processes
from assay.private.profile import Profile
from assay.private.server import Server
from assay.private.steps import Plan
from assay.private.tls import client_context, server_context

__all__ = [
    "Architecture",
    "Emulator",
    "Limits",
    "Link",
    "Plan",
    "Profile",
    "ProtocolError",
    "Run",
    "Server",
    "Session",
    "between_processes",
    "client_context",
    "connect",
    "describe",
    "make_keys",
    "parse_link",
    "server_context",
]
