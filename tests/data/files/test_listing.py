"""What lies in a folder: pictures, what was left out, and what is nobody's."""

import os

import pytest
from etils import epath
from PIL import Image

from ega_jax.data.files import listing
from ega_jax.data.files.class_folders import tree_source
from ega_jax.data.files.listing import describe_left_out, list_folder, walk
from ega_jax.data.files.splits import split_folders
from ega_jax.data.prepare import archives
from ega_jax.data.source import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_pictures_are_found_in_all_folders_and_nothing_else_is_unsaid(tmp_path):
    kinds = ["jpg", "JPEG", "png", "webp", "bmp", "tif", "TIFF", "gif", "heic", "avif", "jp2"]
    touch(tmp_path, *(f"deep/er/{kind}.{kind}" for kind in kinds), "a.jpg")
    touch(tmp_path, "notes.txt", "deep/raw.CR2", "deep/readme")
    found = list_folder(tmp_path)
    assert found.pictures == ("a.jpg", *sorted(f"deep/er/{kind}.{kind}" for kind in kinds))
    assert [name for name, _ in found.left_out] == ["deep/raw.CR2", "deep/readme", "notes.txt"]
    said = describe_left_out(found.left_out)
    assert said.startswith("3 files were left out (1 .cr2, 1 no ending, 1 .txt): deep/raw.CR2 (is")


def test_nobodys(tmp_path):
    touch(tmp_path, "1.jpg", "._1.jpg", ".hidden/2.jpg", "__MACOSX/3.jpg", "a/Thumbs.db")
    touch(tmp_path, ".ipynb_checkpoints/4.jpg", "a/desktop.ini", "a/.DS_Store")
    assert list_folder(tmp_path) == listing.Listing(("1.jpg",))
    assert [path for _, path in walk(tmp_path)] == [str(tmp_path / "1.jpg")]


def test_a_link_to_itself_is_left_out(tmp_path):
    touch(tmp_path, "cat/1.jpg")
    for place in ("cat/self", "self"):
        (tmp_path / place).symlink_to(tmp_path / place)
    assert listing.subfolders(tmp_path) == ["cat"]
    assert [name for name, _ in list_folder(tmp_path).left_out] == ["cat/self", "self"]


def test_linked_folders_are_followed_once(tmp_path):
    touch(tmp_path, "elsewhere/1.jpg", "root/0.png")
    root = tmp_path / "root"
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "2.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    found = list_folder(root)
    assert found.pictures == ("0.png", "2.jpg", "a/1.jpg")
    again = "is a link to a folder that is listed already"
    assert found.left_out == (("b", again), ("loop", again))


def test_folders_are_listed_where_they_lie_rather_than_where_a_link_is(tmp_path, caplog):
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (9, 7)).save(tmp_path / name)
    (tmp_path / "cat" / "link").symlink_to(tmp_path / "dog")
    source = tree_source(tmp_path)
    assert source.image_ids == ("cat/1.png", "dog/2.png")
    assert "cat/link (is a link to a folder that is listed already)" in caplog.text
    (tmp_path / "ant").symlink_to(tmp_path / "dog")
    with pytest.raises(DataError, match=r"ant holds no .*: ant \(is a link to a"):
        tree_source(tmp_path)


def test_folders_that_may_not_be_read_are_named(tmp_path, monkeypatch):
    """Not as a place to be freed, as where something is to be written."""
    touch(tmp_path, "cat/1.png", "cat/secret/2.png")
    look = os.scandir

    def refuse(folder):
        if str(folder).rstrip("/").endswith("secret"):
            raise PermissionError(13, "Permission denied", folder)
        return look(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        DataError, match=r"cat/secret/? cannot be read \(Permission denied\); let it"
    ):
        list_folder(tmp_path)

    def refuse_all(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(epath.Path(tmp_path)), "iterdir", refuse_all)
    with pytest.raises(DataError, match=r"cannot be read"):
        split_folders(tmp_path)


def test_the_order_is_that_of_class_folders_then_of_paths(tmp_path):
    touch(tmp_path, "a/z.jpg", "a/b/0.jpg", "a-b/1.jpg", "a!/2.jpg", "a0/3.jpg")
    source = tree_source(tmp_path, check_files=False)
    assert source.class_names == ("a", "a!", "a-b", "a0")
    assert source.image_ids == ("a/b/0.jpg", "a/z.jpg", "a!/2.jpg", "a-b/1.jpg", "a0/3.jpg")
    assert source.labels.tolist() == [0, 0, 1, 2, 3]
    names = [parts for parts, _ in walk(tmp_path)]
    assert names == sorted(names) and len(names) == 5


def test_a_listing_to_a_depth(tmp_path):
    touch(tmp_path, "0.jpg", "a/1.jpg", "a/b/2.jpg")
    for depth, number in ((0, 1), (1, 2), (2, 3), (None, 3)):
        assert len(list_folder(tmp_path, depth).pictures) == number


def test_names_that_are_not_utf_8(tmp_path):
    (tmp_path / "cat").mkdir()
    touch(tmp_path, "cat/1.jpg")
    open(os.fsencode(tmp_path) + b"/cat/caf\xe9.jpg", "wb").close()
    found = list_folder(tmp_path)
    assert found.pictures == ("cat/1.jpg",)
    assert found.left_out == (("cat/caf\\xe9.jpg", "has a name that is not UTF-8; rename it"),)
    with pytest.raises(DataError, match=r": cat/caf\\xe9.jpg has a name that is not UTF-8"):
        tree_source(tmp_path, check_files=False)


def test_a_listing_is_one_pass_without_opening_or_asking_for_files(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{c}/{i}.jpg" for c in "abc" for i in range(20)))
    asked = []
    stat, scandir = os.stat, os.scandir
    monkeypatch.setattr(os, "stat", lambda path, **kw: asked.append(path) or stat(path, **kw))
    monkeypatch.setattr(os, "scandir", lambda path: asked.append(path) or scandir(path))
    monkeypatch.setattr("builtins.open", lambda *args: pytest.fail("opened a file"))
    assert len(list_folder(tmp_path).pictures) == 60
    assert len(asked) == 8  # two for each folder


def test_tree_takes_subfolders_and_says_what_it_leaves_out(tmp_path, caplog):
    for name in ("cat/1.png", "cat/more/2.webp", "dog/3.bmp", "dog/4.txt", "loose.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            (tmp_path / name).write_text("")
        else:
            Image.new("RGB", (9, 7)).save(tmp_path / name)
    source = tree_source(tmp_path)
    assert source.image_ids == ("cat/1.png", "cat/more/2.webp", "dog/3.bmp")
    assert source.labels.tolist() == [0, 0, 1]
    assert "2 files were left out (1 .png, 1 .txt): loose.png (lies in no class" in caplog.text
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "5.psd").write_bytes(b"")
    with pytest.raises(DataError, match=r"owl holds no .*1 files were left out \(1 .psd\): owl/5"):
        tree_source(tmp_path)


def test_prepare_leaves_out_the_same(tmp_path):
    member = archives.Member("__MACOSX/001.x/1.jpg", "", bytes)
    assert any(map(listing.is_nobodys, member.parts))
