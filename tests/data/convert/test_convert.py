"""COCO, VOC and YOLO to metadata: made data in all three ways, and every fault by its place."""

import json
import re
import shlex

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ega_jax.data.convert.__main__ import main
from ega_jax.data.convert.regions import fill, run_lengths
from ega_jax.data.files.folder import folder_source
from ega_jax.data.files.metadata import read_metadata
from ega_jax.data.source import DataError

NAMES = ("ant", "bee", "cat")
SIZES = {"a/1.jpg": (40, 30), "a/2.jpg": (33, 51), "b/3.png": (64, 64)}
# Class, and first and last pixels of its boxes.
TRUTH = {
    "a/1.jpg": ("bee", [(0, 0, 39, 29)]),
    "a/2.jpg": ("ant", [(3, 4, 20, 50), (32, 0, 32, 0)]),
    "b/3.png": ("bee", [(5, 6, 5, 6), (10, 20, 30, 40)]),
}


@pytest.fixture
def data(tmp_path):
    """The pictures, and their annotations in all three ways."""
    coco = {"images": [], "annotations": [], "categories": []}
    coco["categories"] = [{"id": 10 * n, "name": name} for n, name in enumerate(NAMES)]
    for number, (file, (width, height)) in enumerate(SIZES.items()):
        path = tmp_path / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height)).save(path)
        name, boxes = TRUTH[file]
        label = NAMES.index(name)
        coco["images"].append({"id": number, "file_name": file, "width": width, "height": height})
        objects, lines = [], []
        for x0, y0, x1, y1 in boxes:
            sides = x1 - x0 + 1, y1 - y0 + 1
            corners = [x0, y0, x1 + 1, y0, x1 + 1, y1 + 1, x0, y1 + 1]
            coco["annotations"].append(
                {
                    "image_id": number,
                    "category_id": 10 * label,
                    "bbox": [x0, y0, *sides],
                    "segmentation": [corners],
                    "iscrowd": 0,
                }
            )
            objects.append(
                f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
                f"<xmax>{x1 + 1}</xmax><ymax>{y1 + 1}</ymax></bndbox></object>"
            )
            middle = x0 + sides[0] / 2, y0 + sides[1] / 2
            shares = [*np.divide(middle, (width, height)), *np.divide(sides, (width, height))]
            lines.append(f"{label} " + " ".join(f"{share:.6f}" for share in shares))
        stem = file.rsplit(".", 1)[0]
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        xml = f"<annotation><filename>{file[2:]}</filename>{size}{''.join(objects)}</annotation>"
        write(tmp_path / "xml" / f"{stem}.xml", xml)
        write(tmp_path / "labels" / f"{stem}.txt", "\n".join(lines))
    write(tmp_path / "coco.json", json.dumps(coco))
    write(tmp_path / "data.yaml", yaml.safe_dump({"names": dict(enumerate(NAMES))}))
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def arguments(root, kind, *more, out="meta"):
    annotations = {"coco": "coco.json", "voc": "xml", "yolo": "labels"}[kind]
    classes = [f"--classes={root}/data.yaml"] if kind == "yolo" else []
    return [
        *(kind, f"--annotations={root / annotations}", f"--images={root}/images"),
        *(f"--out={root / out}", *classes, *more),
    ]


def change(path, function):
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_boxes_and_classes_come_out(data, kind, capsys):
    assert main(arguments(data, kind)) == 0
    said = capsys.readouterr().out
    assert "--config.data.root=" in said and "train                  3           3" in said
    metadata = read_metadata(data / "meta" / "train")
    names = (data / "meta" / "class_names.txt").read_text().split()
    assert names == ["ant", "bee"]  # no picture has a cat
    for image_id, label, size, boxes in zip(
        metadata.image_ids,
        metadata.labels,
        metadata.image_sizes.tolist(),
        metadata.boxes_per_image(),
        strict=True,
    ):
        assert (names[label], list(map(tuple, boxes.tolist()))) == TRUTH[image_id]
        assert tuple(size) == SIZES[image_id]
    assert ("classes without a picture were left out (cat)" in said) == (kind != "voc")


def test_polygons_become_masks_and_crowds_are_ignored(data):
    def crowd(content):
        content["annotations"].append(
            {
                **{"image_id": 2, "category_id": 0, "iscrowd": 1, "bbox": [40, 40, 10, 10]},
                "segmentation": {"counts": [64 * 40 + 40, 10, 64 * 23 + 14], "size": [64, 64]},
            }
        )

    change(data / "coco.json", crowd)
    assert main(arguments(data, "coco")) == 0
    meta = data / "meta"
    source = folder_source(images=data / "images", metadata=meta / "train", masks=meta / "masks")
    assert source.class_names == ("ant", "bee")
    for index, image_id in enumerate(source.image_ids):
        width, height = SIZES[image_id]
        expected = np.zeros((height, width), np.uint8)
        for x0, y0, x1, y1 in TRUTH[image_id][1]:
            expected[y0 : y1 + 1, x0 : x1 + 1] = 1
        mask = cv2.resize(expected, (256, 256), interpolation=cv2.INTER_NEAREST) > 0
        foreground, ignored = source.load_mask(index, 256)
        np.testing.assert_array_equal(foreground, mask)
        assert ignored.sum() == (16 * 10 if image_id == "b/3.png" else 0)


def test_yolo_polygons_have_boxes_and_masks(data):
    for path in (data / "labels").rglob("*.txt"):
        path.write_text("1 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5")
    assert main(arguments(data, "yolo")) == 0
    metadata = read_metadata(data / "meta" / "train")
    boxes = dict(zip(metadata.image_ids, metadata.boxes.tolist(), strict=True))
    assert boxes["b/3.png"] == [16, 16, 47, 31]
    with Image.open(data / "meta/masks/train/b/3.png.png") as mask:
        assert np.asarray(mask).sum() == 32 * 16


def test_regions():
    """Polygons by the middles of pixels; run lengths as COCO's tools compress them."""
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]], float)
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    np.testing.assert_array_equal(fill([square], (6, 5)), expected)
    np.testing.assert_array_equal(fill([square + 0.4], (6, 5)), expected)
    assert not fill([square + 100], (6, 5)).any()
    runs = [6, 2, 3, 2, 3, 2, 12]  # down the columns
    np.testing.assert_array_equal(run_lengths(runs, (6, 5)), expected)
    np.testing.assert_array_equal(run_lengths("6230009", (6, 5)), expected)
    long = [100, 500, 40, 3, 1357]
    np.testing.assert_array_equal(run_lengths(packed(long), (50, 40)), run_lengths(long, (50, 40)))
    with pytest.raises(DataError, match="run lengths are not those of 6 x 5 pixels"):
        run_lengths([5, 2], (6, 5))


def packed(runs):
    """Compresses run lengths as `rleToString` of COCO's maskApi.c does."""
    text = ""
    for place, run in enumerate(runs):
        value = run - (runs[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | 32 if more else bits) + 48)
    return text


def test_a_second_split_has_the_classes_of_the_first(data, capsys):
    assert main(arguments(data, "coco")) == 0
    (data / "xml" / "a" / "2.xml").unlink()
    assert main(arguments(data, "voc", "--split=val")) == 0
    labels = read_metadata(data / "meta" / "val").labels.tolist()
    assert labels == [1, 1]  # bees, though there is no ant
    path = data / "xml" / "a" / "1.xml"
    path.write_text(path.read_text().replace("bee", "wasp"))
    assert main(arguments(data, "voc", "--split=val")) == 1
    assert "wasp is not in" in capsys.readouterr().err


@pytest.mark.parametrize("check", [["--check"], []])
def test_pictures_are_never_replaced_by_metadata(data, check, capsys):
    (data / "images").rename(data / "train")
    before = sorted(data.rglob("*"))
    given = arguments(data, "coco", f"--root={data}", "--split=train", *check, out=".")
    given = [word.replace("/images", "/train") for word in given]
    assert main(given) == 1
    message = "train is to be replaced by the metadata of a split, but holds a, b; choose another"
    assert message in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before


def test_root_and_list(data):
    (data / "list.txt").write_text("a/1  1\nb/3 -1\n")
    more = (f"--root={data}", f"--list={data}/list.txt")
    assert main(arguments(data, "voc", *more)) == 0
    assert read_metadata(data / "meta/train").image_ids == ("images/a/1.jpg", "images/b/3.png")


def test_pictures_with_objects_of_several_classes(data, capsys):
    (data / "labels" / "a" / "1.txt").write_text("0 .5 .5 .2 .2\n2 .3 .3 .5 .5\n0 .5 .5 .1 .1")
    assert main(arguments(data, "yolo")) == 1
    said = capsys.readouterr().err
    assert "1 pictures with objects of several classes" in said and "--several=largest" in said
    assert not (data / "meta").exists()
    assert main(arguments(data, "yolo", "--several=largest")) == 0
    metadata = read_metadata(data / "meta" / "train")
    at = metadata.image_ids.index("a/1.jpg")
    assert metadata.labels[at] == 2 and len(metadata.boxes_per_image()[at]) == 1
    assert main(arguments(data, "yolo", "--several=skip", out="other")) == 0
    assert "a/1.jpg" not in read_metadata(data / "other" / "train").image_ids


def test_what_is_left_out_is_counted_and_named(data, capsys):
    (data / "labels" / "a" / "1.txt").write_text("")
    (data / "labels" / "a" / "2.txt").write_text("0 .5 .5 .2 .2\n0 .5 .5 0 .2")
    Image.new("RGB", (9, 9)).save(data / "images" / "extra.png")
    assert main(arguments(data, "yolo", "--check")) == 0
    said = capsys.readouterr().out
    assert "1 pictures without an object were left out" in said and "a/1.txt" in said
    assert "1 objects without extent were left out" in said and "a/2.txt" in said
    assert "1 pictures in" in said and "are not annotated (extra.png)" in said
    assert not (data / "meta").exists()


def test_pictures_are_looked_at(data, capsys):
    (data / "images" / "a" / "1.jpg").unlink()
    (data / "images" / "a" / "2.jpg").write_bytes(b"")
    Image.new("RGB", (64, 65)).save(data / "images" / "b" / "3.png")
    assert main(arguments(data, "coco")) == 1
    out, said = capsys.readouterr()
    assert "train                  0           3           1           1           1" in out
    assert "1 missing pictures" in said and "a/1.jpg does not exist" in said
    assert "1 unreadable pictures" in said and "a/2.jpg is empty" in said
    assert "b/3.png: 64 x 64, but the picture is 64 x 65" in said
    assert not (data / "meta").exists()


def test_turned_pictures(data, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(data / "images" / "a" / "1.jpg", exif=exif)
    assert main(arguments(data, "coco")) == 0
    assert "--config.data.apply_exif=false" in capsys.readouterr().out
    Image.new("RGB", (51, 33)).save(data / "images" / "a" / "2.jpg", exif=exif)
    assert main(arguments(data, "coco")) == 1
    assert "some sizes are those of the stored" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_sizes_with_a_point_are_sizes(data, kind, capsys):
    """Tables write 40.0 where another row lacks the number."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(data / "images" / "a" / "1.jpg", exif=exif)
    change(data / "coco.json", lambda c: c["images"][0].update(width=40.0, height=30.0))
    change(data / "coco.json", lambda c: c["images"][1].update(width=-1, height=None))
    xml = data / "xml" / "a" / "1.xml"
    write(xml, xml.read_text().replace(">40<", ">40.0<").replace(">30<", "> 30.0 <"))
    assert main(arguments(data, kind)) == 0
    assert "--config.data.apply_exif=false" in capsys.readouterr().out
    sizes = (data / "meta" / "train" / "image_sizes.txt").read_text().splitlines()
    assert sizes[:2] == ["a/1.jpg,40,30", "a/2.jpg,33,51"]


def test_run_lengths_say_what_they_are_for(data, capsys):
    """Where the picture is turned and the image has no size: that of its run lengths."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 30)).save(data / "images" / "a" / "1.jpg", exif=turned)
    inside = np.zeros((30, 40), bool)
    inside[2:12, 3:33] = True
    runs = np.diff(np.flatnonzero(np.diff(inside.T.ravel(), prepend=False)), prepend=0).tolist()
    shape = {"size": [30, 40], "counts": [*runs, 1200 - sum(runs)]}

    def of_run_lengths(content, size=None):
        content["annotations"][0]["segmentation"] = shape | ({"size": size} if size else {})
        for side in ("width", "height"):
            content["images"][0].pop(side, None)

    change(data / "coco.json", of_run_lengths)
    assert main(arguments(data, "coco")) == 0
    assert "apply_exif=false" in capsys.readouterr().out
    (mask,) = (data / "meta" / "masks").rglob("1*.png")
    np.testing.assert_array_equal(np.asarray(Image.open(mask)) > 0, inside)

    for size, message in (([40, 30], "pictures"), ([30], "has the size [30], not [height, width]")):
        change(data / "coco.json", lambda content, size=size: of_run_lengths(content, size))
        if size == [40, 30]:
            change(
                data / "coco.json", lambda content: content["images"][0].update(width=40, height=30)
            )
            message = "segmentation has the size 30 x 40, but the image has 40 x 30"
        assert main(arguments(data, "coco", out="other")) == 1
        said = capsys.readouterr()
        assert message in said.out + said.err


def test_the_name_in_an_xml_file_and_its_own(data, capsys):
    """After both were renamed, the name inside may be that of another picture."""
    path = data / "xml" / "a" / "1.xml"
    path.write_text(path.read_text().replace("<filename>1.jpg", "<filename>2.jpg"))
    assert main(arguments(data, "voc")) == 1
    said = capsys.readouterr()
    assert "a/1.xml: there is a/1.jpg, but its filename says a/2.jpg" in said.out + said.err
    path.write_text(path.read_text().replace("<filename>2.jpg", "<filename>old.jpg"))
    assert main(arguments(data, "voc")) == 0


def test_run_lengths_of_another_size_are_found_before_anything_is_written(data, capsys):
    def longer(content):
        content["annotations"][1]["segmentation"] = {"counts": [0, 33 * 51 + 1]}

    change(data / "coco.json", longer)
    for more in (["--check"], []):
        assert main([*arguments(data, "coco"), *more]) == 1
        said = capsys.readouterr().err
        assert "a/2.jpg: annotations[1]: run lengths are not those of 33 x 51" in said
    assert not (data / "meta").exists()


def test_names_of_classes_and_files_that_mean_something_else_too(data, capsys):
    """Classes called yes and no in YAML, and a picture called as a list of pictures is."""
    write(data / "data.yaml", "names: {0: yes, 1: no, 2: 007}")
    (data / "images" / "a" / "1.jpg").rename(data / "images" / "a" / "test.jpg")
    (data / "labels" / "a" / "1.txt").rename(data / "labels" / "a" / "test.txt")
    write(data / "labels" / "train.txt", "images/a/test.jpg")
    assert main(arguments(data, "yolo")) == 0
    assert "not annotated" not in capsys.readouterr().out
    assert (data / "meta" / "class_names.txt").read_text() == "yes\nno\n"
    assert read_metadata(data / "meta" / "train").image_ids == ("a/2.jpg", "a/test.jpg", "b/3.png")


def test_the_flags_that_are_said_can_be_pasted(data, capsys):
    out = data / "my meta"
    images = (data / "images").rename(data / "my photos")
    options = [f"--images={images}", f"--annotations={data / 'coco.json'}", f"--out={out}"]
    assert main(["coco", *options]) == 0
    said = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert said[:2] == [f"--config.data.root={images}", f"--config.data.metadata={out}"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda c: c.pop("images"), "has no list 'images'"),
        (lambda c: c["images"][0].pop("file_name"), r"images\[0\] has no 'file_name'"),
        (lambda c: c["annotations"][1].update(image_id=9), r"annotations\[1\]: no image 9"),
        (lambda c: c["annotations"][1].update(category_id=5), r"annotations\[1\]: no category 5"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"annotations\[0\] has no bbox"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "has a polygon that"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 300, 4]), "box 1,2,301,6 ends outside"),
        (lambda c: c["images"][0].update(file_name="../x.jpg"), "missing pictures|leads out"),
        (lambda c: c["images"].append(c["images"][0] | {"id": 9}), "annotated twice"),
        (lambda c: c["images"][2].update(id=0), r"images\[2\] has the id 0 of images\[0\]"),
        (lambda c: c["images"][0].update(width=40.5), "a/1.jpg: size 40.5 x 30 is not of whole"),
        (lambda c: c["categories"][1].update(id=0), r"categories\[1\] has the id 0 of categ"),
        (lambda c: c["categories"][0].update(name=" bee"), "class name 'bee' is there twice"),
        (lambda c: c["categories"][0].update(name=" "), "class name '' is not of one line"),
        (
            lambda c: c["categories"][0].update(name="a\nb"),
            r"class name 'a\\nb' is not of one line",
        ),
    ],
)
def test_bad_coco(data, changed, message, capsys):
    change(data / "coco.json", changed)
    assert main(arguments(data, "coco")) == 1
    said = capsys.readouterr().err
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("kind", "file", "content", "message"),
    [
        ("coco", "coco.json", "{", "coco.json cannot be read as JSON"),
        ("coco", "coco.json", "[]", "has no list 'images'"),
        (
            "voc",
            "xml/a/1.xml",
            "<a><size><width>wide</width><height>9</height></size></a>",
            "a/1.xml: size 'wide' x '9' is not of whole numbers; correct or remove it",
        ),
        ("voc", "xml/a/1.xml", "<annotation>", "a/1.xml is no annotation with object/name"),
        ("voc", "xml/a/1.xml", "<a><object><name>x</name></object></a>", "is no annotation with"),
        ("yolo", "labels/a/1.txt", "0 .5 .5 .2", "a/1.txt, line 1: 3 numbers behind the class"),
        ("yolo", "labels/a/1.txt", "\n7 .5 .5 .2 .2", "line 2: class 7, but there are 3"),
        ("yolo", "labels/a/1.txt", "0 20 30 5 5", "numbers are shares of the picture's sides"),
        (
            "yolo",
            "labels/a/1.txt",
            "bee .5 .5 .2 .2",
            "line 1: 'bee .5 .5 .2 .2' is not of numbers",
        ),
        ("yolo", "labels/c.txt", "0 .5 .5 .2 .2", "c.txt: no picture of that name"),
        ("yolo", "data.yaml", "nc: 3", "data.yaml has no class names"),
        ("yolo", "data.yaml", "names: [a, b, ' a']", "data.yaml: class name 'a' is there twice"),
        ("yolo", "data.yaml", "names: [a, b, c]\nkpt_shape: [2, 2]", "data.yaml is of poses"),
    ],
)
def test_bad_annotations(data, kind, file, content, message, capsys):
    write(data / file, content)
    assert main(arguments(data, kind)) == 1
    assert message in capsys.readouterr().err
    assert not (data / "meta").exists()


def test_real_boxes_survive(shared_data, tmp_path, capsys):
    """The field's metadata of real photographs, as YOLO labels and back."""
    root = shared_data / "cub20"
    names = [line.split()[-1] for line in (root / "classes.txt").read_text().splitlines()]
    known = read_metadata(root / "metadata/boxes/val")
    rows = zip(
        known.image_ids,
        known.labels,
        known.image_sizes,
        known.boxes_per_image(),
        strict=True,
    )
    for image_id, label, size, boxes in rows:
        lines = [
            f"{label} "
            + " ".join(f"{v:.6f}" for v in (*(low + high) / 2 / size, *(high - low) / size))
            for low, high in ((box[:2], box[2:] + 1) for box in boxes)
        ]
        write(tmp_path / "labels" / f"{image_id.rsplit('.', 1)[0]}.txt", "\n".join(lines))
    write(tmp_path / "classes.txt", "\n".join(names))
    options = [f"--annotations={tmp_path}/labels", f"--classes={tmp_path}/classes.txt"]
    assert main(["yolo", *options, f"--images={root}/images", f"--out={tmp_path}/meta"]) == 0
    made = read_metadata(tmp_path / "meta" / "train")
    wanted = dict(zip(known.image_ids, known.boxes_per_image(), strict=True))
    assert set(made.image_ids) == set(known.image_ids)
    for image_id, boxes in zip(made.image_ids, made.boxes_per_image(), strict=True):
        # x1 and y1 of the field may be the width and the height, one past the last pixel.
        np.testing.assert_allclose(boxes, wanted[image_id], atol=1)
