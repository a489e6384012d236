"""What the page of a report is made of, and what is refused."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

from ega_jax.modes import report as mode
from ega_jax.report import charts, figures, page
from ega_jax.report.pictures import pictures
from ega_jax.report.runs import read_run
from ega_jax.runtime.errors import ConfigError
from tests.helpers.reported import evaluated


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    evaluated(folder)
    return folder


def text_of(path):
    return path.read_text(encoding="utf-8")


def test_one_file_with_figures_and_intervals(run):
    pytest.importorskip("jinja2")
    text = text_of(mode.report(str(run)))
    results = json.loads((run / "results.json").read_text())
    figure, (low, high) = results["test"]["pxap"], results["intervals"]["test"]["pxap"]
    assert f"{figure:.1f} <small>[{low:.1f}, {high:.1f}]</small>" in text
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", text), "the page loads something"
    assert "Validation" not in text and text.count("<polyline") == 4


def test_names_are_no_markup(run):
    pytest.importorskip("jinja2")
    path = run / "results.json"
    results = json.loads(path.read_text())
    results["config"]["data"]["root"] = "</script><b>\udcff"
    results["warnings"] = ["a < b & c"]
    path.write_text(json.dumps(results))
    text = text_of(mode.report(str(run)))
    assert "</script><b>" not in text and "a &lt; b &amp; c" in text


def test_data_of_the_images(run):
    shown = pictures([read_run(run)])
    (one,) = shown["runs"]
    assert len(shown["images"]) == 25 and one["start"] == 20  # no validation: 0.2
    packed = np.frombuffer(zlib.decompress(base64.b64decode(one["boxes"])), "<u2")
    boxes = packed.reshape(25, one["levels"], 4).cumsum(1, np.uint16)
    kept = read_run(run).kept
    np.testing.assert_array_equal(boxes, kept["largest"])
    json.dumps(shown)
    assert "mask" in shown["images"][0]


@pytest.mark.parametrize("kind", [{"boxes": False}, {"masks": False}, {"classify": False}])
def test_splits_that_lack_something(tmp_path, kind):
    evaluated(tmp_path, **kind)
    run = read_run(tmp_path)
    (one,) = pictures([run])["runs"]
    assert ("truths" in one) == kind.get("boxes", True)
    assert ("predictions" in one) == kind.get("classify", True)
    assert one["boxes"]
    names = [chart.title for chart in figures.charts([run])]
    assert ("Box accuracy over the threshold" in names) == kind.get("boxes", True)
    assert ("Precision and recall of pixels" in names) == kind.get("masks", True)
    pytest.importorskip("jinja2")
    assert ('id="iou"' in text_of(mode.report(str(tmp_path)))) == kind.get("boxes", True)


@pytest.mark.parametrize(
    ("kind", "column", "words"),
    [
        ({}, "corloc_err", "located"),
        ({"boxes": False}, "mean_mask_iou", "located"),
        ({"boxes": False, "masks": False}, "top1_cls_err", "classified"),
    ],
)
def test_classes_are_sorted_by_what_is_said(tmp_path, kind, column, words):
    evaluated(tmp_path, **kind)
    run = read_run(tmp_path)
    headings, lines, how = figures.class_table(run)
    place = headings.index(figures._CLASSES[column])
    values = [float(line[place]) for line in lines if line[place]]
    assert len(set(values)) > (column != "corloc_err")
    assert values == sorted(values, reverse=column != "mean_mask_iou")
    assert how == f", the worst {words} first"
    pytest.importorskip("jinja2")
    assert f"classes, the worst {words} first" in text_of(mode.report(str(tmp_path)))


def test_curves_are_those_of_the_counts(run):
    reported = read_run(run)
    accuracy, pixels = figures.charts([reported])
    assert [line.name for line in accuracy.lines] == ["IoU ≥ 0.3", "IoU ≥ 0.5", "IoU ≥ 0.7"]
    x, y = accuracy.lines[1].points.split()[20].split(",")
    right = 100 - reported.results["test"]["fixed"]["corloc_err"]
    height = charts.HEIGHT - charts.TOP - charts.BOTTOM
    assert float(y) == pytest.approx(charts.HEIGHT - charts.BOTTOM - right / 100 * height, abs=0.1)
    width = charts.WIDTH - charts.LEFT - charts.RIGHT
    assert float(x) == pytest.approx(charts.LEFT + 0.2 * width, abs=0.1)
    assert accuracy.over_threshold and not pixels.over_threshold


def test_two_runs_side_by_side(run, tmp_path):
    pytest.importorskip("jinja2")
    other = tmp_path / "other"
    other.mkdir()
    evaluated(other, answers=1)
    path = mode.report(str(run), compare=str(other))
    assert path.name == "compare_other.html"
    shown = pictures([read_run(run), read_run(other)])
    assert [one["name"] for one in shown["runs"]] == ["run", "other"]
    one, two = shown["runs"]
    assert one["truths"] == two["truths"] and one["maps"] != two["maps"]
    rows = figures.rows([read_run(run), read_run(other)], "test")
    assert {len(row.at[kind]) for row in rows for kind in row.at} == {2}


@pytest.mark.parametrize("boxes", [(True, False), (False, True), (False, False)])
def test_the_iou_can_be_chosen_where_either_run_has_true_boxes(tmp_path, boxes):
    """The page's script asks for it then."""
    pytest.importorskip("jinja2")
    for name, known in zip(("one", "two"), boxes, strict=True):
        (tmp_path / name).mkdir()
        evaluated(tmp_path / name, boxes=known)
    page = mode.report(str(tmp_path / "one"), compare=str(tmp_path / "two"))
    assert ('id="iou"' in text_of(page)) == any(boxes)


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "run").mkdir(parents=True)
        evaluated(tmp_path / parent / "run", number=2)
    path = page.write_report(tmp_path / "a" / "run", tmp_path / "b" / "run")
    assert path.name == "compare_b_run.html" and "<b>a/run</b>" in text_of(path)
    with pytest.raises(ConfigError, match="--compare=.*: is the same run"):
        page.write_report(tmp_path / "a" / "run", tmp_path / "a" / "run")


def test_runs_of_other_images_are_refused(run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    evaluated(other)
    file = other / "report.npz"
    arrays = dict(np.load(file))
    for what in ("image_ids", "class_names"):  # the same names, of something else, are no better
        np.savez(file, **arrays | {what: np.array([f"x{name}" for name in arrays[what]])})
        with pytest.raises(ConfigError, match="run and other have no image in common"):
            mode.report(str(run), compare=str(other))


def test_what_is_missing_is_said(run, tmp_path, monkeypatch, caplog):
    with pytest.raises(ConfigError, match="no results.json.*--mode=eval"):
        mode.report(str(tmp_path / "nowhere"))
    (tmp_path / "centre").mkdir()
    (tmp_path / "centre" / "results.json").write_text('{"config": {}, "box_in_the_middle": {}}')
    with pytest.raises(ConfigError, match="has no figures of a split that was scored; --mode=eval"):
        mode.report(str(tmp_path / "centre"))
    monkeypatch.setattr(page, "available", lambda: False)
    with pytest.raises(ConfigError, match="needs Jinja2: pip install jinja2"):
        mode.report(str(run))
    caplog.set_level("INFO", "ega_jax")
    mode.leave(run)
    (said,) = caplog.messages
    assert "needs Jinja2" in said and f"--mode=report --workdir={run}" in said
    assert not (run / "report.html").exists()


def test_without_images_there_are_still_figures(run):
    pytest.importorskip("jinja2")
    (run / "report.npz").unlink()
    text = text_of(mode.report(str(run)))
    assert "No images were kept" in text and 'id="data"' not in text and "PxAP" in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (-3, 4, [-2, 0, 2, 4]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert charts.ticks(low, high) == expected


def test_charts_leave_out_what_is_no_number():
    made = charts.chart("c", [charts.Series("s", [0, 1, 2], [1, np.nan, 1])], "x", "y")
    assert len(made.lines[0].points.split()) == 2
    assert charts.chart("c", [charts.Series("s", [], [])], "x", "y") is None
    long = charts.chart("c", [charts.Series("s", range(10**4), range(10**4))], "x", "y")
    assert len(long.lines[0].points.split()) == 400
