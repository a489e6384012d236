import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.evaluation import pool
from ega_jax.evaluation.scores import Scores
from tests.helpers import scored_splits

THRESHOLDS = localization.thresholds(0.01)


def _score(made, workers):
    source, maps, probabilities = made
    scores = Scores.empty(source, THRESHOLDS)
    images = ((i, lambda i=i: scores.request(source, i, maps[i])) for i in range(len(source)))
    order = []
    for index, outcome in pool.score_images(images, THRESHOLDS, workers):
        order.append(index)
        scores.add_outcome(source, index, outcome, probabilities[index])
    return scores, order


def _image(seed=0):
    return localization.ImageMap(np.random.default_rng(seed).random((4, 4)), 24)


@pytest.mark.parametrize("boxes, masks", [(True, True), (True, False), (False, True)])
def test_any_number_of_workers_gives_the_same_bits_in_order(boxes, masks):
    made = scored_splits.make(boxes=boxes, masks=masks)
    expected = scored_splits.score(made, range(len(made[0])), THRESHOLDS).to_arrays()
    for workers in (1, 2, 3):
        scores, order = _score(made, workers)
        assert order == list(range(len(made[0])))
        arrays = scores.to_arrays()
        assert arrays.keys() == expected.keys()
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("workers", (1, 2))
def test_error_of_the_first_bad_image_comes_as_it_is(workers):
    def bad(name):
        raise FileNotFoundError(f"{name}.npy")

    images = [(i, _image) for i in range(5)]
    images += [(5, lambda: bad("first")), (6, lambda: bad("second"))]
    done = []
    with pytest.raises(FileNotFoundError, match=r"first\.npy"):
        for key, _ in pool.score_images(images, THRESHOLDS, workers):
            done.append(key)
    assert done == list(range(5))


@pytest.mark.parametrize("workers", (1, 2))
def test_error_in_a_worker_comes_as_it_is(workers):
    inverted = _image()._replace(boxes=np.array([[5, 5, 1, 1]]))
    images = [(0, _image), (1, lambda: inverted), (2, _image)]
    with pytest.raises(ValueError, match=r"Box \[5, 5, 1, 1\] is inverted"):
        list(pool.score_images(images, THRESHOLDS, workers))


@pytest.mark.parametrize("count", (1, 2))
def test_killed_workers_are_an_error_and_no_wait(monkeypatch, count):
    started = []
    start = pool._start
    monkeypatch.setattr(pool, "_start", lambda: started.append(start()) or started[-1])
    scored = pool.score_images(((i, _image) for i in range(1000)), THRESHOLDS, 2)
    next(scored)
    for worker in started[:count]:
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(pool.WorkerError, match="was killed by signal 9"):
        list(scored)
    assert all(worker.returncode is not None for worker in started)


def test_few_images_are_on_their_way():
    asked = []

    def images():
        for i in range(200):
            asked.append(i)
            yield i, _image

    for key, _ in pool.score_images(images(), THRESHOLDS, 2):
        assert len(asked) - key <= 16
    assert len(asked) == 200


def test_leaving_early_ends_workers_and_threads():
    before = threading.active_count()
    scored = pool.score_images(((i, _image) for i in range(1000)), THRESHOLDS, 2)
    next(scored)
    scored.close()
    assert threading.active_count() == before


def test_number_of_workers(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert [pool.worker_count(n) for n in (0, 1, 199, 200, 550, 50_000)] == [1, 1, 1, 2, 5, 8]


def test_workers_import_neither_jax_nor_tensorflow():
    code = (
        "import sys, ega_jax.evaluation.worker; "
        "print(sorted({'jax', 'tensorflow', 'flax'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
