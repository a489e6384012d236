"""The one base class of errors that the program tells in a line instead of a traceback."""


class UserError(Exception):
    """Something that whoever runs the program can mend; says what is wrong, where, and the remedy.

    Each room has its own kind: `ConfigError`, `data.source.DataError`,
    `runtime.checkpoints.CheckpointError`, `runtime.memory.OutOfMemoryError`,
    `models.weights.files.WeightFileError`,
    `training.progress.NonFiniteLoss`.
    """


class ConfigError(UserError, ValueError):
    """A field of the config has an impossible value; names the field and the remedy."""
