"""EGA: weakly supervised object localization with adversarial examples and CAM entropy, in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ega_jax.evaluation.localizer import Localization, Localizer

__all__ = ["Localization", "Localizer"]


def __getattr__(name: str) -> Any:
    """Imports what `__all__` names when it is first asked for: `import ega_jax` alone is quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ega_jax.evaluation import localizer

    return getattr(localizer, name)
