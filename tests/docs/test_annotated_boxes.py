"""The figures of annotated boxes, by hand."""

import numpy as np
import pytest

from benchmarks import annotated_boxes
from ega_jax.data.source import DataError

HEADER = "image,split,class,score,confidence,x0,y0,x1,y1,width,height,threshold\n"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "meta" / "test"
    folder.mkdir(parents=True)
    (folder / "image_ids.txt").write_text("a.png\nb.png\nc.png\n")
    (folder / "class_labels.txt").write_text("a.png,0\nb.png,1\nc.png,1\n")
    (folder / "localization.txt").write_text(
        "a.png,0,0,9,9\nb.png,0,0,9,9\nb.png,50,50,99,99\nc.png,15,15,84,84\n"
    )
    (tmp_path / "boxes.csv").write_text(
        HEADER
        + "a.png,,x,0.9,0.4,0,0,9,4,100,100,0.2\n"  # half of it; the surer one of two is next
        + "a.png,,x,0.9,0.9,0,0,9,9,100,100,0.2\n"
        + "b.png,,y,0.8,0.8,50,50,99,74,100,100,0.2\n"
        + "c.png,,y,0.1,,,,,,100,100,0.2\n"
        + "other.png,,y,0.1,0.1,0,0,9,9,100,100,0.2\n"
    )
    return str(tmp_path / "boxes.csv"), str(tmp_path / "meta")


def test_the_surest_box_against_the_one_that_fits_best(files, capsys):
    confidence, ious, middle = annotated_boxes.compare(*files, "test")
    assert confidence.tolist() == [0.9, 0.8, 0]
    assert ious == pytest.approx([1, 0.5, 0])
    assert middle[2] > 0.9 > middle[0]
    annotated_boxes.report(confidence, ious, middle)
    printed = capsys.readouterr().out
    assert "all            66.7 %" in printed and "surest half    100.0 %" in printed
    assert "rank correlation           1.00" in printed


def test_ranks_of_equal_values_are_shared():
    assert annotated_boxes.rank_correlation([1, 2, 3], [30, 20, 10]) == pytest.approx(-1)
    one = annotated_boxes.rank_correlation([1, 1, 2, 2], [1, 2, 1, 2])
    assert one == pytest.approx(0)
    np.testing.assert_allclose(annotated_boxes._ranks(np.array([5, 1, 5])), [2.5, 1, 2.5])


def test_what_does_not_fit(files):
    with pytest.raises(DataError, match="no boxes of val"):
        annotated_boxes.compare(*files, "val")
