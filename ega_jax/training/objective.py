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


@dataclasses.dataclass(frozen=True)
class Objective:
    """Settings of the objective.

    Attributes:
      attack: the attack, or None for no adversarial pass.
      lambda_clean: weight of the clean map's entropy (paper: 1).
      lambda_adv: weight of the adversarial map's entropy (paper: 0.01).
      probability: how a map becomes a probability, see `losses.cam_entropy`.
      reduction: `sum` or `mean` over the map.
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
      ce_weight: of both passes' losses of the method. Paper: 1. / The released code: 0.5, a mean.
      remat: what the passes keep for going back, a key of `remat.POLICIES`.
    """

    attack: attacks.Attack | None = None
    lambda_clean: float = 0.0
    lambda_adv: float = 0.0
    probability: str = "minmax"
    reduction: str = "mean"
    attack_bn_mode: str = "eval"
    targeted: bool = False
    fast: bool = False
    method: Method = CAM()
    attack_scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    ce_weight: float = 1.0
    remat: str = "none"

    def loss_and_grads(
        self,
        model: nn.Module,
        params: dict,
        model_state: dict,
        batch: dict[str, jax.Array],
        key: jax.Array,
    ) -> tuple[dict, dict[str, jax.Array], dict]:
        """Computes the gradient of Eq. 8 over the global batch.

        Args:
          model: network; `apply(..., train=, aux=, labels=)` returns logits and
            `{"cams": class maps}`.
          params: its parameters.
          model_state: `batch_stats` and, with an attack, `batch_stats_aux`.
          batch: `image` `[B, H, W, 3]` float in [0, 1], `label` `[B]` int32, `mask` `[B]` bool.
          key: for all that is drawn: dropout, random starts and targets, and in the method.

        Returns:
          Gradients; masked sums over the batch of every loss term and of correct predictions, with
          their `count`; the new model state.
        """
        uses = ("clean", "adv", "start", "target", "augment")
        keys = dict(zip(uses, jax.random.split(key, len(uses)), strict=True))
        batch = self.method.augment(batch, keys["augment"])
        weight = batch["mask"].astype(jnp.float32) / jnp.maximum(batch["mask"].sum(), 1)

        def objective(params, images, *, aux):
            """One pass's share of Eq. 8, averaged over the batch."""
            name, factor = ("adv", self.lambda_adv) if aux else ("clean", self.lambda_clean)
            collection = AUX if aux else MAIN
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
            if self.ce_weight != 1:
                total = self.ce_weight * total
            terms = {f"{term}_{name}": value for term, value in found.items()}
            terms[f"correct_{name}"] = logits.argmax(-1) == batch["label"]
            if factor:
                entropy = losses.cam_entropy(
                    out["cams"],
                    batch["label"],
                    probability=self.probability,
                    reduction=self.reduction,
                )
                terms[f"entropy_{name}"] = entropy
                total = total + factor * entropy
            terms[f"loss_{name}"] = total
            sums = {k: jnp.sum(v * batch["mask"]) for k, v in terms.items()}
            return jnp.sum(total * weight), (sums, update)

        count = {"count": batch["mask"].sum().astype(jnp.float32)}
        images = batch["image"]
        wrt = (0, 1) if self.fast and self.attack else (0,)
        (grads, *images_grad), (sums, update) = jax.grad(
            lambda p, x: objective(p, x, aux=False), argnums=wrt, has_aux=True
        )(params, images)
        new_state = {**model_state, **update}
        if self.attack is None:
            return grads, count | sums | {"loss": sums["loss_clean"]}, new_state

        if self.fast:
            stepped = attacks.step(images, images_grad[0], images, self.attack)
            adversarial = jax.lax.stop_gradient(stepped)
        else:
            adversarial = self._attack(model, params, model_state, batch, keys)
        adv_grads, (adv_sums, update) = jax.grad(
            lambda p: objective(p, adversarial, aux=True), has_aux=True
        )(params)
        sums = count | sums | adv_sums
        sums["loss"] = sums["loss_clean"] + sums["loss_adv"]
        sums["perturbation"] = jnp.sum(
            jnp.abs(adversarial - images).max(axis=(1, 2, 3)) * 255 * batch["mask"]
        )
        return jax.tree.map(jnp.add, grads, adv_grads), sums, {**new_state, **update}

    def _attack(self, model, params, model_state, batch, keys):
        """Perturbs the batch through the auxiliary batch norm (paper, Fig. 3)."""
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
