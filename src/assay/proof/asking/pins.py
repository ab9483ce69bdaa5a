"""Which network a server was first seen with, kept as ssh keeps host keys.

A network, or a commitment, that comes from the server itself says nothing about which one was agreed on. All that can
be had without that knowledge is that the server does not change it from one request to the next. The pin is what holds
it to that, so it lies with the user's state and not in the cache, which may be emptied at any time.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

import msgspec

from assay.errors import InputError
from assay.runs import now, to_json, write_atomically

Kind = Literal["network", "commitment"]


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes:
    url: of the server.
    kind: what the digest is of.
    digest: in hex.
    first_seen: date and time, UTC.
    """

    url: str
    kind: Kind
    digest: str
    first_seen: str


def state_folder() -> Path:
    """Where programs of this user keep what must not be lost."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "assay" / "servers"


def cache_folder() -> Path:
    """Files that servers sent, by digest; nothing here is believed without computing it again."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "assay" / "networks"


def pin_file(url: str) -> Path:
    """Where a server's pin is."""
    return state_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def find(url: str) -> Pin | None:
    """The pin of this server; None if it was never asked before.

    Raises:
        InputError: if there is one that cannot be read. It is not passed over: that would be a first use again.
    """
    file = pin_file(url)
    try:
        pin = msgspec.json.decode(file.read_bytes(), type=Pin)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file}, which pins the network of {url}, cannot be read ({error}); mend or remove it"
        ) from error
    if pin.url != url:
        raise InputError(f"{file} pins the network of {pin.url}, not of {url}; remove it")
    return pin


def keep(url: str, kind: Kind, digest: str) -> None:
    """From now on this server is held to this network."""
    write_atomically(pin_file(url), to_json(Pin(url, kind, digest, now())))
