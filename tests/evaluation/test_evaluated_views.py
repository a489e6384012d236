"""A split is scored in the views that pictures are predicted in."""

import numpy as np
import pytest

from ega_jax import Localizer
from ega_jax.config import build
from ega_jax.evaluation.evaluator import Evaluator, restore_variables
from ega_jax.runtime import checkpoints
from ega_jax.runtime.sharding import Placement
from tests.helpers.runs import tiny


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"predict.scales": (1.0, 0.75), "predict.flip": True},
        {"predict.tiles": 2, "predict.flip": True},
    ],
    ids=["sizes", "tiles"],
)
def test_maps_and_scores_are_those_of_prediction(tiny_run, fields):
    fields = fields | {"predict.size": 48}
    config = tiny(**fields)
    path = checkpoints.find(tiny_run[0], "last")
    placement = Placement()
    model = build.model(config, 10)
    source = build.sources(config, ("test",), Localizer.load(path).class_names)["test"]
    evaluator = Evaluator(config, model, placement)
    # Rounded to what the network takes.
    assert evaluator.sizes == ((48, 32) if "predict.scales" in fields else (48,))
    variables = restore_variables(path, model, 32, placement)
    _, examples = evaluator.score(variables, source, keep=range(len(source)), workers=1)
    assert len(examples) == len(source) == 10

    pictures = [source.load_image(i).numpy() for i in range(len(source))]
    localizer = Localizer.load(path, config=config)
    given = localizer.localize(pictures, [int(label) for label in source.labels])
    ranked = list(localizer.each(pictures, top_k=1))
    for i, example in examples.items():
        assert example.image.shape == (48, 48, 3)
        np.testing.assert_allclose(example.score_map, given[i].score_map, atol=1e-4)
        assert example.prediction == ranked[i][0].label
        assert example.probability == pytest.approx(ranked[i][0].score, rel=1e-4)
