"""Nested mappings, as figures and configs are."""

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], separator: str = "/", prefix: str = "") -> dict[str, Any]:
    """Joins the names of nested values: `{"oracle": {"x": 1.0}}` to `{"oracle/x": 1.0}`.

    Args:
      values: mappings in mappings; what is no mapping is a value, and an empty one leaves nothing.
      separator: between names.
      prefix: in front of all names.
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result |= flatten(value, separator, f"{prefix}{name}{separator}")
        else:
            result[prefix + name] = value
    return result
