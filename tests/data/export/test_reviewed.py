"""What a person said of boxes: read, refused, kept, applied."""

import json

import numpy as np
import pytest

from ega_jax.data.convert.regions import run_lengths
from ega_jax.data.export.annotated import Annotated, Found
from ega_jax.data.export.parts import Parts
from ega_jax.data.export.regions import run_lengths_of
from ega_jax.data.export.reviewed import Decision, Review
from ega_jax.data.source import DataError

SIZE = 20, 10  # width, height


def found(box, confidence):
    mask = np.zeros(SIZE[::-1], bool)
    x0, y0, x1, y1 = box
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return Found(box, confidence, run_lengths_of(mask))


@pytest.fixture
def pictures():
    one = Annotated(
        "a.png", "", "x", SIZE, 0.9, 0.2, (found((1, 1, 6, 6), 0.9), found((9, 2, 12, 4), 0.3))
    )
    other = Annotated("b.png", "", "y", SIZE, 0.8, 0.2, (found((0, 0, 4, 4), 0.5),))
    empty = Annotated("c.png", "", "y", SIZE, 0.8, 0.2, ())
    return [one, other, empty]


def save(path, *decisions, of="this"):
    path.write_text(json.dumps({"review_of": of, "decisions": list(decisions)}))
    return path


def said(image="a.png", number=0, verdict="reject", **more):
    return {"image": image, "object": number, "verdict": verdict, **more}


def test_rejected_and_moved_boxes(tmp_path, pictures):
    path = save(
        tmp_path / "r.json",
        said(),
        said(number=1, verdict="move", box=[10, 0, 19, 9]),
        said("b.png"),
    )
    review = Review.read(path, "this", pictures)
    assert review.counts() == {"accept": 0, "reject": 2, "move": 1}
    one, empty = review.applied(pictures)
    assert (one.image_id, empty.image_id) == ("a.png", "c.png")
    assert list(review.left_out(pictures)) == ["b.png"]
    (moved,) = one.objects
    assert moved.box == (10, 0, 19, 9) and moved.confidence == 0.3
    region = np.zeros(SIZE[::-1], bool)
    region[2:5, 10:13] = True  # what of it is in the box
    np.testing.assert_array_equal(run_lengths(moved.counts, SIZE), region)


def test_a_box_moved_off_its_region_is_the_region(pictures):
    review = Review({("b.png", 0): Decision("move", (10, 5, 11, 6))})
    moved = list(review.applied(pictures))[1].objects[0]
    assert run_lengths(moved.counts, SIZE).sum() == 4


def test_what_was_accepted_stays_whatever_its_confidence(pictures):
    review = Review({("a.png", 1): Decision("accept")})
    kept = list(review.applied(pictures, least=0.95))
    # Without their uncertain boxes pictures would teach that there is nothing.
    assert {one.image_id: len(one.objects) for one in kept} == {"a.png": 1, "c.png": 0}
    assert list(review.left_out(pictures, 0.95)) == ["b.png"]
    assert [number for number, _ in review.open(pictures[0])] == [0]


def test_the_later_one_counts_and_is_kept(tmp_path, pictures):
    first = Review({("a.png", 0): Decision("reject"), ("a.png", 1): Decision("accept")})
    later = Review({("a.png", 0): Decision("move", (0, 0, 3, 3))})
    first.merge(later).save(tmp_path / "review.json", "this")
    again = Review.read(tmp_path / "review.json", "this", pictures)
    assert again.decisions == first.decisions | later.decisions


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (said("z.png"), "there is no object 0 in z.png"),
        (said(number=2), "there is no object 2 in a.png"),
        (said(number=-1), "there is no object -1 in a.png"),
        (said(number=True), "is no review"),
        (said(verdict="perhaps"), "is no review .*'perhaps'"),
        (said(verdict="move"), "is no review"),
        (said(verdict="move", box=[1, 2, 3]), "is no review"),
        (said(verdict="move", box=[0.5, 1, 2, 3]), "is no review"),
        (
            said(verdict="move", box=[0, 0, 20, 9]),
            r"\[0, 0, 20, 9\] of a.png is not in its 20 x 10",
        ),
        (said(verdict="move", box=[5, 5, 4, 6]), "is not in its"),
        ({"image": "a.png"}, "is no review"),
        (7, "is no review"),
    ],
)
def test_wrong_decisions_are_refused(tmp_path, pictures, decision, message):
    with pytest.raises(DataError, match=message):
        Review.read(save(tmp_path / "r.json", decision), "this", pictures)


def test_other_files_are_refused(tmp_path, pictures):
    with pytest.raises(DataError, match="no file .*give what the review page saved"):
        Review.read(tmp_path / "r.json", "this", pictures)
    with pytest.raises(DataError, match="is the review of other annotations"):
        Review.read(save(tmp_path / "r.json", of="that"), "this", pictures)
    for content in (b"", b"\xff\xfe", b"[]", b"{}", b'{"review_of": "this", "decisions": 3}'):
        (tmp_path / "r.json").write_bytes(content)
        with pytest.raises(DataError, match="r.json is no review"):
            Review.read(tmp_path / "r.json", "this", pictures)


def test_parts_are_pictures_again(tmp_path, pictures):
    parts = Parts(tmp_path, 3, 2)
    assert [number for number, _ in parts.missing()] == [0, 1]
    parts.save(0, pictures[:2], [])
    parts.save(1, pictures[2:], [{"image_id": "d.png", "reason": "cut"}])
    there = Parts.there(tmp_path)
    assert list(there.pictures()) == pictures and not there.missing()
    assert there.skipped() == [{"image_id": "d.png", "reason": "cut"}]
    parts.path(1).write_text("{")
    with pytest.raises(DataError, match="000001.json is damaged"):
        list(there.pictures())
