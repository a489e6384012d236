"""Entropy Guided Adversarial model (EGA): the paper's objective, Eq. 1-8, over any method.

Per batch: an adversarial image is searched for each clean one through the auxiliary batch norm; the
clean images pass through the main batch norm, the adversarial ones through the auxiliary one; the
cross entropies of both passes and the weighted entropies of both class activation maps add up:

    L(x, y) + L(x + e, y) + lambda_clean * L_ent(CAM_clean) + lambda_adv * L_ent(CAM_adv)    (Eq. 8)

L is the loss of a method, in the paper that of CAM; methods of one class map an image can take its
place. Everything is a switch: without `attack` and with both weights 0 this is the method alone,
and whatever is off is not computed. The two passes share no activations, so the gradient of the sum
is taken as the sum of the two passes' gradients; that frees the clean pass's activations before the
adversarial pass begins, and lets `fast` reuse the clean pass's backward pass.
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.methods.base import Method
from ega_jax.methods.cam import CAM
from ega_jax.models.norm import AUX, MAIN
from ega_jax.ops import attack as attacks
from ega_jax.ops import losses
from ega_jax.ops.remat import remat

ATTACK_BN_MODES = ("eval", "train")

Terms = dict[str, jax.Array]
# Step of the training to the share of their weights, 0 to 1, that the entropy terms have there.
Share = Callable[[jax.Array], jax.Array]


def rising(start: int, rise: int) -> Share:
    """Lets the entropy terms set in late.

    Paper: the weights are constant. / Here: also 0 at first and then rising, as a head that begins
    at random draws random maps, which an entropy at full weight would push to 0 and 1 as they are.

    Args:
      start: the first step, counted from 0, that has any of the weights.
      rise: number of steps over which they rise linearly; the last of these has all. 0 is as 1.
    """
    return lambda step: jnp.clip((step + 1 - start) / max(rise, 1), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Entropy:
    """The entropy terms of Eq. 8.

    Attributes:
      lambda_clean: weight of the clean map's entropy (paper: 1).
      lambda_adv: weight of the adversarial map's entropy (paper: 0.01).
      probability: how a map becomes a probability, see `losses.cam_entropy`.
      reduction: `sum` or `mean` over the map.
    """

    lambda_clean: float
    lambda_adv: float
    probability: str
    reduction: str


@dataclasses.dataclass(frozen=True)
class Objective:
    """Settings of the objective; as it stands, the loss of plain CAM.

    Attributes:
      attack: the attack, or None for no adversarial pass.
      entropy: its terms, or None for none.
      attack_bn_mode: Paper: the attack goes through the auxiliary batch norm, nothing more. Here:
        `eval` takes its running statistics, as AdvProp implementations do; `train` takes the
        batch's statistics and discards the update.
      targeted: attack towards a random other class, as AdvProp, instead of away from the true one.
      fast: take the attack's gradient from the clean pass (main branch, one step from the image; it
        ascends the whole clean objective, entropy included), which saves a forward and a backward
        pass.
      method: whose loss it is that Eq. 8 adds to.
      attack_scaling: mean and standard deviation per channel; the attack then takes place on images
        scaled by them, its units 1/255 there, as in the released code. None: on pixels.
      ce_weight: of the method's losses in both passes; that of a clean pass alone counts whole.
        Paper: 1. / The released code: 0.5, a mean.
      remat: what the passes keep for going back, a key of `remat.POLICIES`.
      background: labels of classes without an object: their maps have no entropy to be lowered, so
        both entropy terms of their images are 0.

    Raises:
      ValueError: `fast` with an attack that it cannot make.
    """

    attack: attacks.Attack | None = None
    entropy: Entropy | None = None
    attack_bn_mode: str = "eval"
    targeted: bool = False
    fast: bool = False
    method: Method = CAM()
    attack_scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    ce_weight: float = 0.5
    remat: str = "none"
    background: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuses `fast` with what the clean pass's gradient does not give."""
        if not self.fast:
            return
        if self.attack is None or self.attack.num_steps != 1:
            raise ValueError("fast needs an adversarial pass whose attack has a single step")
        if self.targeted or self.attack.descend or self.attack.random_start:
            raise ValueError(
                "fast takes the clean pass's gradient: the attack can be neither targeted nor "
                "started at random"
            )
        if self.attack_scaling is not None:
            raise ValueError("fast needs an attack on pixels, not on scaled images")

    def loss_and_grads(
        self,
        model: nn.Module,
        params: dict,
        model_state: dict,
        batch: dict[str, jax.Array],
        key: jax.Array,
        entropy_share: jax.Array | None = None,
    ) -> tuple[dict, Terms, dict]:
        """Computes the gradient of Eq. 8 over the global batch.

        Args:
          model: network; `apply(..., train=, aux=, labels=)` returns logits and
            `{"cams": class maps}`.
          params: its parameters.
          model_state: `batch_stats` and, with an attack, `batch_stats_aux`.
          batch: `image` `[B, H, W, 3]` float in [0, 1], `label` `[B]` int32, `mask` `[B]` bool.
          key: for all that is drawn: dropout, random starts and targets, and in the method.
          entropy_share: scalar, what both weights of the entropy terms are multiplied by; None: 1.

        Returns:
          Gradients; masked sums over the batch of every loss term and of correct predictions, with
          their `count`; the new model state.
        """
        uses = ("clean", "adv", "start", "target", "augment")
        keys = dict(zip(uses, jax.random.split(key, len(uses)), strict=True))
        batch = self.method.augment(batch, keys["augment"])
        images = batch["image"]
        count = {"count": batch["mask"].sum().astype(jnp.float32)}
        share = functools.partial(self._share, model, model_state, batch, keys, entropy_share)

        wrt = (0, 1) if self.fast else (0,)
        (grads, *images_grad), (sums, update) = jax.grad(
            lambda p, x: share(p, x, aux=False), argnums=wrt, has_aux=True
        )(params, images)
        new_state = {**model_state, **update}
        if self.attack is None:
            return grads, count | sums | {"loss": sums["loss_clean"]}, new_state

        if self.fast:
            stepped = attacks.step(images, images_grad[0], images, self.attack)
            adversarial = jax.lax.stop_gradient(stepped)
        else:
            adversarial = self.perturb(model, params, model_state, batch, keys)
        adv_grads, (adv_sums, update) = jax.grad(
            lambda p: share(p, adversarial, aux=True), has_aux=True
        )(params)
        sums = count | sums | adv_sums
        sums["loss"] = sums["loss_clean"] + sums["loss_adv"]
        sums["perturbation"] = jnp.sum(
            jnp.abs(adversarial - images).max(axis=(1, 2, 3)) * 255 * batch["mask"]
        )
        return jax.tree.map(jnp.add, grads, adv_grads), sums, {**new_state, **update}

    def _share(
        self,
        model: nn.Module,
        model_state: dict,
        batch: dict[str, jax.Array],
        keys: dict[str, jax.Array],
        entropy_share: jax.Array | None,
        params: dict,
        images: jax.Array,
        *,
        aux: bool,
    ) -> tuple[jax.Array, tuple[Terms, dict]]:
        """Computes one pass's share of Eq. 8, averaged over the batch.

        Returns:
          The scalar to differentiate; masked sums of its terms, and the new statistics.
        """
        name, collection = ("adv", AUX) if aux else ("clean", MAIN)
        forward = functools.partial(
            model.apply,
            train=True,
            aux=aux,
            labels=batch["label"],
            mutable=[collection],
            rngs={"dropout": keys[name]},
        )
        variables = {"params": params, **model_state}
        (logits, out), update = remat(forward, self.remat)(variables, images)
        found = self.method.loss(logits, out, batch, jax.random.fold_in(keys[name], 0))
        total = functools.reduce(jnp.add, found.values())
        if self.attack is not None and self.ce_weight != 1:
            total = self.ce_weight * total
        terms = {f"{term}_{name}": value for term, value in found.items()}
        terms[f"correct_{name}"] = logits.argmax(-1) == batch["label"]
        factor = self._entropy_weight(aux)
        if self.entropy is not None and factor:
            entropy = losses.cam_entropy(
                out["cams"],
                batch["label"],
                probability=self.entropy.probability,
                reduction=self.entropy.reduction,
            )
            if self.background:
                nothing_there = jnp.isin(batch["label"], jnp.array(self.background))
                entropy = jnp.where(nothing_there, 0.0, entropy)
            terms[f"entropy_{name}"] = entropy
            weight = factor if entropy_share is None else factor * entropy_share
            total = total + weight * entropy
        terms[f"loss_{name}"] = total
        sums = {k: jnp.sum(v * batch["mask"]) for k, v in terms.items()}
        by_image = batch["mask"].astype(jnp.float32) / jnp.maximum(batch["mask"].sum(), 1)
        return jnp.sum(total * by_image), (sums, update)

    def _entropy_weight(self, aux: bool) -> float:
        if self.entropy is None:
            return 0.0
        return self.entropy.lambda_adv if aux else self.entropy.lambda_clean

    def perturb(
        self,
        model: nn.Module,
        params: dict,
        model_state: dict,
        batch: dict[str, jax.Array],
        keys: dict[str, jax.Array],
    ) -> jax.Array:
        """Perturbs the batch through the auxiliary batch norm (paper, Fig. 3).

        Args:
          model: as in `loss_and_grads`.
          params: as there.
          model_state: as there.
          batch: as there.
          keys: `adv` for dropout, `start` and `target` for what is drawn in the attack.

        Returns:
          `[B, H, W, 3]` float in [0, 1].

        Raises:
          ValueError: the objective has no attack.
        """
        if self.attack is None:
            raise ValueError("this objective has no attack")
        labels = batch["label"]
        train = self.attack_bn_mode == "train"

        def loss(images):
            variables = {"params": jax.lax.stop_gradient(params), **model_state}
            kwargs = {"mutable": [AUX], "rngs": {"dropout": keys["adv"]}} if train else {}
            forward = functools.partial(model.apply, train=train, aux=True, **kwargs)
            result = remat(forward, self.remat)(variables, images)
            logits = result[0][0] if train else result[0]
            if self.targeted:
                classes = logits.shape[-1]
                offset = jax.random.randint(keys["target"], labels.shape, 1, classes)
                values = losses.cross_entropy(logits, (labels + offset) % classes)
            else:
                values = self.method.classify(logits, batch)
            return jnp.sum(values * batch["mask"])

        if self.attack_scaling is None:
            return attacks.pgd(loss, batch["image"], self.attack, keys["start"])
        mean, std = map(jnp.array, self.attack_scaling)
        scaled = (batch["image"] - mean) / std
        found = attacks.pgd(lambda x: loss(x * std + mean), scaled, self.attack, keys["start"])
        return found * std + mean
