"""What people and broken disks hand to prove, verify, commit and estimate: one sentence, the right exit code."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from assay.cli import main
from assay.cli.console import Common
from assay.cli.prove import prove as prove_command
from assay.integer import IntegerNetwork, save
from assay.integer import graph as g

NONCE = bytes(range(16)).hex()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, named_network: Callable[[str], IntegerNetwork]) -> Path:
    place, network = tmp_path_factory.mktemp("bad"), named_network("perceptron")
    save(network, place / "net.assay")
    x = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4) * 7
    np.savez(place / "x.npz", x=x)
    np.savez(place / "none.npz", x=x[:0])
    np.savez(place / "wide.npz", x=np.zeros((1, 1, 4, 5), np.uint8))
    np.savez(place / "large.npz", x=x.astype(np.int64) + 300)
    np.savez(place / "float.npz", x=x / 255)
    (place / "huge.npz").write_bytes(claiming(10_000_000_000))
    prove_command(place / "net.assay", place / "x.npz", nonce=NONCE, common=Common(out=place / "a.receipt"))
    receipt = (place / "a.receipt").read_bytes()
    (place / "claims.receipt").write_bytes(receipt[:-6000] + b"\xc6\xff\xff\xff\xff")
    (place / "short.receipt").write_bytes(receipt[:1000])
    (place / "later.receipt").write_bytes(receipt.replace(b"receipt\x01", b"receipt\x02", 1))
    (place / "none.receipt").write_bytes(b"")
    (place / "huge.assay").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    (place / "deep.assay").write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
    return place


def claiming(pictures: int) -> bytes:
    """An .npz whose array says that it holds so many pictures."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({pictures}, 1, 4, 4), }}".ljust(117) + "\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        entries.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    return archive.getvalue()


def verify(receipt: str, model: str = "net.assay", inputs: str = "x.npz", nonce: str = NONCE) -> list[str]:
    return ["verify", receipt, "--model", model, "--inputs", inputs, "--nonce", nonce]


def prove(inputs: str, network: str = "net.assay", nonce: str = NONCE) -> list[str]:
    return ["prove", network, inputs, "--nonce", nonce, "--out", "new.receipt"]


BAD: dict[str, list[str]] = {
    "no pictures at all": prove("none.npz"),
    "pictures of another shape": prove("wide.npz"),
    "pictures out of range": prove("large.npz"),
    "pictures that are no whole numbers": prove("float.npz"),
    "ten billion pictures claimed": prove("huge.npz"),
    "a receipt as pictures": prove("a.receipt"),
    "pictures as network": prove("x.npz", network="x.npz"),
    "a terabyte of header": prove("x.npz", network="huge.assay"),
    "a deep header": prove("x.npz", network="deep.assay"),
    "a short nonce": prove("x.npz", nonce="00"),
    "an empty receipt": verify("none.receipt"),
    "a receipt cut short": verify("short.receipt"),
    "a receipt of a later version": verify("later.receipt"),
    "four gigabytes of proof claimed": verify("claims.receipt"),
    "a network as receipt": verify("net.assay"),
    "a receipt as network": verify("a.receipt", model="a.receipt"),
    "no pictures to verify": verify("a.receipt", inputs="none.npz"),
    "a receipt as commitment": ["commit", "a.receipt", "--accept"],
    "a network as commitment": ["commit", "net.assay", "--accept"],
    "committing to pictures": ["commit", "x.npz", "--out", "new.commitment"],
    "estimating a receipt": ["estimate", "a.receipt"],
    "a batch below one": ["estimate", "net.assay", "--batch", "-3"],
    "a batch beyond every limit": ["estimate", "net.assay", "--batch", "100000000000"],
    "a folder": ["estimate", "."],
}


@pytest.mark.parametrize("what", BAD)
def test_it_is_called_unreadable_in_one_sentence_and_nothing_is_written(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(BAD[what]) == 2
    said = capsys.readouterr()
    sentences = [line for line in (said.out + said.err).splitlines() if line.strip() and "…" not in line]
    assert len(sentences) == 1 and "Traceback" not in sentences[0]
    assert not (folder / "new.receipt").exists() and not (folder / "new.commitment").exists()


def test_values_out_of_their_calibrated_range_are_clamped_counted_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One picture of 255s gives an accumulator of 1020 where 4-bit activations were calibrated for less."""
    network = IntegerNetwork(
        (
            g.Input((1, 2, 2)),
            g.Flatten(input=0),
            g.Linear(input=1, weight=np.array([[1, 1, 1, 1], [-1, -1, -1, -1]]), bias=np.zeros(2, np.int64)),
            g.Requantise(input=2, shift=2, low=0, high=15, start=0, stop=2, name="act"),
            g.Linear(input=3, weight=np.array([[1, 0], [0, 1]]), bias=np.zeros(2, np.int64)),
        ),
        ("a", "b"),
        1.0,
    )
    save(network, tmp_path / "net.assay")
    np.savez(tmp_path / "x.npz", x=np.array([255, 3], np.uint8).repeat(4).reshape(2, 1, 2, 2))
    arguments = ["prove", f"{tmp_path}/net.assay", f"{tmp_path}/x.npz", "--nonce", NONCE, "--out", f"{tmp_path}/r"]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["clamped"] == [{"layer": "layer act (requantise)", "clamped": 1, "values": 4}]
    assert main(arguments) == 0
    assert "1 values left their calibrated range and were clamped, most in layer act" in capsys.readouterr().out
    assert main(["verify", f"{tmp_path}/r", "--model", f"{tmp_path}/net.assay", "--inputs", f"{tmp_path}/x.npz",
                 "--nonce", NONCE]) == 0  # fmt: skip
