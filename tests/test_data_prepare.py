"""The published data sets: from what their owners distribute to what the recipes read."""

import importlib
import io
import os
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from ega_jax import build
from ega_jax.data import cub, ilsvrc, layout, prepare, published
from ega_jax.data.metadata import read_metadata
from ega_jax.data.source import DataError
from tests.test_data_archives import special, tar_bytes, zip_bytes

BIRDS = ("001.Albatross", "002.Bunting", "200.Yellowthroat")
# Path, label, training image, x, y, w, h, and the size of the image.
CUB = [
    (f"{bird}/{bird[4:]}_{n}_7.jpg", int(bird[:3]) - 1, n % 2, (n, 1, 20 + n, 15), (40, 30))
    for bird in BIRDS
    for n in (3, 1, 4, 2)
]
CUBV2 = [f"{BIRDS[0]}/{n}.jpg" for n in (107, 20, 33)] + [f"{BIRDS[2]}/5{n}.jpg" for n in range(5)]
WORDNET = ("n01440764", "n01751748", "n02084071")
MIDS = ("01226z", "0hg7b")


def picture(size, kind="JPEG", seed=0, **options):
    """An image file with recognisable pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def mask(size, box=(2, 2, 9, 9)):
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def huge_png():
    """A picture of 100 megapixels in a few hundred bytes."""

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())


def write_metadata(folder, labels, boxes=None, sizes=None, localization=None):
    """Writes the field's files as the field does; `boxes`: lists of xyxy by image."""
    localization = localization or [
        f"{i},{','.join(map(str, b))}" for i in boxes or {} for b in boxes[i]
    ]
    lines = {
        "image_ids": labels,
        "class_labels": [f"{i},{label}" for i, label in labels.items()],
        "image_sizes": [f"{i},{w},{h}" for i, (w, h) in (sizes or {}).items()],
        "localization": localization,
    }  # fmt: skip
    write(folder, {f"{name}.txt": "\n".join(rows) for name, rows in lines.items()})


def listing(folder):
    """Everything below a folder with contents, time and inode."""
    return {
        str(path): (
            path.is_file() and path.read_bytes(),
            path.stat().st_mtime_ns,
            path.stat().st_ino,
        )
        for path in folder.rglob("*")
    }


def load(recipe, out):
    """Opens all splits as a recipe does, given nothing but the two folders."""
    config = importlib.import_module(f"configs.{recipe}").get_config()
    config.data.root, config.data.metadata = str(out), str(out / "metadata")
    return build.sources(config)


@pytest.fixture
def folders(tmp_path):
    """Folders for source, metadata and out, the first two made."""
    for name in ("source", "metadata"):
        (tmp_path / name).mkdir()
    return {name: tmp_path / name for name in ("source", "metadata", "out")}


def run(name, folders, **options):
    options = {"subset": True} | options
    metadata = folders["metadata"] if any(folders["metadata"].iterdir()) else None
    return prepare.prepare(name, folders["source"], metadata, folders["out"], **options)


# CUB -----------------------------------------------------------------------------------------


def cub_texts(images=CUB):
    """The owners' four tables of the images."""
    numbered = list(enumerate(images, start=1))
    return {
        "images.txt": "".join(f"{n} {row[0]}\n" for n, row in numbered),
        "image_class_labels.txt": "".join(f"{n} {row[1] + 1}\n" for n, row in numbered),
        "train_test_split.txt": "".join(f"{n} {row[2]}\n" for n, row in numbered),
        "bounding_boxes.txt": "".join(
            f"{n} " + " ".join(f"{at:.1f}" for at in row[3]) + "\n" for n, row in numbered
        ),
    }


def cub_files():
    """What `CUB_200_2011.tgz` holds."""
    texts = {f"CUB_200_2011/{name}": text.encode() for name, text in cub_texts().items()}
    images = {f"CUB_200_2011/images/{row[0]}": picture(row[4], seed=n) for n, row in enumerate(CUB)}
    return {"attributes.txt": b"1 has_bill\n"} | images | texts


def cubv2_files():
    return {f"CUBV2/{path}": picture((50, 40), seed=n) for n, path in enumerate(CUBV2)}


def cubv2_boxes():
    """Headed x0,y0,x1,y1, but x,y,w,h; in the order of the sorted names."""
    rows = [f"{11789 + n},{n},2,30,20" for n in range(len(CUBV2))]
    return "\n".join(["image_id,x0,y0,x1,y1", *rows])


def cub_source(folder):
    write(folder, {"CUB_200_2011.tgz": tar_bytes(cub_files(), "w:gz")})
    write(folder, {"CUBV2.tar": tar_bytes(cubv2_files()), "CUBV2_boxes.txt": cubv2_boxes()})


def cub_metadata(folder):
    for split, flag in (("train", 1), ("test", 0)):
        rows = [row for row in CUB if row[2] == flag]
        write_metadata(
            folder / split,
            {row[0]: row[1] for row in rows},
            {row[0]: [(x, y, x + w, y + h)] for row in rows for x, y, w, h in [row[3]]},
            {row[0]: row[4] for row in rows},
        )
    paths = sorted(CUBV2)
    write_metadata(
        folder / "val",
        {path: int(path[:3]) - 1 for path in paths},
        {path: [(n, 2, n + 30, 22)] for n, path in enumerate(paths)},
        dict.fromkeys(paths, (50, 40)),
    )


@pytest.mark.parametrize("with_metadata", [True, False])
@pytest.mark.parametrize("extracted", [True, False])
def test_cub(folders, with_metadata, extracted):
    if extracted:
        write(folders["source"], cub_files() | cubv2_files() | {"CUBV2_boxes.txt": cubv2_boxes()})
    else:
        cub_source(folders["source"])
    before = listing(folders["source"])
    if with_metadata:
        cub_metadata(folders["metadata"])
    report = run("cub", folders)
    assert not report.problems
    assert {name: row.found for name, row in report.rows.items()} == {
        "train": 6, "val": 8, "test": 6
    }  # fmt: skip
    sources = load("cub_vgg", folders["out"])
    assert {split: len(source) for split, source in sources.items()} == {
        "train": 6, "val": 8, "test": 6
    }  # fmt: skip
    assert all(source.num_classes == 200 for source in sources.values())
    # In the order of images.txt, which is not sorted.
    assert sources["train"].image_ids[:2] == tuple(row[0] for row in CUB if row[2])[:2]
    assert sources["train"].boxes[0].tolist() == [[3, 1, 26, 16]]
    assert np.bincount(sources["val"].labels).tolist()[::199] == [3, 5]  # a class has 3, not 5
    assert sources["val"].boxes[1].tolist() == [[1, 2, 31, 22]]
    first = sources["train"].image_ids[0]
    np.testing.assert_array_equal(
        sources["train"].load_image(0), Image.open(io.BytesIO(picture((40, 30), seed=0)))
    )
    if extracted:
        original = folders["source"] / "CUB_200_2011" / "images" / first
        assert os.path.samefile(original, folders["out"] / first)
    assert listing(folders["source"]) == before

    made = listing(folders["out"])
    assert not run("cub", folders).problems
    assert listing(folders["out"]) == made  # nothing was left to do


def test_metadata_of_cub_is_the_fields(folders):
    cub_source(folders["source"])
    run("cub", folders)
    cub_metadata(folders["metadata"])
    for split in ("train", "val", "test"):
        for name in published.METADATA_FILES:
            made = (folders["out"] / "metadata" / split / name).read_text()
            assert made == (folders["metadata"] / split / name).read_text()


def test_boxes_of_cub_end_inside_their_images():
    images = {"a.jpg": (0, (10, 5, 30, 25))}
    texts = cub.owners_metadata(images, {"a.jpg": (40, 30)})
    assert texts["localization.txt"] == "a.jpg,10,5,39,29"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("images.txt", "2 001.", "1 001.", r"images.txt, line 2: .* repeats an earlier line"),
        ("images.txt", "1 001", "1 x 001", r"images.txt, line 1: .* have 2 columns"),
        ("bounding_boxes.txt", "2 1.0 1.0", "99 1.0 1.0", r"image 2 \(001.Alb.*bounding_boxes"),
        ("bounding_boxes.txt", "1 3.0", "1 three", r"image 1 \(001.Albatross.*three"),
        ("image_class_labels.txt", "1 1\n", "", r"image 1 \(001.Albatross"),
    ],
)
def test_bad_tables_of_cub(name, old, new, message):
    texts = cub_texts()
    texts[name] = texts[name].replace(old, new, 1)
    with pytest.raises(DataError, match=message):
        for split in ("train", "test"):
            cub.owners_split(texts, split)


def test_cub_without_cubv2(folders, capsys):
    write(folders["source"], {"CUB_200_2011.tgz": tar_bytes(cub_files(), "w:gz")})
    cub_metadata(folders["metadata"])
    arguments = [f"--{name}={path}" for name, path in folders.items()]
    assert prepare.main(["cub", *arguments, "--subset"]) == 1
    printed = capsys.readouterr()
    assert "val                    0           8           0           0           8" in printed.out
    assert "val: 8 of 8 not found (001.Albatross/107.jpg is missing," in printed.err
    assert "Get CUBV2.tar, see https://github.com/clovaai/wsolevaluation" in printed.err
    assert load("cub_vgg", folders["out"]).keys() == {"train", "test"}
    write(folders["source"], {"CUBV2.tar": tar_bytes(cubv2_files())})
    assert prepare.main(["cub", *arguments, "--subset"]) == 0
    assert "--config.data.root=" in capsys.readouterr().out
    assert prepare.main(["cub", *arguments]) == 1
    assert "val: 8 images, but 1000 were published" in capsys.readouterr().err


def test_cub_without_any_metadata_for_cubv2(folders):
    write(folders["source"], cub_files() | cubv2_files())
    report = run("cub", folders)
    assert "or CUBV2_boxes.txt" in report.problems["val"] and len(report.problems) == 1
    rows = cubv2_boxes().split("\n")
    write(folders["source"], {"CUBV2_boxes.txt": "\n".join(rows[:-1])})
    with pytest.raises(DataError, match=r"or none for an image"):
        run("cub", folders)
    write(folders["source"], {"CUBV2_boxes.txt": "\n".join([*rows, "11797,1,1,2,2"])})
    with pytest.raises(DataError, match=r"has 9 boxes for 8 images"):
        run("cub", folders)


def test_nothing_at_all(folders):
    report = run("cub", folders, subset=False)
    with pytest.raises(DataError, match=r"(?s)train: no metadata.*images.txt.*CUB_200_2011.tgz"):
        report.require_complete()
    assert report.rows["train"].missing == 5994 and report.rows["val"].missing == 1000
    with pytest.raises(DataError, match="set --source"):
        prepare.prepare("cub", "nowhere", None, folders["out"])


# Hostile and damaged files -------------------------------------------------------------------


def bad_images():
    """Bad contents for images of 40 x 30, by why."""
    whole = picture((400, 300))
    return {
        "neither a JPEG nor a PNG": b"<html>",
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
    with pytest.raises(DataError, match=r"path '../a.jpg' leads out of its folder"):
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


# OpenImages ----------------------------------------------------------------------------------


def open_images(folder):
    """Images and masks by path, and the metadata in `folder`: several objects in some images."""
    images, masks = {}, {}
    for split in ("train", "val", "test"):
        labels, localization = {}, []
        for label, mid in enumerate(MIDS):
            for n in range(2):
                name = f"{split}/{mid}/{split}{n}"
                labels[f"{name}.jpg"] = label
                images[f"{name}.jpg"] = picture((64, 48), seed=n)
                parts = [f"{name}_m{mid}_{k}.png" for k in range(n + 1)]
                ignore = f"{name}_ignore.png"
                # Masks of OpenImages are of another scale than their images.
                masks |= {path: mask((100, 75)) for path in [*parts, ignore] if split != "train"}
                localization += [
                    f"{name}.jpg,{path},{'' if k else ignore}" for k, path in enumerate(parts)
                ]
        lines = localization if split != "train" else [""]
        write_metadata(folder / split, labels, localization=lines)
    return images, masks


@pytest.mark.parametrize("extracted", [True, False])
def test_open_images(folders, extracted):
    images, masks = open_images(folders["metadata"])
    if extracted:
        write(folders["source"] / "OpenImages", images | masks)
    else:
        write(folders["source"], {"OpenImages_images.zip": zip_bytes(images)})
        write(folders["source"], {"OpenImages_annotations.zip": zip_bytes(masks)})
    report = run("openimages", folders)
    assert not report.problems and not report.notes
    assert {name: row.found for name, row in report.rows.items()} == {
        "train": 4, "val": 4, "val masks": 10, "test": 4, "test masks": 10
    }  # fmt: skip
    sources = load("openimages_vgg", folders["out"])
    assert sources["train"].load_mask is None and sources["val"].num_classes == 100
    foreground, ignore = sources["test"].load_mask(1, 50)
    assert foreground.any() and not ignore.any()  # it is the same area here


def test_masks_missing_bad_or_of_another_shape(folders):
    images, masks = open_images(folders["metadata"])
    names = [name for name in masks if name.startswith("val")]
    masks[names[0]] = mask((75, 100))  # on its side
    masks[names[1]] = masks[names[1]][:60]
    del masks[names[2]]
    write(folders["source"], images | masks)
    report = run("openimages", folders)
    row = report.rows["val masks"]
    assert (row.found, row.unreadable, row.wrong_size, row.missing) == (8, 1, 1, 1)
    assert list(report.problems) == ["val masks"]
    assert f"2 of 10 not found ({names[1]} is truncated" in report.problems["val masks"]
    assert f"{names[2]} is missing" in report.problems["val masks"]
    assert f"masks of another shape than their images: 1 ({names[0]})" in report.notes[0]
    assert not (folders["out"] / "metadata" / "val").exists()
    assert len(load("openimages_vgg", folders["out"])["test"]) == 4


# ILSVRC --------------------------------------------------------------------------------------

VAL_CLASSES = (0, 2, 10)  # 10 sorts before 2


def ilsvrc_train():
    return {
        wordnet: {f"{wordnet}_{n}.JPEG": picture((30 + n, 20), seed=n) for n in (10, 9)}
        for wordnet in WORDNET
    }


def ilsvrc_test():
    return {
        f"ILSVRC2012_val_{n:08}.JPEG": picture((40, 30), seed=n, exif=turned()) for n in range(1, 5)
    }


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def v2_files():
    return {
        f"{c}/{n}.jpeg": picture((40 + c + n, 30), seed=n) for c in VAL_CLASSES for n in range(4)
    }


def ilsvrc_metadata(folder, splits=("val", "test")):
    if "val" in splits:
        labels = {f"val2/{c}/{n}.jpeg": c for c in VAL_CLASSES for n in range(4)}
        write_metadata(
            folder / "val",
            labels,
            {path: [(1, 2, 9, 8), (3, 3, 7, 9)] for path in labels},
            {f"val2/{c}/{n}.jpeg": (40 + c + n, 30) for c in VAL_CLASSES for n in range(4)},
        )
    if "test" in splits:
        labels = {f"val/{name}": n % 3 for n, name in enumerate(ilsvrc_test())}
        boxes = {path: [(1, 2, 39, 29)] * (1 + n % 2) for n, path in enumerate(labels)}
        write_metadata(folder / "test", labels, boxes, dict.fromkeys(labels, (40, 30)))


def ilsvrc_xml(labels=(0, 1, 2, 0)):
    """The owners' annotation, some boxes of which end one pixel outside."""
    box = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>40</xmax>" \
        "<ymax>30</ymax></bndbox></object>"  # fmt: skip
    return {
        f"val/ILSVRC2012_val_{n:08}.xml": (
            f"<annotation>{box.format(WORDNET[label]) * (1 + (n - 1) % 2)}</annotation>".encode()
        )
        for n, label in enumerate(labels, start=1)
    }


def ilsvrc_archives(folder, v2=None):
    inner = {f"{wordnet}.tar": tar_bytes(files) for wordnet, files in ilsvrc_train().items()}
    write(folder, {"ILSVRC2012_img_train.tar": tar_bytes(inner)})
    write(folder, {"ILSVRC2012_img_val.tar": tar_bytes(ilsvrc_test())})
    rooted = {f"imagenetv2-threshold0.7-format-val/{k}": v for k, v in (v2 or v2_files()).items()}
    write(folder, {"imagenetv2-threshold0.7.tar.gz": tar_bytes(rooted, "w:gz")})


@pytest.mark.parametrize("extracted", [True, False])
@pytest.mark.parametrize("boxes", ["metadata", "xml"])
def test_ilsvrc(folders, boxes, extracted):
    if extracted:
        train = {
            f"train/{w}/{k}": v for w, files in ilsvrc_train().items() for k, v in files.items()
        }
        test = {f"val/{WORDNET[n % 3]}/{k}": v for n, (k, v) in enumerate(ilsvrc_test().items())}
        v2 = {f"threshold0.7/{k}": v for k, v in v2_files().items()}
        other = {f"imagenetv2-top-images-format-val/{k}": picture((9, 9)) for k in v2_files()}
        write(folders["source"], train | test | v2 | other)
    else:
        ilsvrc_archives(folders["source"])
    if boxes == "xml":
        write(folders["source"], {"ILSVRC2012_bbox_val_v3.tgz": tar_bytes(ilsvrc_xml(), "w:gz")})
    ilsvrc_metadata(folders["metadata"], ("val", "test") if boxes == "metadata" else ("val",))
    report = run("ilsvrc", folders)
    assert not report.problems, report.problems
    sources = load("ilsvrc_vgg", folders["out"])
    assert {split: len(source) for split, source in sources.items()} == {
        "train": 6, "val": 12, "test": 4
    }  # fmt: skip
    train = sources["train"]
    assert train.image_ids[0] == "train/n01440764/n01440764_10.JPEG"
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2] and train.boxes is None
    assert sources["val"].labels.tolist() == [0] * 4 + [2] * 4 + [10] * 4
    assert all(len(boxes) == 2 for boxes in sources["val"].boxes)
    assert sources["test"].labels.tolist() == [0, 1, 2, 0]
    assert [b.tolist() for b in sources["test"].boxes][:2] == [
        [[1, 2, 39, 29]],
        [[1, 2, 39, 29]] * 2,
    ]
    assert sources["test"].load_image(0).shape == (30, 40, 3)  # as stored
    made = listing(folders["out"])
    assert not run("ilsvrc", folders).problems
    assert listing(folders["out"]) == made


def test_incomplete_training_classes(folders):
    ilsvrc_metadata(folders["metadata"])
    ilsvrc_archives(folders["source"])
    report = run("ilsvrc", folders, subset=False, check=True)
    assert (
        "train: 1281161 of 1281167 not found. Get ILSVRC2012_img_train" in report.problems["train"]
    )

    inner = {f"{w}.tar": tar_bytes(ilsvrc_train()[w]) for w in WORDNET[1:]}
    write(folders["source"], {"ILSVRC2012_img_train.tar": tar_bytes(inner)} | ilsvrc_xml())
    report = run("ilsvrc", folders)
    assert list(report.problems) == ["train"]
    assert "is of n01440764 and has label 0" in report.problems["train"]
    assert "number None of the 2 class folders" in report.problems["train"]


def hashed(order):
    """ImageNetV2 under hashed names, which sort in the given order of the right ones."""
    return {
        f"{path.split('/')[0]}/{order(int(path[-6])):02x}{'ab' * 12}.jpeg": data
        for path, data in v2_files().items()
    }


def test_hashed_names_of_imagenet_v2(folders, monkeypatch):
    ilsvrc_metadata(folders["metadata"])
    ilsvrc_archives(folders["source"], hashed(lambda n: 3 - n))
    report = run("ilsvrc", folders)
    assert list(report.problems) == ["val"] and report.rows["val"].missing == 12
    assert "Rename the images to <label>/<0-9>.jpeg" in report.problems["val"]
    # Three times four images agree by accident once in 13824 times: too often.
    ilsvrc_archives(folders["source"], hashed(lambda n: n))
    assert list(run("ilsvrc", folders).problems) == ["val"]
    monkeypatch.setattr(ilsvrc, "_CHANCE", np.log(1e-4))
    assert not run("ilsvrc", folders).problems
    image = (folders["out"] / "val2" / "10" / "3.jpeg").read_bytes()
    assert image == v2_files()["10/3.jpeg"]


def test_matching_hashed_names():
    images = {f"val2/{c}/{n}.jpeg": (n, c + 1) for c in range(9) for n in range(1, 8)}
    names = {str(c): {f"{n}aa.jpeg": (n, c + 1) for n in (3, 1, 2, 4, 7, 6, 5)} for c in range(9)}
    matched = ilsvrc.match_names(names, images)
    assert len(matched) == 63 and matched["8", "3aa.jpeg"] == "val2/8/3.jpeg"
    alike = {folder: dict.fromkeys(sizes, (5, 5)) for folder, sizes in names.items()}
    assert ilsvrc.match_names(alike, dict.fromkeys(images, (5, 5))) is None
    names["4"]["1aa.jpeg"] = (9, 9)
    assert ilsvrc.match_names(names, images) is None
    del names["4"]
    assert ilsvrc.match_names(names, images) is None


def test_labels_of_imagenet_v2_that_are_places_in_a_list(folders):
    ilsvrc_metadata(folders["metadata"])
    path = folders["metadata"] / "val" / "class_labels.txt"
    path.write_text(path.read_text().replace("val2/10/0.jpeg,10", "val2/10/0.jpeg,1"))
    with pytest.raises(DataError, match=r"'val2/10/0.jpeg,1' is not val2/<label>"):
        run("ilsvrc", folders)


@pytest.mark.parametrize(
    "text", ["", "<annotation/>", "<annotation><object><name>n1</name></object></annotation>"]
)
def test_bad_xml(folders, text):
    write(folders["source"], {"ILSVRC2012_val_00000001.xml": text})
    with pytest.raises(DataError, match=r"ILSVRC2012_val_00000001.xml is no annotation with"):
        run("ilsvrc", folders)


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
