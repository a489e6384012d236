"""Archives: what is in them is given, what is hostile or damaged is named and never used."""

import gzip
import struct
import tarfile
import zipfile

import pytest

from ega_jax.data.prepare import archives
from ega_jax.data.source import DataError
from tests.helpers.archives import special, tar_bytes, zip_bytes


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.tar.gz", "a.zip", "A.TAR"])
def test_members(tmp_path, name):
    files = {"x/1.jpg": b"one", "x/y/2.jpg": b"two" * 999}
    path = tmp_path / name
    gz = name.endswith("gz")
    data = tar_bytes(files, "w:gz" if gz else "w")
    path.write_bytes(zip_bytes(files) if name.endswith("zip") else data)
    assert archives.is_archive(str(path))
    assert [(m.parts, m.fault, m.read()) for m in archives.members(str(path))] == [
        (("x", "1.jpg"), "", b"one"),
        (("x", "y", "2.jpg"), "", b"two" * 999),
    ]


def test_tar_in_tar(tmp_path):
    inner = tar_bytes({"n1_1.JPEG": b"one", "deeper.tar": tar_bytes({"x": b"x"})})
    damaged = b"\0" * 100 + b"nonsense" * 100
    packed = {"n1.tar": inner, "n2.tar": damaged, "n3.tar": tar_bytes({"n3_1.JPEG": b"three"})}
    (tmp_path / "a.tar").write_bytes(tar_bytes(packed))
    found = {m.name: (m.fault, m.read()) for m in archives.members(str(tmp_path / "a.tar"))}
    assert list(found) == ["n1_1.JPEG", "deeper.tar", "n2.tar", "n3_1.JPEG"]
    assert found["n3_1.JPEG"] == ("", b"three")
    assert found["n2.tar"][0].startswith("is damaged or cut off")


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("../evil.jpg", b"x", "leads out of its folder"),
        ("a/../../evil.jpg", b"x", "leads out of its folder"),
        ("/etc/evil.jpg", b"x", "has an absolute path"),
        ("C:\\evil.jpg", b"x", "has an absolute path"),
        ("..\\evil.jpg", b"x", "leads out of its folder"),
        ("1.jpg", special("1.jpg", tarfile.SYMTYPE, "/etc/passwd"), "is a symbolic link"),
        ("1.jpg", special("1.jpg", tarfile.LNKTYPE, "../out.jpg"), "is a hard link"),
        ("1.jpg", special("1.jpg", tarfile.CHRTYPE), "is a device"),
        ("1.jpg", special("1.jpg", tarfile.FIFOTYPE), "is a device"),
    ],
)
def test_hostile_members_of_tars(tmp_path, name, data, fault):
    (tmp_path / "a.tar").write_bytes(tar_bytes({"good": b"1", name: data, "good2": b"2"}))
    faults = [(m.name, m.fault) for m in archives.members(str(tmp_path / "a.tar"))]
    assert faults == [("good", ""), (name, fault), ("good2", "")]


@pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "a\\..\\..\\evil.jpg"])
def test_hostile_names_in_zips(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(zip_bytes({name: b"x"}))
    assert next(archives.members(str(tmp_path / "a.zip"))).fault


def test_links_in_zips(tmp_path):
    link = zipfile.ZipInfo("1.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder")
    assert [m.fault for m in archives.members(str(tmp_path / "a.zip"))] == ["is a symbolic link"]


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    (tmp_path / "a.zip").write_bytes(zip_bytes({"bomb.png": b"\0" * 1001, "good.png": b"x" * 1000}))
    (tmp_path / "a.tgz").write_bytes(tar_bytes({"bomb.png": b"\0" * 1001}, "w:gz"))
    fault = "has 1001 bytes, the limit is 1000"
    for member in archives.members(str(tmp_path / "a.zip")):
        assert member.fault == (fault if member.name == "bomb.png" else "")
        assert member.fault or member.read() == b"x" * 1000
    assert next(archives.members(str(tmp_path / "a.tgz"))).fault == fault

    (tmp_path / "b.tgz").write_bytes(tar_bytes({"x" * 5000: b""}, "w:gz"))  # in a header
    with pytest.raises(DataError, match=r"b.tgz is damaged or cut off \(a header of 5\d+ bytes"):
        next(archives.members(str(tmp_path / "b.tgz")))

    # A size that lies is found out by the checksum, and no more than it says is unpacked.
    data = zip_bytes({"liar.png": b"\0" * 1001}).replace(struct.pack("<I", 1001), b"\x0a\0\0\0")
    (tmp_path / "liar.zip").write_bytes(data)
    for liar in archives.members(str(tmp_path / "liar.zip")):
        with pytest.raises(DataError, match=r"liar.zip is damaged .*CRC"):
            liar.read()


def test_archives_that_are_cut_off(tmp_path):
    files = {"1.jpg": b"1" * 5000, "2.jpg": bytes(range(256)) * 20}
    compressed = gzip.compress(tar_bytes(files))
    for name, data, good in (
        ("a.tar", tar_bytes(files)[:7000], 1),
        ("a.tgz", compressed[: len(compressed) - 60], 1),
        ("a.zip", zip_bytes(files)[:-30], 0),
        ("b.tar", b"<html>404</html>", 0),
        ("c.tar", b"", 0),
    ):
        (tmp_path / name).write_bytes(data)
        read = []
        with pytest.raises(DataError, match=rf"{name} is damaged or cut off .*; download it"):
            for member in archives.members(str(tmp_path / name)):
                read.append(member.read())
        assert len(read) == good
