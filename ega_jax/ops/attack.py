"""Projected gradient descent in the L-infinity ball (Madry et al., ICLR 2018). Knows no model.

Units: images in [0, 1]; `epsilon` and `step_size` in grey levels of 0-255, so `epsilon=1` moves a
value by at most 1/255. That is the paper's and AdvProp's unit.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Attack:
    """An L-infinity attack.

    Attributes:
      epsilon: radius of the ball, in grey levels.
      step_size: of one step, in grey levels (AdvProp: 1).
      num_steps: 0 leaves the start as it is.
      random_start: begin at a uniform point of the ball instead of the image itself.
      descend: minimise the loss, for targeted attacks, instead of maximising it.
    """

    epsilon: float
    step_size: float
    num_steps: int
    random_start: bool = False
    descend: bool = False


def paper_num_steps(epsilon: float) -> int:
    """Returns the paper's number of steps: epsilon + 1, but 1 for epsilon = 1 (section 4.3)."""
    return 1 if epsilon <= 1 else math.ceil(epsilon) + 1


def pgd(
    loss: Callable[[jax.Array], jax.Array], images: jax.Array, attack: Attack, key: jax.Array
) -> jax.Array:
    """Searches the ball around `images` for a higher loss: the inner maximum of Eq. 5.

    Args:
      loss: images `[B, H, W, 3]` -> scalar. Gradients flow to the images only, if whatever else it
        depends on is closed over.
      images: `[B, H, W, 3]` float in [0, 1].
      attack: radius, steps, direction.
      key: for the random start.

    Returns:
      Adversarial images, same shape, in [0, 1] and within the ball; no gradient flows through them.
    """
    start = images
    if attack.random_start:
        radius = attack.epsilon / 255
        noise = jax.random.uniform(key, images.shape, images.dtype, -radius, radius)
        start = project(images + noise, images, attack)
    gradient = jax.grad(loss)

    def ascend(_: int, x: jax.Array) -> jax.Array:
        return step(x, gradient(x), images, attack)

    if attack.num_steps == 1:
        # Not a loop of one: XLA's CPU backend runs convolutions within loops several times slower.
        return jax.lax.stop_gradient(ascend(0, start))
    return jax.lax.stop_gradient(jax.lax.fori_loop(0, attack.num_steps, ascend, start))


def step(x: jax.Array, gradient: jax.Array, images: jax.Array, attack: Attack) -> jax.Array:
    """Takes one signed-gradient step from `x` and projects it onto the ball around `images`."""
    size = (-1 if attack.descend else 1) * attack.step_size / 255
    return project(x + size * jnp.sign(gradient), images, attack)


def project(x: jax.Array, images: jax.Array, attack: Attack) -> jax.Array:
    """Projects `x` onto the intersection of the ball around `images` and [0, 1]."""
    radius = attack.epsilon / 255
    return jnp.clip(jnp.clip(x, images - radius, images + radius), 0.0, 1.0)
