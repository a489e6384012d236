"""What every recipe begins with: all fields, with their meaning, are in `ega_jax/config/fields.py`.

They are part of the package so that a run can be read where there are no recipes.
"""

from ega_jax.config.fields import get_config

__all__ = ["get_config"]
