"""Annotating pictures of known classes: what is written, going on, and what is refused."""

import csv
import json
import re
import shutil
import time

import pytest

from ega_jax import Localizer
from ega_jax.data.convert.coco import read_coco
from ega_jax.data.convert.yolo import read_yolo
from ega_jax.data.source import DataError
from ega_jax.evaluation import localizer as localizers
from ega_jax.modes import annotate
from ega_jax.runtime import checkpoints
from ega_jax.runtime.errors import ConfigError
from tests.helpers.browser import chromium, complaints, show
from tests.helpers.pictures import save_pictures
from tests.helpers.runs import tiny

NUMBER = 11


@pytest.fixture
def names(tiny_run):
    return json.loads((tiny_run[0] / "classes.json").read_text())


@pytest.fixture
def pictures(tmp_path, names):
    """Pictures of odd sizes in class folders, one of which cannot be read."""
    sizes = {f"{names[i % 3]}/{i:02d}.png": (30 + i, 50 - i) for i in range(NUMBER)}
    root = save_pictures(tmp_path / "pictures", sizes)
    (root / names[0] / "cut.png").write_bytes((root / f"{names[0]}/00.png").read_bytes()[:200])
    return root


@pytest.fixture
def run(tiny_run, pictures, tmp_path):
    """Annotates with some fields set; returns the folder and what was skipped."""
    path = str(checkpoints.find(tiny_run[0], "last"))

    def annotated(out="out", **fields):
        config = tiny(**fields)
        place = tmp_path / out
        skipped = annotate.annotate(config, str(place), str(pictures), checkpoint=path)
        return place / "annotations", skipped

    return annotated


def test_boxes_of_the_known_classes(tiny_run, run, pictures, names):
    out, skipped = run(**{"annotate.format": "coco, yolo,csv"})
    assert [entry["image_id"] for entry in skipped] == [f"{names[0]}/cut.png"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["skipped"] == skipped and summary["pictures"] == NUMBER
    assert summary["threshold"] == tiny_run[1]["validation"]["oracle"]["threshold"]
    assert {name: entry["pictures"] for name, entry in summary["classes"].items()} == {
        names[0]: 4, names[1]: 4, names[2]: 3
    }  # fmt: skip
    coco = read_coco(str(out / "instances.json"))
    assert coco.names == tuple(names)
    assert len(coco.pictures) == NUMBER
    ids = [one.file for one in coco.pictures]
    labels = [names.index(one.split("/")[0]) for one in ids]
    found = Localizer.load(tiny_run[0]).localize([pictures / one for one in ids], labels)
    for one, expected in zip(coco.pictures, found, strict=True):
        (made,) = one.objects(one.size)
        x0, y0, x1, y1 = made.box
        assert [x0, y0, x1 - 1, y1 - 1] == expected.boxes[0].tolist()
        assert made.name == expected.class_name
    rows = list(csv.DictReader(open(out / "boxes.csv")))
    for row, expected in zip(rows, found, strict=True):
        assert float(row["confidence"]) == pytest.approx(expected.confidences[0], abs=1e-5)
        assert float(row["score"]) == pytest.approx(expected.score, abs=1e-5)
    yolo = read_yolo(str(out / "yolo" / "labels"), str(out / "yolo" / "images"), names)
    assert sorted(one.file for one in yolo.pictures) == sorted(ids)


def test_killed_and_started_again_it_goes_on(run, monkeypatch):
    whole, _ = run("whole", **{"annotate.format": "csv"})
    monkeypatch.setattr(annotate, "PART", 4)
    write, calls = annotate.files.write_json, []

    def write_or_die(path, value):
        if path.parent.name == "parts":
            calls.append(path.name)
            if len(calls) == 2:
                raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(annotate.files, "write_json", write_or_die)
    with pytest.raises(KeyboardInterrupt):
        run("cut", **{"annotate.format": "csv"})
    out, _ = run("cut", **{"annotate.format": "csv"})
    assert calls == ["000000.json", "000001.json", "000001.json", "000002.json"]
    assert (out / "boxes.csv").read_bytes() == (whole / "boxes.csv").read_bytes()


def test_other_formats_need_no_network_any_more(run, monkeypatch):
    out, _ = run(**{"annotate.format": "csv"})

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(localizers.Localizer, "__init__", refuse)
    out, skipped = run(**{"annotate.format": "voc,png"})
    assert len(skipped) == 1 and len(list(out.glob("voc/Annotations/*/*.xml"))) == NUMBER
    # Of those whose boxes are too uncertain nothing stays: they would teach that nothing is there.
    out, _ = run(**{"annotate.format": "voc,png,yolo", "annotate.min_confidence": 1.0})
    summary = json.loads((out / "summary.json").read_text())
    assert summary["objects"] == 0 and len(summary["reviewed"]["left_out"]) == NUMBER
    assert not list(out.glob("voc/Annotations/*/*.xml"))
    assert (out / "yolo" / "train.txt").read_text() == ""


def test_other_settings_are_refused(run):
    run(**{"annotate.format": "csv"})
    with pytest.raises(ConfigError, match="annotations of other predict; remove it, or choose"):
        run(**{"annotate.format": "csv", "predict.threshold": 0.5})


def test_another_network_is_refused(run, tiny_run, tmp_path, pictures):
    """One of as many steps: the parts that are there are of the first one."""
    out, _ = run(**{"annotate.format": "csv"})
    workdir = tmp_path / "other"
    shutil.copytree(tiny_run[0], workdir)
    manifest = checkpoints.find(workdir, "last") / "manifest" / "metadata"
    changed = json.loads(manifest.read_text())
    next(iter(changed["arrays"].values()))["crc32"] += 1
    manifest.write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="annotations of other checkpoint; remove it, or choose"):
        annotate.annotate(tiny(**{"annotate.out": str(out)}), str(workdir), str(pictures))


def test_another_picture_in_the_place_of_one_is_refused(run, pictures, names):
    run(**{"annotate.format": "csv"})
    save_pictures(pictures, {f"{names[0]}/00.png": (90, 40)})
    with pytest.raises(ConfigError, match="annotations of other pictures; remove it, or choose"):
        run(**{"annotate.format": "csv"})


def test_maps_that_are_read_otherwise_have_thresholds_of_their_own(run, caplog):
    out, _ = run(**{"annotate.format": "csv", "reader.name": "layer_cam"})
    assert json.loads((out / "summary.json").read_text())["threshold"] == "own"
    assert caplog.text.count("was found on maps that were read otherwise") == 1


def test_several_objects_and_thresholds_of_their_own(run, tiny_run, monkeypatch):
    out, _ = run("some", **{"annotate.format": "csv", "predict.max_objects": 4})
    several = json.loads((out / "summary.json").read_text())["objects"]
    assert several >= NUMBER
    monkeypatch.setattr(annotate, "validated_threshold", lambda *args: None)
    out, _ = run("own", **{"annotate.format": "csv"})
    thresholds = {row["threshold"] for row in csv.DictReader(open(out / "boxes.csv"))}
    assert len(thresholds) > 1
    assert json.loads((out / "summary.json").read_text())["threshold"] == "own"


def test_two_pictures_with_one_label_file_are_refused_at_start(run, pictures, names):
    save_pictures(pictures, {f"{names[0]}/00.jpg": (9, 9)})
    with pytest.raises(DataError, match="00.jpg and .*00.png would have the same yolo file"):
        run(**{"annotate.format": "yolo"})


def summary_of(out):
    return json.loads((out / "summary.json").read_text())


def review_of(out):
    """The review page's data, and a function that saves decisions for it."""
    text = (out / "review.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])

    def save(*decisions):
        path = out.parent / "said.json"
        path.write_text(json.dumps({"review_of": data["of"], "decisions": decisions}))
        return str(path)

    return data, save


@pytest.fixture
def merge(tiny_run, tmp_path):
    path = str(checkpoints.find(tiny_run[0], "last"))

    def merged(file, out="out"):
        annotate.merge(tiny(), str(tmp_path / out), file, checkpoint=path)

    return merged


def test_reviewed_boxes_are_written_again(run, merge):
    pytest.importorskip("jinja2")
    out, _ = run(**{"annotate.format": "coco,csv,voc,yolo,png", "annotate.regions": "rle"})
    data, save = review_of(out)
    assert f" --checkpoint={summary_of(out)['checkpoint']}" in (out / "review.html").read_text()
    confidences = [one["objects"][0]["confidence"] for one in data["pictures"]]
    assert len(confidences) == NUMBER and confidences == sorted(confidences)
    gone, moved, kept = (one["id"] for one in data["pictures"][:3])
    decision = {"object": 0, "verdict": "reject"}
    merge(
        save(
            decision | {"image": gone},
            {"image": moved, "object": 0, "verdict": "move", "box": [1, 2, 20, 22]},
            decision | {"image": kept, "verdict": "accept"},
        )
    )
    summary = summary_of(out)
    assert summary["reviewed"] == {"accept": 1, "reject": 1, "move": 1, "left_out": [gone]}
    assert summary["objects"] == summary["pictures"] == NUMBER - 1
    coco = read_coco(str(out / "instances.json"))
    boxes = {one.file: one.objects(one.size)[0].box for one in coco.pictures}
    assert gone not in boxes and boxes[moved] == (1, 2, 21, 23)
    assert '"counts"' in (out / "instances.json").read_text()  # run lengths, as they were asked for
    rows = {row["image"]: row for row in csv.DictReader(open(out / "boxes.csv"))}
    assert [rows[moved][name] for name in ("x0", "y0", "x1", "y1")] == ["1", "2", "20", "22"]
    stem = gone.removesuffix(".png")
    for name in (f"voc/Annotations/{stem}.xml", f"yolo/labels/{stem}.txt", f"yolo/images/{gone}"):
        assert not (out / name).exists() and (out / name.replace(stem, kept[:-4])).exists()
    assert not (out / "masks" / f"{gone}.png").exists()
    assert f"{stem}\n" not in (out / "voc/ImageSets/Main/train.txt").read_text()
    left = [one["id"] for one in review_of(out)[0]["pictures"]]
    assert left == [one["id"] for one in data["pictures"][3:]]

    # Other formats are of the reviewed boxes too, and the later word counts.
    out, _ = run(**{"annotate.format": "csv"})
    assert gone not in {row["image"] for row in csv.DictReader(open(out / "boxes.csv"))}
    merge(save({"image": gone, "object": 0, "verdict": "accept"}))
    assert gone in {row["image"] for row in csv.DictReader(open(out / "boxes.csv"))}

    # Also those that the last call did not ask for.
    assert summary_of(out)["formats"] == ["coco", "csv", "voc", "yolo", "png"]
    assert (out / f"voc/Annotations/{stem}.xml").exists()
    merge(save({"image": gone, "object": 0, "verdict": "reject"}))
    assert gone not in {one.file for one in read_coco(str(out / "instances.json")).pictures}
    assert not (out / f"voc/Annotations/{stem}.xml").exists()


def test_merging_without_annotations_or_of_others(run, merge, tmp_path):
    with pytest.raises(ConfigError, match="has no annotations that are finished"):
        merge("said.json")
    out, _ = run(**{"annotate.format": "csv", "annotate.review": 0})
    assert not (out / "review.html").exists()
    (tmp_path / "said.json").write_text('{"review_of": "0", "decisions": []}')
    with pytest.raises(DataError, match="is the review of other annotations"):
        merge(str(tmp_path / "said.json"))


def test_reviewed_in_a_browser(run, merge, tmp_path):
    """Reject one, drag one, save, merge, export."""
    pytest.importorskip("jinja2")
    out, _ = run(**{"annotate.format": "csv"})
    with chromium(downloads=tmp_path) as driver:
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        show(driver, out / "review.html")
        first, second, third = driver.find_elements("css selector", ".card")[:3]
        first.find_element("xpath", ".//button[text()='Reject']").click()
        handle = second.find_elements("css selector", ".handle")[3]
        size = driver.execute_script("return data.pictures[1].size")
        before = driver.execute_script("return entries[1].box")
        frame = second.find_element("css selector", "svg").rect
        dragged = [-0.25 * frame["width"], -0.2 * frame["height"]]
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
        ActionChains(driver).drag_and_drop_by_offset(handle, *map(round, dragged)).perform()
        box = driver.execute_script("return entries[1].box")
        assert box[:2] == before[:2]
        for k in (2, 3):
            assert box[k] == pytest.approx(before[k] - (0.25, 0.2)[k - 2] * size[k - 2], abs=1.5)
        driver.execute_script("entries[2].group.focus()")
        driver.switch_to.active_element.send_keys("a")
        driver.execute_script("entries[3].group.focus()")
        driver.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, "r", "u")
        told = "3 of 11 boxes decided: 1 accepted, 1 moved, 1 rejected"
        assert driver.find_element("id", "progress").text == told
        show(driver, out / "review.html")  # what was decided is still there
        assert driver.find_element("id", "progress").text == told
        driver.find_element("id", "save").click()
        wait_for(tmp_path / "review.json")
        assert not complaints(driver)
    ids = [one["id"] for one in review_of(out)[0]["pictures"]]
    merge(str(tmp_path / "review.json"))
    rows = {row["image"]: row for row in csv.DictReader(open(out / "boxes.csv"))}
    assert ids[0] not in rows and len(rows) == NUMBER - 1
    assert [int(rows[ids[1]][name]) for name in ("x0", "y0", "x1", "y1")] == box


def wait_for(path, seconds=10):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} was not saved"
        time.sleep(0.05)
