"""What may be trained on: phantom classes, and images that are left out the same way every time."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from configs import folder
from ega_jax.config import build, training_data
from ega_jax.config.training_data import check_training, leave_out, warn_of_shared
from ega_jax.data.pipeline import train_batches
from ega_jax.data.source import DataError, Source, array_loader, without

NAMES = ("ant", "bee", "cat")


def source(labels, names=NAMES, **fields):
    labels = np.array(labels, np.int32)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return Source(
        name="made/train",
        image_ids=tuple(f"{i}.png" for i in range(len(labels))),
        labels=labels,
        class_names=tuple(names),
        load_image=array_loader(np.broadcast_to(images, (len(labels), 4, 4, 3)).copy()),
        **fields,
    )


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 0, 0], ["images"], "all 3 training images are of one class, 'images', and there is"),
        ([1, 1], NAMES, "of one class, 'bee', .*correct the labels, class_labels.txt"),
        ([1, 2, 1], "012", r"no training image has the label 0 of 0 to 2; .*seem to count from 1"),
        ([0, 1, 4], "01234", r"label 2, 3 of 0 to 4; labels count from 0 without gaps"),
    ],
)
def test_what_cannot_be_learnt_is_refused_with_the_likely_cause(labels, names, message):
    with pytest.raises(DataError, match=message):
        check_training(source(labels, names), None)


def test_named_classes_without_images_are_warned_about(caplog):
    check_training(source([0, 2, 0]), None)
    assert "1 of 3 classes have no training image: bee" in caplog.text
    check_training(source([1, 2, 1], "012"), 3)  # the config says that there are three
    assert "no training image: 0" in caplog.text


def test_images_of_two_splits_are_warned_about(caplog):
    one, other = source([0, 1, 2]), source([0, 1])
    other = dataclasses.replace(other, image_ids=("3.png", "2.png"))
    warn_of_shared({"train": one, "test": without(other, {"2.png": "?"})})
    warn_of_shared({"val": one, "test": one})
    assert not caplog.text
    warn_of_shared({"train": one, "val": one, "test": other})
    assert (
        "3 images of the val split are in the training split, too, '0.png' for one" in caplog.text
    )
    assert "1 images of the test split are in the training split, too, '2.png'" in caplog.text


def test_without_keeps_everything_else_in_order():
    boxes = tuple(np.array([[i, 0, i, 0]]) for i in range(5))
    whole = source(
        [0, 1, 2, 0, 1],
        image_sizes=np.arange(10).reshape(5, 2),
        boxes=boxes,
        load_mask=lambda index, size: (index, size),
        unusable={"1.png": "is empty", "4.png": "is gone"},
    )
    part = without(whole, {"1.png": "is empty", "elsewhere.png": "?"})
    assert part.image_ids == ("0.png", "2.png", "3.png", "4.png")
    assert part.labels.tolist() == [0, 2, 0, 1]
    assert [int(part.load_image(i)[0, 0, 0]) for i in range(4)] == [0, 2, 3, 4]
    assert part.image_sizes[:, 0].tolist() == [0, 4, 6, 8]
    assert [box[0, 0] for box in part.boxes] == [0, 2, 3, 4]
    assert part.load_mask(3, 8) == (4, 8)
    assert part.unusable == {"4.png": "is gone"}
    assert part.left_out == {"1.png": "is empty", "elsewhere.png": "?"}
    with pytest.raises(DataError, match="all 5 images would be left out"):
        without(whole, dict.fromkeys(whole.image_ids, "?"))


def test_all_processes_leave_out_what_any_of_them_cannot_read(monkeypatch, caplog):
    here = dataclasses.replace(source([0, 1, 2, 0]), unusable={"1.png": "is empty"})
    there = {"ids": np.array(["3.png", "1.png"]), "why": np.array(["is cut", "is empty"])}
    monkeypatch.setattr(training_data.distributed, "gather", lambda mine: [mine, there])
    part = leave_out(here, None)
    assert part.image_ids == ("0.png", "2.png")
    assert part.left_out == {"1.png": "is empty", "3.png": "is cut"}
    assert "2 of 4 images are left out: 1.png (is empty), 3.png (is cut)" in caplog.text


def test_a_run_that_goes_on_leaves_out_the_same():
    whole = source([0, 1, 2, 0])
    recorded = {"1.png": "is empty"}
    # Mended since, or not: it stays out.
    for unusable in ({}, recorded):
        again = leave_out(dataclasses.replace(whole, unusable=unusable), recorded)
        assert again.image_ids == ("0.png", "2.png", "3.png")
    broken = dataclasses.replace(whole, unusable={**recorded, "2.png": "is gone"})
    with pytest.raises(
        DataError, match=r"1 images were fine when the run began .*'2.png': is gone"
    ):
        leave_out(broken, recorded)


@pytest.fixture
def tree(tmp_path):
    """Pictures of two classes; one is empty, one damaged in the middle, one is no picture."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(8):
            path = root / name / f"{number}.png"
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    (root / "cat" / "3.png").write_bytes(b"")
    data = bytearray((root / "dog" / "1.png").read_bytes())
    data[300:340] = bytes(40)  # shows only when it is decoded
    (root / "dog" / "1.png").write_bytes(data)
    (root / "dog" / "6.png").write_bytes(b"<html>")
    return root


BAD = ["cat/3.png", "dog/1.png", "dog/6.png"]


def config_for(root, **fields):
    config = folder.get_config()
    config.update_from_flattened_dict({"data.root": str(root), **fields})
    return config


def stream(source, start=0):
    batches = train_batches(
        source,
        batch_size=4,
        seed=0,
        start_step=start,
        num_steps=6,
        resize_size=12,
        crop_size=8,
    )
    return [batch["image"] for batch in batches]


def test_bad_files_are_refused_by_name_or_left_out(tree):
    with pytest.raises(DataError, match=r"(?s)2 of 16 image files.*3.png: is empty.*=skip"):
        build.sources(config_for(tree))
    skipping = config_for(tree, **{"data.on_bad_image": "skip"})
    first = build.sources(skipping)["train"]
    assert list(first.left_out) == BAD and len(first) == 13
    # The stream is a function of seed and step, after a restart and a repair too.
    batches = stream(first)
    Image.new("RGB", (20, 20)).save(tree / "dog" / "6.png")
    (tree / "cat" / "3.png").unlink()
    left_out = json.loads(json.dumps(dict(first.left_out)))
    again = build.sources(skipping, left_out=left_out)["train"]
    assert again.image_ids == first.image_ids
    for one, other in zip(batches[2:], stream(again, start=2), strict=True):
        np.testing.assert_array_equal(one, other)
    (tree / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="'cat/0.png': is empty.*restore them"):
        build.sources(skipping, left_out=left_out)


def test_the_test_split_is_never_shortened(tree):
    root = tree.parent / "splits"
    for split in ("train", "test"):
        (root / split).parent.mkdir(exist_ok=True)
        (root / split).symlink_to(tree)
    with pytest.raises(DataError, match=r"2 of 16 image files cannot be used:\n.*/test/cat/3.png"):
        build.sources(config_for(root, **{"data.on_bad_image": "skip"}))


def test_labels_are_checked_when_data_are_opened(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (9, 7)).save(tmp_path / "images" / f"{number}.png")
    with pytest.raises(DataError, match="of one class, 'images'"):
        build.sources(config_for(tmp_path))
    meta = tmp_path / "meta" / "train"
    meta.mkdir(parents=True)
    ids = [f"{number}.png" for number in range(3)]
    (meta / "image_ids.txt").write_text("\n".join(ids))
    (meta / "class_labels.txt").write_text("0.png,1\n1.png,2\n2.png,3")
    data = {"data.metadata": str(tmp_path / "meta")}
    with pytest.raises(DataError, match="seem to count from 1"):
        build.sources(config_for(tmp_path / "images", **data))
    (tmp_path / "meta" / "class_names.txt").write_text("none\nant\nbee\ncat")
    opened = build.sources(config_for(tmp_path / "images", **data))["train"]
    assert opened.class_names == ("none", "ant", "bee", "cat")


def test_the_home_folder(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree.parent))
    fields = {"data.on_bad_image": "skip"}
    assert len(build.sources(config_for("~/data", **fields))["train"]) == 13
