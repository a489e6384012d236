"""One operation, two formulations: one for CPUs, the plain one for every other platform."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir, partial_eval


def by_platform(
    name: str, plain: Callable[..., jax.Array], cpu: Callable[..., jax.Array]
) -> Callable[..., jax.Array]:
    """Makes an operation that is lowered as `cpu` for CPUs and as `plain` for everything else.

    `jax.lax.platform_dependent` makes the same choice, but as a conditional: rematerialization
    would not see by name what is inside, and would keep results of both branches. This is one
    operation of a name of its own. It has no derivative: it is for the inside of `jax.custom_vjp`.

    Args:
      name: of the operation, as policies of `jax.checkpoint` see it.
      plain: pure function of arrays and keyword settings (hashable) to one array.
      cpu: the same function, formulated for CPUs.

    Returns:
      A function of the same arguments.
    """
    primitive = Primitive(name)

    @functools.partial(jax.jit, static_argnames="settings")
    def run(*arrays: jax.Array, settings: tuple[tuple[str, Any], ...]) -> jax.Array:
        return primitive.bind(*arrays, **dict(settings))

    @primitive.def_impl
    def _(*arrays: jax.Array, **settings: Any) -> jax.Array:
        return run(*arrays, settings=tuple(settings.items()))

    @primitive.def_abstract_eval
    def _(*arrays: Any, **settings: Any) -> Any:
        shape = jax.eval_shape(functools.partial(plain, **settings), *arrays)
        return jax.core.ShapedArray(shape.shape, shape.dtype)

    def batched(arrays: Any, axes: Any, **settings: Any) -> tuple[jax.Array, int]:
        """Under `jax.vmap`, as a whole: the plain formulation on every platform."""
        return jax.vmap(functools.partial(plain, **settings), in_axes=tuple(axes))(*arrays), 0

    batching.primitive_batchers[primitive] = batched
    for platform, function in ((None, plain), ("cpu", cpu)):
        rule = mlir.lower_fun(_without_dead_code(function), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)
    return primitive.bind


def _without_dead_code(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Drops what does not reach the result, the forward pass under a gradient for one."""

    def live(*arrays: jax.Array, **settings: Any) -> jax.Array:
        closed = jax.make_jaxpr(functools.partial(function, **settings))(*arrays)
        jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True], instantiate=True)
        (result,) = jax.core.eval_jaxpr(jaxpr, closed.consts, *arrays)
        return result

    return live
