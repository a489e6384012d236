"""Random and mutated inputs for tests that hold of any: a few hundred, or as many as are asked for.

EGA_JAX_EXAMPLES=10000 python -m pytest tests -k any_input
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("EGA_JAX_EXAMPLES", "200"))

many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,  # the same inputs in every run
    database=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def mutated(draw, originals):
    """Draws bytes: one of the originals, cut off, with bytes replaced, put in or taken out."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("cut", "replace", "replace", "insert", "remove", "flip"))):
            case "cut":
                del data[place:]
            case "replace":
                few = draw(st.binary(min_size=1, max_size=8))
                data[place : place + len(few)] = few
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "remove":
                del data[place : place + draw(st.integers(1, 40))]
            case "flip" if place < len(data):
                data[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def any_bytes(originals):
    """Draws mutations of the originals, now and then bytes that have nothing to do with them."""
    return st.one_of(*[mutated(originals)] * 8, st.binary(max_size=200))
