"""Scores on disk give the figures that they gave before; damaged files are named."""

import contextlib

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.evaluation import bootstrap, score_files
from tests.helpers import scored_splits

THRESHOLDS = localization.thresholds(0.05)


@pytest.mark.parametrize(("boxes", "masks"), [(True, True), (True, False), (False, False)])
def test_all_figures_survive(tmp_path, boxes, masks):
    made = scored_splits.make(images=8, boxes=boxes, masks=masks)
    scores = scored_splits.score(made, range(8), THRESHOLDS)
    score_files.save(tmp_path / "new" / "scores_test.npz", scores)
    again = score_files.load(tmp_path / "new" / "scores_test.npz")
    assert again.figures(0.2, again) == scores.figures(0.2, scores)
    intervals = [bootstrap.intervals(each, 0.2, resamples=10) for each in (scores, again)]
    assert intervals[0] == intervals[1]


def test_files_that_are_not_scores(tmp_path):
    path = tmp_path / "scores_test.npz"
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    contents = [None, b"", b"no archive", (tmp_path / "other.npz").read_bytes()]
    score_files.save(path, scored_splits.score(scored_splits.make(images=3), [0], THRESHOLDS))
    whole = path.read_bytes()
    contents.append(whole[:-50])
    contents += [whole[:at] + b"\xff" + whole[at + 1 :] for at in range(60, 200)]
    for content in contents:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        if content is not None and len(content) == len(whole):  # a byte may not matter
            with contextlib.suppress(score_files.ScoreFileError):
                score_files.load(path)
            continue
        with pytest.raises(score_files.ScoreFileError, match="cannot read .*scores_test.npz: "):
            score_files.load(path)
