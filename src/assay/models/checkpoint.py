"""Checkpoints of a training: kept after each epoch, taken up again by the same run and by no other."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np
import torch
from torch import nn

from assay.data import Dataset
from assay.errors import InputError
from assay.runs import write_atomically

_FOREIGN = (ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError)
"""What torch raises on a file that is no checkpoint, or one of another network; unpickling errors beside."""


@runtime_checkable
class Part(Protocol):
    """A network, an optimiser or a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


def run_digest(model: nn.Module, data: Dataset, settings: object) -> str:
    """What a run begins with: weights, pictures, labels and settings. Cost: a second for 500 MB."""
    digest = hashlib.sha256(msgspec.json.encode(settings))
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for array in (data.x, data.y):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A file for the state of one run."""

    path: Path
    run: str

    def keep(self, parts: Mapping[str, Part], history: list[dict[str, Any]], epochs: int, attempt: int) -> None:
        """Write the state; the old one stays until the new one is whole.

        Raises:
            InputError: if the disk is full or the folder cannot be written.
        """
        state = {name: part.state_dict() for name, part in parts.items()}
        blob = io.BytesIO()
        torch.save({**state, "run": self.run, "history": history, "epochs": epochs, "attempt": attempt}, blob)
        write_atomically(self.path, blob.getvalue())

    def attempt(self) -> int:
        """Which attempt of this run was under way, counted from 0.

        Raises:
            InputError: if the file is no checkpoint, or one of an unfinished run that began otherwise.
        """
        state = self._state()
        return 0 if state is None else int(state["attempt"])

    def take_up(self, parts: Mapping[str, Part], attempt: int) -> list[dict[str, Any]]:
        """Put the state that was kept of this attempt into `parts`; returns its history, empty where there is none.

        Raises:
            InputError: as `attempt`.
        """
        state = self._state()
        if state is None or state["attempt"] != attempt:
            return []
        try:
            for name, part in parts.items():
                part.load_state_dict(state[name])
        except _FOREIGN as error:
            raise self._unreadable() from error
        history: list[dict[str, Any]] = state["history"]
        return history

    def _state(self) -> dict[str, Any] | None:
        """What is kept of this run; a finished run of other settings is passed over, since its model was saved."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True)
            finished = len(state["history"]) >= int(state["epochs"])
            if state["run"] == self.run and isinstance(state["attempt"], int):
                return state
        except (*_FOREIGN, OSError, pickle.UnpicklingError) as error:
            raise self._unreadable() from error
        if finished:
            return None
        raise InputError(
            f"{self.path} is of an unfinished run with other settings, data or network; finish that, delete it, or "
            "choose another folder"
        )

    def _unreadable(self) -> InputError:
        return InputError(
            f"{self.path} cannot be read as a checkpoint of this training; delete it or choose another folder"
        )
