"""Heat maps of other programs: what is safe is read, the rest refused by name."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.data.files.score_maps import find_maps, read_map
from ega_jax.data.source import DataError

MAP = np.linspace(0, 1, 12).reshape(3, 4)


def saved(array=MAP, save=np.save, **options):
    buffer = io.BytesIO()
    save(buffer, array, **options)
    return buffer.getvalue()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.jpg.npy"


@pytest.mark.parametrize(
    "data",
    [
        saved(),
        saved(save=np.savez),
        saved(save=np.savez_compressed),
        zipped(**{"a.jpg.npy": saved()}),
        saved(np.asfortranarray(MAP)),
        saved(MAP.astype(">f8")),
    ],
    ids=["npy", "npz", "compressed", "zipped", "fortran", "big-endian"],
)
def test_one_array_is_read(path, data):
    path.write_bytes(data)
    np.testing.assert_array_equal(read_map(path), MAP)


def test_what_rounding_does_is_cut_off(path):
    for over in (1e-6, 9e-4):
        np.save(path, MAP * (1 + 2 * over) - over)
        score_map = read_map(path)
        assert score_map.min() == 0 and score_map.max() == 1
        levels = (np.load(path) * 255).astype(np.uint8)  # not cut off
        np.testing.assert_array_equal(localization.quantize(score_map), levels)
        np.testing.assert_array_equal(
            localization.quantize(score_map)[score_map == 1],
            255,  # as it was before
        )
    np.save(path, MAP * 1.01)
    with pytest.raises(DataError, match=r"a.jpg.npy: .*values in \[0, 1.01\]; scale it"):
        read_map(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The file is empty"),
        (saved()[:-1], "an array of 96 bytes, 95 are there"),
        (saved()[:60], "truncated, damaged"),
        (saved(np.array([{}], object), allow_pickle=True), "holds Python objects"),
        (b"P5 3 3 255 012345678", "is no .npy file"),
        (gzip.compress(saved()), "compressed by gzip; unpack it"),
        (zipped(**{"a.npy": saved(), "b.npy": saved()}), r"holds 2 files \(a.npy, b.npy\)"),
        (zipped(), "is no .npy file"),
        (zipped(**{"a.txt": "x"}), "is no .npy file"),
        (saved(save=np.savez_compressed)[:-30], "truncated, damaged"),
        (saved()[:-96].replace(b"(3, 4)", b"(3, 99999999999)") + bytes(96), "truncated, damaged"),
        (saved(MAP + 1j), "dtype complex128"),
        (saved(MAP[0]), r"shape \(4,\)"),
    ],
)
def test_other_files_are_refused_by_name(path, data, message):
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"a.jpg.npy: .*{message}"):
        read_map(path)


def test_maps_are_found_by_either_name(tmp_path, monkeypatch):
    np.save(tmp_path / "a.jpg.npy", MAP)
    np.savez(tmp_path / "b.jpg.npz", MAP)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    paths = find_maps(f"~/{tmp_path.name}", ["a.jpg", "b.jpg"], "test")
    assert [read_map(p).shape for p in paths] == [MAP.shape] * 2
    with pytest.raises(DataError, match=r"1 of 2 heat maps of test do not exist.*c.jpg.npy"):
        find_maps(tmp_path, ["a.jpg", "c.jpg"], "test")
    with pytest.raises(DataError, match="no folder of heat maps .*nowhere"):
        find_maps(tmp_path / "nowhere", ["a.jpg"], "test")
    with pytest.raises(DataError, match="gone.npy cannot be read"):
        read_map(tmp_path / "gone.npy")
