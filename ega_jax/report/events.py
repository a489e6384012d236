"""Reads the curves of a run off its TensorBoard events, without TensorFlow."""

import os
import struct

import numpy as np
from etils import epath
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

Curve = list[tuple[int, float]]  # step and value

# A record: its length, a checksum of that, the bytes, a checksum of them.
_LENGTH, _CHECKSUM = struct.Struct("<Q"), 4
_FLOAT = 1  # DT_FLOAT


def read_curves(workdir: str | os.PathLike) -> dict[str, Curve]:
    """Reads all scalars of a run, by tag, in the order of their steps.

    A run that was stopped has several files; of a step that was made twice the later counts. A file
    that ends in the middle of a record, of a run that was killed, is read up to there.

    Args:
      workdir: of the run.
    """
    curves: dict[str, dict[int, float]] = {}
    for path in sorted(epath.Path(workdir).glob("events.out.tfevents.*")):
        for event in _events(path.read_bytes()):
            for value in event.summary.value:
                tensor = value.tensor
                if tensor.dtype == _FLOAT and not tensor.tensor_shape.dim:
                    number = tensor.float_val[0] if tensor.float_val else _number(tensor)
                    curves.setdefault(value.tag, {})[event.step] = number
    return {tag: sorted(curve.items()) for tag, curve in curves.items()}


def _number(tensor) -> float:
    return float(np.frombuffer(tensor.tensor_content, "<f4")[0])


def _events(data: bytes):
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        start = at + _LENGTH.size + _CHECKSUM
        at = start + length + _CHECKSUM
        if at > len(data):
            return
        try:
            yield Event.FromString(data[start : start + length])
        except DecodeError:
            return
