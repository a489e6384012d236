"""Score maps made by hand."""

import numpy as np


def two_objects():
    """Returns `[32, 32]`: an object with a hole, a smaller one, and a speck."""
    score_map = np.zeros((32, 32))
    score_map[2:14, 2:14] = 1
    score_map[6:9, 6:9] = 0  # a hole
    score_map[20:24, 20:26] = 0.8
    score_map[30, 30] = 0.9  # a speck
    return score_map
