"""Means, published figures and paired comparisons, by hand; and the pages that show them."""

import csv
import html.parser
import io

import numpy as np
import pytest

from ega_jax.studies import pages
from ega_jax.studies.plan import Metric, Row, StudyError
from ega_jax.studies.runs import runs_of
from ega_jax.studies.summary import summarize
from tests.helpers import scored_splits
from tests.helpers.study_runs import leave, leave_scored, two_rows


@pytest.fixture
def study():
    return two_rows()


def found(study, folder, figures):
    """Leaves runs with these figures by row and seed; returns their folders."""
    return {
        row: {
            seed: leave(folder, *runs_of(study, study.row(row), (seed,)), **test)
            for seed, test in runs.items()
        }
        for row, runs in figures.items()
    }


def test_figures_by_hand(study, tmp_path):
    runs = found(
        study,
        tmp_path,
        {
            "cam": {0: {"top1_cls_err": 30.0, "pxap": 50.0}, 1: {"top1_cls_err": 34.0}},
            "ega": {0: {"top1_cls_err": 21.0}, 1: {"top1_cls_err": 25.0}, 2: {"top1_cls_err": 26}},
        },
    )
    cam, ega = summarize(study, runs)
    assert (cam.seeds, ega.seeds) == ((0, 1), (0, 1, 2))
    cell = ega.cells["Top-1 cls err"]
    assert cell.mean == pytest.approx(24.0)
    assert cell.deviation == pytest.approx(np.std([21, 25, 26], ddof=1))
    assert cell.published == 20.0 and cell.difference == pytest.approx(4.0)
    assert cell.versus == pytest.approx(-9.0)  # of seeds 0 and 1, which both have
    assert cell.interval is None  # nothing is known of the images
    pxap = cam.cells["PxAP err"]
    assert (pxap.values, pxap.mean, pxap.deviation) == ({0: 50.0}, 50.0, None)
    assert ega.cells["PxAP err"].mean is None and ega.cells["PxAP err"].difference is None
    assert ega.costs == {"images/s": 10.0, "seconds": 2.0}


def test_paired_interval_by_hand(study, tmp_path):
    """Image by image and seed by seed, as the module says it is done."""
    runs, right = {"cam": {}, "ega": {}}, {}
    for row, seed in ((row, seed) for row in runs for seed in (0, 1)):
        runs[row][seed], scores = leave_scored(tmp_path, study, row, seed)
        right[row, seed] = scores.records.to_arrays()["top1"]
    cell = summarize(study, runs, resamples=50)[1].cells["Top-1 cls err"]
    images, seeds = np.random.default_rng(0), np.random.default_rng(1)
    drawn = [images.integers(0, 12, 12) for _ in range(50)]
    pairs = seeds.integers(0, 2, (2, 50))
    means = [
        np.mean([np.mean(right["cam", s][i]) - np.mean(right["ega", s][i]) for s in pairs[:, b]])
        for b, i in enumerate(drawn)
    ]
    assert np.ptp(means) > 0
    assert cell.interval == pytest.approx(100 * np.percentile(means, (2.5, 97.5)), abs=1e-9)
    gaps = [np.mean(right["cam", s]) - np.mean(right["ega", s]) for s in (0, 1)]
    assert cell.versus == pytest.approx(100 * np.mean(gaps))


def test_a_row_equals_itself(tmp_path):
    study = two_rows(rows=(Row("a", "A", "configs/quickstart.py"), *two_rows().rows))
    place, _ = leave_scored(tmp_path, study, "cam", 0)
    cells = summarize(study, {"cam": {0: place}, "ega": {0: place}}, resamples=20)[2].cells
    assert all((cell.versus, cell.interval) == (0.0, (0.0, 0.0)) for cell in cells.values())


def test_other_images_have_no_interval(study, tmp_path):
    ours, _ = leave_scored(tmp_path, study, "ega", 0)
    theirs, _ = leave_scored(tmp_path, study, "cam", 0, scored_splits.make(seed=3, images=12))
    cells = summarize(study, {"cam": {0: theirs}, "ega": {0: ours}}, resamples=20)[1].cells
    cell = cells["Top-1 cls err"]
    assert cell.versus is not None and cell.interval is None


def test_folders_copied_in_part_have_no_interval(study, tmp_path):
    runs = {row: {0: leave_scored(tmp_path, study, row, 0)[0]} for row in ("cam", "ega")}
    (runs["cam"][0] / "per_image_test.csv").unlink()
    cell = summarize(study, runs, resamples=20)[1].cells["Top-1 cls err"]
    assert cell.versus is not None and cell.interval is None


def test_thresholds_are_chosen_in_every_resample(tmp_path):
    """The best threshold's figure has an interval too; nothing of it is in per-image tables."""
    study = two_rows(
        metrics={"Top-1 cls err": Metric("top1_cls_err"), "V2": Metric("oracle/max_box_acc_v2")}
    )
    runs = {row: {0: leave_scored(tmp_path, study, row, 0)[0]} for row in ("cam", "ega")}
    cell = summarize(study, runs, resamples=100)[1].cells["V2"]
    low, high = cell.interval
    assert low < high and low - 5 <= cell.versus <= high + 5


def test_results_that_are_unreadable(study, tmp_path):
    runs = found(study, tmp_path, {"cam": {0: {}}})
    (runs["cam"][0] / "results.json").write_text("{")
    with pytest.raises(StudyError, match=r"cannot read .*cam/0/results.json"):
        summarize(study, runs)


class Cells(html.parser.HTMLParser):
    """Collects the cells of tables, and looks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.rows = [], []

    def handle_starttag(self, tag, attributes):
        if tag == "meta":
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_pages(tmp_path):
    study = two_rows(
        title="A < B",
        rows=(
            *two_rows().rows,
            Row("has", "HaS | paper", published={"Top-1 cls err": 12.5}),
        ),
    )
    figures = {
        "cam": {0: {"top1_cls_err": 30.0}, 1: {"top1_cls_err": 34.0}},
        "ega": {0: {"top1_cls_err": 21.0}},
    }
    lines = summarize(study, found(study, tmp_path, figures))
    pages.write(tmp_path, study, lines, {"ega/1": "error: out of <memory>"})
    text = (tmp_path / "study.md").read_text()
    assert "| CAM | 32.0 ± 2.8 | – | 10.0 | 2.0 |" in text
    assert "| EGA (1 of 2 seeds) | 21.0 (20, +1.0) | – | 10.0 | 2.0 |" in text
    assert "| HaS \\| paper | – (12.5) | – | – | – |" in text
    assert "| EGA | CAM | -9.0 | – |" in text
    assert "| ega/1 | error: out of <memory> |" in text
    page = Cells()
    page.feed((tmp_path / "study.html").read_text())
    assert not page.open
    assert ["EGA(1 of 2 seeds)", "21.0(20, +1.0)", "–", "10.0", "2.0"] in page.rows
    assert ["ega/1", "error: out of <memory>"] in page.rows
    rows = list(csv.DictReader(io.StringIO((tmp_path / "study.csv").read_text())))
    (cell,) = [r for r in rows if (r["row"], r["column"]) == ("cam", "Top-1 cls err")]
    assert (cell["seeds"], cell["values"], cell["mean"]) == ("0 1", "30.0000 34.0000", "32.0000")
    (cell,) = [r for r in rows if (r["row"], r["column"]) == ("ega", "Top-1 cls err")]
    assert (cell["published"], cell["difference"], cell["versus"]) == (
        "20.0000",
        "1.0000",
        "-9.0000",
    )
