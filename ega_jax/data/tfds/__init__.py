"""Data sets prepared by TFDS: reading, indexing and making them."""
