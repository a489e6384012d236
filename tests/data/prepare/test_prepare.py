"""Laying data sets out: hostile files, stopping and going on, the real metadata."""

import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.files.metadata import read_metadata
from ega_jax.data.prepare import cub, layout, prepare, published
from ega_jax.data.source import DataError
from tests.helpers.archives import special, tar_bytes, zip_bytes
from tests.helpers.published_files import (
    CUB,
    cub_files,
    cub_metadata,
    cub_texts,
    cubv2_files,
    huge_png,
    listing,
    load,
    picture,
    run,
    write,
    write_metadata,
)

# Hostile and damaged files -------------------------------------------------------------------


def bad_images():
    """Bad contents for images of 40 x 30, by why."""
    whole = picture((400, 300))
    return {
        "no picture of a format": b"<html>",
        "truncated or damaged": whole[: len(whole) // 2],
        "exceeds limit": huge_png(),
        "is 41 x 30, but 40 x 30 in image_sizes.txt": picture((41, 30)),
    }


@pytest.mark.parametrize("extracted", [True, False])
@pytest.mark.parametrize("why", bad_images())
def test_bad_images_are_refused_and_then_replaced(folders, why, extracted):
    cub_metadata(folders["metadata"])
    files = cub_files() | cubv2_files()
    bad = next(name for name in files if CUB[0][0] in name)
    files[bad] = bad_images()[why]
    write(folders["source"], files if extracted else {"CUB_200_2011.tar": tar_bytes(files)})
    report = run("cub", folders)
    assert list(report.problems) == ["train"]
    assert f"1 of 6 not found ({CUB[0][0]} " in report.problems["train"]
    assert why in report.problems["train"]
    row = report.rows["train"]
    assert (row.found, row.unreadable, row.wrong_size, row.missing) == (
        (5, 0, 1, 0) if "41" in why else (5, 1, 0, 0)
    )
    assert not (folders["out"] / CUB[0][0]).exists()
    assert not (folders["out"] / "metadata" / "train").exists()
    write(folders["source"], {f"more/{CUB[0][0]}": picture((40, 30))})
    assert not run("cub", folders).problems


def test_bad_images_in_place_are_replaced(folders):
    cub_metadata(folders["metadata"])
    write(folders["source"], cub_files() | cubv2_files())
    write(folders["out"], {CUB[0][0]: b"", f"{CUB[1][0]}.part": b"unfinished"})
    assert not run("cub", folders).problems
    assert len(load("cub_vgg", folders["out"])["train"]) == 6


def test_hostile_archive(folders, tmp_path):
    cub_metadata(folders["metadata"])
    write(tmp_path, {"secret": picture((40, 30))})
    wanted = CUB[0][0]
    hostile = {
        f"../../{wanted}": picture((40, 30)),
        f"{tmp_path}/{wanted}": picture((40, 30)),
        "link": special(wanted, tarfile.SYMTYPE, str(tmp_path / "secret")),
        "hard": special(wanted, tarfile.LNKTYPE, "../secret"),
        "device": special(wanted, tarfile.CHRTYPE),
        "fifo": special(wanted, tarfile.FIFOTYPE),
    }
    write(folders["source"], {"a.tar": tar_bytes(hostile), "c.tgz": tar_bytes(cub_files(), "w:gz")})
    write(folders["source"], {"d.tar": tar_bytes(cubv2_files())})
    report = run("cub", folders)
    assert not report.problems
    assert "members of archives refused: 6 (" in str(report) and ", ...)" in str(report)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "metadata", "out", "secret"}
    assert not any(path.is_symlink() for path in folders["out"].rglob("*"))


def test_archive_that_is_cut_off(folders):
    cub_metadata(folders["metadata"])
    data = tar_bytes(cub_files() | cubv2_files())
    path = folders["source"] / "CUB_200_2011.tar"
    path.write_bytes(data[:14_000])
    report = run("cub", folders)
    assert "CUB_200_2011.tar is damaged or cut off" in "".join(report.problems.values())
    assert 0 < sum(row.found for row in report.rows.values()) < 20
    path.write_bytes(data)
    assert not run("cub", folders).problems


def test_metadata_that_leads_out(folders):
    write_metadata(folders["metadata"] / "train", {"../a.jpg": 0}, sizes={"../a.jpg": (1, 1)})
    with pytest.raises(DataError, match=r"line 1: '../a.jpg' leads out of its folder"):
        run("cub", folders)


# Stopping, looking, linking ------------------------------------------------------------------


class Killed(BaseException):
    """As if the process had ended."""


@pytest.mark.parametrize("extracted", [True, False])
@pytest.mark.parametrize("place", ["_write", "_link_or_copy", "replace", "rename"])
def test_killed_and_run_again(folders, monkeypatch, extracted, place):
    cub_metadata(folders["metadata"])
    files = cub_files() | cubv2_files()
    write(folders["source"], files if extracted else {"a.tgz": tar_bytes(files, "w:gz")})
    before = listing(folders["source"])
    owner = os if place.startswith("re") else layout
    original, calls = getattr(owner, place), []

    def kill(*arguments):
        calls.append(arguments)
        if len(calls) == 4 or place == "rename":
            if place == "_write":
                with open(arguments[1], "wb") as file:
                    file.write(arguments[0][:20])
            if place == "_link_or_copy":
                original(*arguments)
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(owner, place, kill)
    try:
        run("cub", folders)
        assert not calls  # this kind of files does not go that way
    except Killed:
        assert calls
    for path in folders["out"].rglob("*.jpg"):
        assert Image.open(path).size in ((40, 30), (50, 40))
    monkeypatch.undo()
    assert not run("cub", folders).problems
    assert not list(folders["out"].rglob("*.part"))
    assert len(load("cub_vgg", folders["out"])["train"]) == 6
    assert listing(folders["source"]) == before


@pytest.mark.parametrize("extracted", [True, False])
def test_check_changes_nothing(folders, tmp_path, extracted):
    cub_metadata(folders["metadata"])
    files = cub_files() | cubv2_files()
    write(folders["source"], files if extracted else {"a.zip": zip_bytes(files)})
    write(folders["out"], {CUB[0][0]: b"bad", "other.txt": b"mine"})
    before = listing(tmp_path)
    report = run("cub", folders, check=True)
    assert not report.problems and report.rows["train"].found == 6
    assert listing(tmp_path) == before


def test_copies_where_links_cannot_be(folders, monkeypatch):
    def refuse(*paths):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    cub_metadata(folders["metadata"])
    write(folders["source"], cub_files() | cubv2_files())
    assert not run("cub", folders).problems
    original = folders["source"] / "CUB_200_2011" / "images" / CUB[0][0]
    assert not os.path.samefile(original, folders["out"] / CUB[0][0])


def test_linked_folders(folders, tmp_path):
    cub_metadata(folders["metadata"])
    write(tmp_path / "elsewhere", cub_files() | cubv2_files())
    (folders["source"] / "here").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    assert not run("cub", folders).problems


def test_out_may_be_the_source(folders):
    cub_metadata(folders["metadata"])
    write(folders["source"], cub_files() | {"CUBV2.tar": tar_bytes(cubv2_files())})
    folders["out"] = folders["source"]
    assert not run("cub", folders).problems
    assert len(load("cub_vgg", folders["out"])["val"]) == 8


# The field's real metadata -------------------------------------------------------------------


@pytest.mark.parametrize("name", prepare.DATA_SETS)
def test_real_metadata(shared_data, folders, name):
    data = prepare.DATA_SETS[name]
    metadata = shared_data / "wsol_metadata" / data.name
    plans = data(folders["source"], metadata, folders["out"]).splits
    for split, plan in plans.items():
        if (name, split) == ("ilsvrc", "train"):
            assert plan.pattern and not plan.images
        else:
            assert len(plan.images) == plan.published and not plan.problem
    masks = {"openimages": {"train": 0, "val": 3854 + 2500, "test": 7632 + 5000}}
    for split, expected in masks.get(name, {}).items():
        assert len(plans[split].masks) == expected


def test_real_cub_follows_from_the_owners_files(shared_data):
    folder = shared_data / "wsol_metadata" / "CUB"
    images, sizes = [], {}
    for split, flag in (("train", 1), ("test", 0)):
        metadata = read_metadata(folder / split)
        for path, label, (x0, y0, x1, y1), size in zip(
            metadata.image_ids, metadata.labels, metadata.boxes, metadata.image_sizes, strict=True
        ):
            images.append((path, label, flag, (x0, y0, x1 - x0, y1 - y0), size))
            sizes[path] = tuple(size.tolist())
    texts = cub_texts(images)
    for split in ("train", "test"):
        made = cub.owners_metadata(cub.owners_split(texts, split), sizes)
        for name in published.METADATA_FILES:
            assert made[name] == (folder / split / name).read_text()


def test_real_cubv2_follows_from_its_boxes(shared_data, tmp_path):
    folder = shared_data / "wsol_metadata"
    field = read_metadata(folder / "CUB" / "val")
    sizes = {
        path: tuple(size)
        for path, size in zip(field.image_ids, field.image_sizes.tolist(), strict=True)
    }
    others = {"001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg": (500, 335)}
    text = (folder / "CUBV2_boxes.txt").read_text()
    write(tmp_path, cub.cubv2_metadata(text, others | dict(reversed(sizes.items()))))
    made = read_metadata(tmp_path)
    assert made.image_ids == field.image_ids and made.labels.tolist() == field.labels.tolist()
    assert sorted(np.bincount(made.labels))[:2] == [3, 5]
    np.testing.assert_array_equal(made.boxes[:, :2], field.boxes[:, :2])
    np.testing.assert_allclose(made.boxes[:, 2:], field.boxes[:, 2:], atol=1)  # it was rounded
