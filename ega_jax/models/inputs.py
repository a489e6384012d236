"""What a network does to its images first: the scaling its weights were trained with."""

import jax
import jax.numpy as jnp

# Mean and standard deviation per channel of RGB images in [0, 1]. Weights that want BGR have their
# first kernel turned round when they are read (`pretrained.py`), so that all images are RGB.
SCALINGS = {
    # Statistics of ImageNet; torchvision, and the field's Inception v3.
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # To [-1, 1]: TensorFlow's Inception weights, which torchvision reaches by `transform_input`.
    "signed": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # Grey levels minus the mean colour: Caffe, and so Keras's VGG16.
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
    # (grey level - 127) / 128: the EfficientNet-Lites.
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
}


def scale_input(images: jax.Array, scaling: str) -> jax.Array:
    """Scales RGB images `[B, H, W, 3]` in [0, 1] as a key of `SCALINGS` says."""
    mean, std = SCALINGS[scaling]
    return (images - jnp.array(mean)) / jnp.array(std)
