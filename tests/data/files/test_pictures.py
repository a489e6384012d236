"""What `--images` may be: a folder, a picture, a list, a pattern."""

import os

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.files.pictures import list_pictures, read_picture
from ega_jax.data.source import DataError


@pytest.fixture
def root(tmp_path):
    for name in ("a.jpg", "b.webp", "deep/c.PNG", "deep/er/d.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), "red").save(tmp_path / name)
    (tmp_path / "deep" / "notes.txt").write_text("c.PNG is the best")
    return tmp_path


def test_a_folder(root):
    found = list_pictures(root)
    assert found.ids == ("a.jpg", "b.webp", "deep/c.PNG", "deep/er/d.gif")
    assert found.left_out == (("deep/notes.txt", "is no picture by its name"),)
    assert [read_picture(found.path(image_id)).shape for image_id in found.ids] == [(7, 9, 3)] * 4


def test_a_picture_whatever_it_is_called(root, monkeypatch):
    (root / "a.jpg").rename(root / "picture")
    assert list_pictures(root / "picture").ids == ("picture",)
    monkeypatch.chdir(root)
    found = list_pictures("b.webp")
    assert found.ids == ("b.webp",) and os.path.samefile(found.path("b.webp"), root / "b.webp")


def test_a_list(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    Image.new("RGB", (9, 7)).save(other / "e.png")
    (root / "deep" / "list.txt").write_text(
        f"../a.jpg\n\n{other}/e.png\r\nc.PNG\nc.PNG\ngone.jpg\n"
    )
    found = list_pictures(root / "deep" / "list.txt")
    paths = [found.path(image_id) for image_id in found.ids]
    assert not any(".." in image_id for image_id in found.ids)
    expected = [root / "a.jpg", other / "e.png", root / "deep/c.PNG", root / "deep/gone.jpg"]
    assert paths == list(map(str, expected))
    with pytest.raises(DataError, match="gone.jpg: does not exist"):
        read_picture(paths[-1])
    (root / "notes.txt").write_text("nothing\nhere")
    with pytest.raises(DataError, match="notes.txt: none of its 2 files exists"):
        list_pictures(root / "notes.txt")


def test_a_pattern(root):
    assert list_pictures(root / "*.jpg").ids == ("a.jpg",)
    found = list_pictures(f"{root}/**/*.*")
    assert found.ids == ("a.jpg", "b.webp", "deep/c.PNG", "deep/er/d.gif")
    assert [os.path.basename(name) for name, _ in found.left_out] == ["notes.txt"]
    with pytest.raises(DataError, match="no file matches .*zip"):
        list_pictures(root / "*.zip")
    with pytest.raises(DataError, match="holds no .jpg.*1 files were left out"):
        list_pictures(root / "deep" / "*.txt")


def test_a_pattern_finds_what_a_listing_does(root):
    for name in ("__MACOSX/._a.jpg", "__MACOSX/e.jpg", ".hidden/f.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    for link in ("deep/loop", "deep/er/loop"):  # paths without number lead through these
        (root / link).symlink_to(root)
    (root / "again").symlink_to(root / "deep")
    everything = list_pictures(root)
    found = list_pictures(root / "**" / "*")
    assert (found.root, found.ids) == (everything.root, everything.ids)
    assert found.left_out == everything.left_out
    assert list_pictures(f"{root}/**/*.[Pp]*").ids == ("deep/c.PNG",)
    assert list_pictures(f"{root}/*/*/d.gif").ids == ("deep/er/d.gif",)


def test_a_pattern_in_a_folder_with_brackets(root):
    (root / "deep").rename(root / "deep [1]")
    found = list_pictures(f"{root}/deep [1]/*.PNG")
    assert found.ids == ("c.PNG",) and os.path.isfile(found.path("c.PNG"))


def test_the_home_folder(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    assert list_pictures("~/deep").ids == ("c.PNG", "er/d.gif")
    assert list_pictures("~/*.webp").ids == ("b.webp",)


def test_nothing(root):
    with pytest.raises(DataError, match="no folder .*nowhere; give a folder of pictures"):
        list_pictures(root / "nowhere")


def test_damage_in_the_middle_is_found_when_a_picture_is_decoded(root):
    rng = np.random.default_rng(0)
    for name, message in (("x.png", "cannot be decoded"), ("x.tif", "is damaged")):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(root / name)
        data = bytearray((root / name).read_bytes())
        if name == "x.tif":
            del data[len(data) // 2 :]
        else:
            data[900:1000] = bytes(100)
        (root / name).write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_picture(root / name)
