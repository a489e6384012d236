"""ILSVRC and ImageNetV2: from what their owners distribute to what the recipes read."""

import numpy as np
import pytest

from ega_jax.data.prepare import ilsvrc
from ega_jax.data.source import DataError
from tests.helpers.archives import tar_bytes
from tests.helpers.published_files import (
    WORDNET,
    listing,
    load,
    picture,
    run,
    write,
)
from tests.helpers.published_sets import (
    VAL_CLASSES,
    ilsvrc_archives,
    ilsvrc_metadata,
    ilsvrc_test,
    ilsvrc_train,
    ilsvrc_xml,
    v2_files,
)


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


IDS = tuple(f"n{n:08}" for n in (7, 11, 20, 21, 30, 42, 43, 44, 45, 46, 47))  # 11, of labels 0..10


@pytest.mark.parametrize("names", ["numbers", "hashes"])
@pytest.mark.parametrize("told_by", ["folders", "xml", "training images", "training archives"])
def test_folders_of_imagenet_v2_named_by_wordnet_id(folders, monkeypatch, told_by, names):
    monkeypatch.setattr(ilsvrc.ILSVRC, "num_classes", len(IDS))
    monkeypatch.setattr(ilsvrc, "_CHANCE", np.log(1e-4))
    files = v2_files() if names == "numbers" else hashed(lambda n: n)
    named = {f"{IDS[int(k.split('/')[0])]}/{k.split('/')[1]}": v for k, v in files.items()}
    others = [wordnet for n, wordnet in enumerate(IDS) if n not in VAL_CLASSES]
    more = {
        "folders": {f"V2/{w}/0.jpeg": picture((9, 9)) for w in others},
        "xml": {
            f"ILSVRC2012_val_{n:08}.xml": ilsvrc_xml((0,))["val/ILSVRC2012_val_00000001.xml"]
            .decode()
            .replace(WORDNET[0], w)
            for n, w in enumerate(others)
        },
        "training images": {f"{w}/{w}_1.JPEG": picture((9, 9)) for w in others},
        "training archives": {f"{w}.tar": tar_bytes({}) for w in others},
    }[told_by]
    ilsvrc_metadata(folders["metadata"], ("val",))
    rooted = {f"imagenetv2-threshold0.7/{k}": v for k, v in named.items()}
    write(folders["source"], {"imagenetv2-threshold0.7.tar.gz": tar_bytes(rooted, "w:gz")})

    report = run("ilsvrc", folders)
    assert report.rows["val"].missing == 12
    assert "The folders are named by WordNet id, such as n00000007" in report.problems["val"]
    assert "all 11 ids" in report.problems["val"] and "tell of 3." in report.problems["val"]

    write(folders["source"], more)
    report = run("ilsvrc", folders)
    assert "val" not in report.problems and report.rows["val"].found == 12
    for name, data in v2_files().items():  # 10 is the eleventh id, not the second
        assert (folders["out"] / "val2" / name).read_bytes() == data


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
