"""What is kept of scored images: for each of them a row of small arrays."""

from collections.abc import Mapping

import numpy as np

INDEX = "index"


class Records:
    """Rows, one for each image, all with the same columns; the parts of a split can be merged.

    Rows may be added in any order: each has its image's position in the split.
    """

    def __init__(self) -> None:
        """Starts without rows."""
        self._columns: dict[str, list[np.ndarray]] = {}

    def __len__(self) -> int:
        """Number of images."""
        return len(self._columns.get(INDEX, ()))

    def add(self, index: int, **values: np.ndarray | float) -> None:
        """Adds the row of an image.

        Args:
          index: its position in the split.
          **values: by column; arrays must have the same shape and dtype in every row.
        """
        for name, value in {INDEX: np.int64(index), **values}.items():
            self._columns.setdefault(name, []).append(np.asarray(value))

    def merge(self, other: "Records") -> "Records":
        """Returns the rows of both."""
        merged = Records()
        for name in self._columns | other._columns:
            merged._columns[name] = self._columns.get(name, []) + other._columns.get(name, [])
        return merged

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the columns `[N, ...]`, sorted by `index`."""
        if not len(self):
            return {}
        order = np.argsort(np.array(self._columns[INDEX]), kind="stable")
        return {name: np.stack([rows[i] for i in order]) for name, rows in self._columns.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Records":
        """Restores what `to_arrays` gave."""
        records = cls()
        records._columns = {name: list(rows) for name, rows in arrays.items()}
        return records
