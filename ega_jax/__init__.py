"""EGA: weakly supervised object localization with adversarial examples and CAM entropy, in JAX."""
