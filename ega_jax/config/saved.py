"""A run's own config in the shape of a recipe, for `--config`: `saved.py:WORKDIR_OR_CHECKPOINT`."""

import ml_collections

from ega_jax.config.store import read_run


def get_config(place: str) -> ml_collections.ConfigDict:
    """Returns the config of the run at a place, as `store.find_run` gives it."""
    return read_run(place)
