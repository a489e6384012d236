"""What was found, in `parts/*.json`: some pictures in each, written whole or not at all."""

import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from ega_jax.data.export.annotated import Annotated
from ega_jax.data.source import DataError
from ega_jax.runtime import files


class Parts:
    """The files of a folder."""

    def __init__(self, out: epath.Path, number: int, size: int):
        """Names them.

        Args:
          out: the folder that they lie below.
          number: of all pictures.
          size: number of pictures in each.
        """
        self._folder = out / "parts"
        self._chosen = [slice(i, min(i + size, number)) for i in range(0, number, size)]

    @classmethod
    def there(cls, out: epath.Path) -> "Parts":
        """Returns those of a folder where all are made."""
        return cls(out, len(list((out / "parts").glob("*.json"))), 1)

    def path(self, number: int) -> epath.Path:
        """Returns where a part is."""
        return self._folder / f"{number:06d}.json"

    def missing(self) -> list[tuple[int, slice]]:
        """Returns the number of each part that is still to be made, and its pictures."""
        parts = enumerate(self._chosen)
        return [(number, chosen) for number, chosen in parts if not self.path(number).exists()]

    def save(self, number: int, pictures: list[Annotated], skipped: list[dict]) -> None:
        """Writes a part: pictures, and what of others could not be read."""
        values = {"pictures": [one.to_json() for one in pictures], "skipped": skipped}
        files.write_json(self.path(number), values)

    def pictures(self) -> Iterator[Annotated]:
        """Yields all pictures, with all that was found in them."""
        for part in self._read():
            yield from map(Annotated.from_json, part["pictures"])

    def skipped(self) -> list[dict]:
        """Returns the pictures that could not be read: `image_id` and `reason`."""
        return [entry for part in self._read() for entry in part["skipped"]]

    def _read(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self._chosen)):
            path = self.path(number)
            try:
                yield json.loads(path.read_text())
            except ValueError as error:
                raise DataError(f"{path} is damaged ({error}); remove it and annotate again") from (
                    error
                )
