"""Imported before TensorFlow, lets it start in silence: it reads images here, nothing more.

Whatever the level of its log, it announces its oneDNN operations, which are those of layers. What
the environment says comes first.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
