"""Archives that show one reader other members than another, or more than anyone can look at."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable

import make
import numpy as np
import pytest

from assay.supply import FileReport, inspect_bytes, packed, zip_file
from assay.supply import report as limits

EVIL = make.shell()
MEMBERS = make.torch_members(make.state_dict())
ROOT = next(iter(MEMBERS)).partition("/")[0]
PLAIN = make.zip_bytes(MEMBERS)


def look(blob: bytes) -> FileReport:
    return inspect_bytes("attack", blob)


def what(report: FileReport) -> str:
    return " ".join(f"{f.what} at {f.where};" for f in report.findings)


def with_evil(**members: bytes) -> bytes:
    return make.zip_bytes(MEMBERS | {name.replace("__", "/"): blob for name, blob in members.items()})


def test_a_torch_archive_rewritten_by_another_program_is_still_safe() -> None:
    assert look(PLAIN).verdict == "safe"
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    assert look(blob.getvalue()).verdict == "safe"


def test_an_archive_written_to_a_pipe_is_read_with_the_sizes_that_follow_each_member() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    assert look(pipe.getvalue()).verdict == "safe"


@pytest.mark.parametrize("second", ["data.pkl", "DATA.PKL"])
def test_a_second_data_pickle_is_found_whichever_of_the_two_is_evil(second: str) -> None:
    for contents in ((MEMBERS[f"{ROOT}/data.pkl"], EVIL), (EVIL, MEMBERS[f"{ROOT}/data.pkl"])):
        blob = io.BytesIO()
        with zipfile.ZipFile(blob, "w") as archive, warnings.catch_warnings(action="ignore", category=UserWarning):
            archive.writestr(f"{ROOT}/data.pkl", contents[0])
            archive.writestr(f"{ROOT}/{second}", contents[1])
        report = look(blob.getvalue())
        assert report.verdict == "unsafe"
        assert "stands twice" in what(report)


def test_a_header_that_differs_from_the_directory_is_not_safe() -> None:
    name = f"{ROOT}/data.pkl".encode()
    assert PLAIN.index(name) == 30
    renamed = PLAIN.replace(name, name.replace(b"data", b"date"), 1)
    report = look(renamed)
    assert report.verdict == "unknown"
    assert "header differs" in what(report)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda b: b"\x80\x02N." + b, "zip archive as well"),
        (lambda b: b"#!/bin/sh\necho hello\nexit\n" + b, "zip archive as well"),
        (lambda b: b + b"more", "follow its end record"),
        (lambda b: b + b, "stand before the archive"),
        (lambda b: b[:-22], "no directory"),
        (lambda b: b[:-40] + b[-22:], "not where its end record says"),
        (lambda b: b[:-2] + b"\x09\x00a comment", ""),
    ],
)
def test_bytes_around_an_archive_are_noticed(change: Callable[[bytes], bytes], expected: str) -> None:
    report = look(change(PLAIN))
    assert (report.verdict == "safe") == (not expected)
    assert expected in what(report)


def test_an_archive_hidden_behind_another_file_is_looked_at() -> None:
    from safetensors.torch import save

    blob = save(make.state_dict()) + make.zip_bytes({f"{ROOT}/data.pkl": EVIL})
    assert f"{os.name}.system" in what(look(blob))
    assert look(blob).verdict == "unsafe"


def test_two_end_records_of_which_either_fits_are_noticed() -> None:
    inner = make.zip_bytes({"evil.pkl": EVIL})
    comment = inner[-22:]
    blob = PLAIN[:-2] + struct.pack("<H", len(comment)) + comment
    assert look(blob).verdict != "safe"


def test_bytes_between_members_are_noticed() -> None:
    """A member that the directory does not name: readers of streams see it, readers of directories do not."""
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        archive.writestr(f"{ROOT}/extra.pkl", EVIL)
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
        del archive.NameToInfo[f"{ROOT}/extra.pkl"]
        archive.filelist.pop(0)
    report = look(blob.getvalue())
    assert report.verdict == "unknown"
    assert "belong to none" in what(report)


def test_members_that_overlap_are_noticed() -> None:
    """Two entries of the directory with one content: how a small archive unpacks to a huge one."""
    whole = make.zip_bytes({"a.npy": b"x" * 40, "b.npy": b"x" * 40})
    at = whole.rindex(b"PK\x01\x02") + 42
    assert "header differs" in what(look(whole[:at] + bytes(4) + whole[at + 4 :]))
    assert look(whole[:at] + bytes(4) + whole[at + 4 :]).verdict != "safe"


@pytest.mark.parametrize("name", ["../evil.npy", "a/../../b", "/etc/passwd", "..\\evil", "c:evil"])
def test_a_name_that_leads_out_of_the_folder_is_unsafe(name: str) -> None:
    report = look(make.zip_bytes({name: b"x"}))
    assert report.verdict == "unsafe"
    assert "out of the folder" in what(report)


def test_a_link_an_encrypted_and_a_strangely_packed_member_are_not_safe() -> None:
    link = zipfile.ZipInfo("weights.npy")
    link.external_attr = 0o120777 << 16
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "symbolic link" in what(look(blob.getvalue()))
    encrypted = bytearray(PLAIN)
    for at in (6, PLAIN.index(b"PK\x01\x02") + 8):
        encrypted[at] |= 1
    assert "encrypted" in what(look(bytes(encrypted)))
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", b"x")
    assert "method 12" in what(look(blob.getvalue()))


def test_what_unpacks_to_very_much_more_is_not_unpacked() -> None:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(20_000_000))
    assert "200 times" in what(look(blob.getvalue()))
    assert "200 times" in what(look(gzip.compress(bytes(20_000_000))))
    assert "200 times" in what(look(bz2.compress(bytes(20_000_000))))


def zeros(members: int) -> bytes:
    """An `.npz` of arrays of a mebibyte each, which pack a thousandfold."""
    blob, array = io.BytesIO(), make.numpy_bytes(np.save, np.zeros((1 << 20) - 128, dtype="u1"))
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(members):
            archive.writestr(f"{i}.npy", array)
    return blob.getvalue()


def test_members_are_unpacked_one_at_a_time() -> None:
    whole = zeros(40)
    assert look(whole).verdict == "safe"
    tracemalloc.start()
    try:
        look(whole)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_many_small_members_cannot_unpack_to_very_much_more_together() -> None:
    assert "200 times" in what(look(zeros(200)))


def test_what_is_held_in_memory_at_once_is_limited_however_deep_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    random = make.numpy_bytes(np.save, np.random.default_rng(0).bytes(60_000))
    inner, outer = io.BytesIO(), io.BytesIO()
    for blob, name, content in ((inner, "a.npy", lambda: random), (outer, "a.zip", inner.getvalue)):
        with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content())
    for module in (zip_file, packed):
        monkeypatch.setattr(module, "MAX_IN_MEMORY", 100_000)
    assert look(inner.getvalue()).verdict == "safe"
    for deeper in (outer.getvalue(), gzip.compress(inner.getvalue())):
        report = look(deeper)
        assert report.verdict == "unknown"
        assert "unpacks to more than" in what(report)


def test_archives_are_followed_four_deep_and_no_deeper() -> None:
    blob = EVIL
    for _ in range(4):
        blob = make.zip_bytes({"inner": blob})
    assert look(blob).verdict == "unsafe"
    report = look(make.zip_bytes({"inner": blob}))
    assert report.verdict == "unknown"
    assert "nested more than 4 deep" in what(report)


def test_more_members_than_allowed_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    many = make.zip_bytes({f"{i}.bin": b"" for i in range(limits.MAX_MEMBERS + 1)})
    assert "more than 10,000 members" in what(look(many))
    nested = make.zip_bytes({f"{i}.zip": make.zip_bytes({"a": b"", "b": b""}) for i in range(4)})
    monkeypatch.setattr(limits, "MAX_MEMBERS", 5)
    assert "more than 5 members" in what(look(nested))


def test_an_end_record_that_lies_about_the_number_of_members_is_noticed() -> None:
    at = len(PLAIN) - 22 + 8
    lie = PLAIN[:at] + struct.pack("<HH", 1, 1) + PLAIN[at + 4 :]
    assert "counts 1 members" in what(look(lie))
    assert look(with_evil(extra=EVIL)).verdict == "unsafe"


def test_torchscript_is_never_called_safe_and_its_evil_pickle_is_unsafe() -> None:
    script = {f"{ROOT}/code/__torch__.py": b"def forward(self): pass", f"{ROOT}/constants.pkl": b"\x80\x02)."}
    report = look(make.zip_bytes(MEMBERS | script))
    assert (report.verdict, report.format) == ("unknown", "torchscript")
    assert look(make.zip_bytes(MEMBERS | script | {f"{ROOT}/data.pkl": EVIL})).verdict == "unsafe"


@pytest.mark.parametrize(
    "name", ["data/0", "version", "byteorder", ".data/serialization_id", "data/999", "extra/x.bin"]
)
def test_a_pickle_under_any_name_in_a_torch_archive_is_found(name: str) -> None:
    assert look(make.zip_bytes(MEMBERS | {f"{ROOT}/{name}": EVIL})).verdict == "unsafe"


def test_storages_must_be_those_that_the_pickle_speaks_of() -> None:
    short = MEMBERS | {f"{ROOT}/data/0": MEMBERS[f"{ROOT}/data/0"][:-4]}
    missing = {name: blob for name, blob in MEMBERS.items() if name != f"{ROOT}/data/0"}
    more = MEMBERS | {f"{ROOT}/data/99": b"1234"}
    big = MEMBERS | {f"{ROOT}/byteorder": b"big"}
    for members, expected in (
        (short, "not as long"),
        (missing, "missing"),
        (more, "does not refer to"),
        (big, "little-endian"),
    ):
        report = look(make.zip_bytes(members))
        assert report.verdict == "unknown"
        assert expected in what(report)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_packed_streams_are_unpacked_and_looked_at(pack: Callable[[bytes], bytes]) -> None:
    assert look(pack(make.benign_pickle())).verdict == "safe"
    assert look(pack(EVIL)).verdict == "unsafe"
    assert look(pack(make.benign_pickle()) + pack(EVIL)).verdict == "unsafe"
    assert look(pack(make.benign_pickle())[:-3]).verdict == "unknown"
    assert look(pack(make.benign_pickle()) + b"rest").verdict == "unknown"


def tar(**members: bytes) -> bytes:
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return blob.getvalue()


def test_tar_archives_are_looked_at_member_by_member() -> None:
    benign = tar(weights=make.benign_pickle())
    assert (look(benign).verdict, look(benign).format) == ("safe", "tar")
    assert look(tar(weights=make.benign_pickle(), second=EVIL)).verdict == "unsafe"
    assert look(benign + make.zip_bytes({"evil": EVIL})).verdict != "safe"
    assert look(benign[:700]).verdict == "unknown"


def test_a_tar_archive_without_its_mark_is_known_by_its_checksum() -> None:
    """What torch tries first when a file is no zip archive."""
    header = bytearray(tar(weights=EVIL))
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    assert (look(bytes(header)).verdict, look(bytes(header)).format) == ("unsafe", "tar")


def _signed_sum(block: bytes) -> int:
    return 256 + sum(struct.unpack_from("148b8x356b", block))


CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "signed, as some old programs wrote it": lambda block: b"%06o\0 " % _signed_sum(block),
    "base 256": lambda block: b"\x80" + (sum(block) - sum(block[148:156]) + 256).to_bytes(7, "big"),
    "text after its end": lambda block: b"%05o\0zz" % (sum(block) - sum(block[148:156]) + 256),
    "spaces around it": lambda block: b"  %o\0\0" % (sum(block) - sum(block[148:156]) + 256),
}


@pytest.mark.parametrize("how", CHECKSUMS)
def test_whatever_tarfile_takes_for_an_archive_is_looked_at_as_one(how: str) -> None:
    """Torch tries `tarfile` before it takes a file for a pickle."""
    front, inner = b'{"__metadata__":{"a":"', tar(storages=EVIL)
    back = b'"},"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(inner), len(inner))
    blob = bytearray((1016).to_bytes(8, "little") + front + b"x" * (1016 - len(front) - len(back)) + back + inner)
    blob[32:92] = "é".encode() * 30  # signed and unsigned sums differ
    blob[100:124], blob[124:136], blob[136:148] = b"0" * 24, b"%012o" % 512, b"0" * 12
    blob[156:157], blob[329:345] = b"0", b"0" * 16
    blob[148:156] = CHECKSUMS[how](bytes(blob[:512])).ljust(8, b"\0")[:8]
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:") as archive:
        assert "storages" in archive.getnames()
    report = look(bytes(blob))
    assert (report.verdict, report.format) == ("unsafe", "safetensors")
    assert "tar archive as well" in what(report)


def test_a_pickle_that_is_a_tar_archive_too_is_noticed() -> None:
    header = bytearray(tar(weights=EVIL))
    header[:6] = b"\x80\x02U\xff" + b"xx"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    report = look(bytes(header))
    assert report.verdict == "unsafe"
    assert "tar archive as well" in what(report)


def test_links_and_names_that_lead_out_of_a_tar_archive_are_not_safe() -> None:
    assert look(tar(**{"../evil": b"x"})).verdict == "unsafe"
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as archive:
        entry = tarfile.TarInfo("weights")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    assert "link" in what(look(blob.getvalue()))


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07\x01\x00", "rar"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"GGUF\x03\x00", "gguf"),
        (b"\x1c\x00\x00\x00TFL3", "tflite"),
    ],
)
def test_other_formats_are_named_and_not_judged(head: bytes, form: str) -> None:
    report = look(head + bytes(100))
    assert (report.verdict, report.format) == ("unknown", form)


@pytest.mark.parametrize("head", [b"\x7fELF\x02\x01", b"MZ\x90\x00", b"#!/bin/sh\necho hello\n"])
def test_programs_are_unsafe_alone_and_in_archives(head: bytes) -> None:
    program = head + bytes(100)
    assert look(program).verdict == "unsafe"
    assert look(with_evil(**{f"{ROOT}__model.so": program})).verdict == "unsafe"
