"""Networks: images in [0, 1] to logits, class maps and named intermediates."""
