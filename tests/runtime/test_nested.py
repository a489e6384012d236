from ega_jax.runtime.nested import flatten


def test_flatten_joins_names():
    values = {"a": 1, "b": {"c": (2, 3), "d": {"e": None}}, "f": {}}
    assert flatten(values) == {"a": 1, "b/c": (2, 3), "b/d/e": None}
    assert flatten(values, ".") == {"a": 1, "b.c": (2, 3), "b.d.e": None}
    assert flatten({}) == {}
