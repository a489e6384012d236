"""What a study is: rows of a table and seeds, and the runs that they stand for.

A file below `configs/studies/` returns one:

    def get_config() -> Study:
        return Study(
            title="CAM and EGA on the embedded data",
            rows=(
                Row("cam", "CAM", "configs/quickstart.py:cam"),
                Row("ega", "EGA", "configs/quickstart.py:ega", baseline="cam"),
            ),
            metrics={"Top-1 cls err": Metric("top1_cls_err")},
        )

`runs.py` says what is trained for it.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ega_jax.config.fields import check_field
from ega_jax.runtime.errors import ConfigError, UserError

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


class StudyError(UserError):
    """A study is impossible, or is asked for what it does not have; names it and the remedy."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A column: a figure of `results.json`, or what is lacking of it to 100 percent.

    Attributes:
      figure: path below `test`, e.g. `oracle/top1_loc_err`.
      complement: the column is 100 minus it: the error that belongs to an accuracy.
    """

    figure: str
    complement: bool = False

    def of(self, value: Any) -> Any:
        """Returns what stands in the column for a figure, a number or an array."""
        return 100 - value if self.complement else value


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field is one of these values.

    Raises:
      StudyError: there are none.
    """

    values: tuple

    def __post_init__(self) -> None:
        """Checks that there is something to choose from."""
        if not self.values:
            raise StudyError("a Choice needs values")

    def has(self, value: Any) -> bool:
        """Says whether it is one of the values."""
        return value in self.values


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A field is drawn from [low, high]; with `log`, its logarithm is uniform.

    Raises:
      StudyError: nothing lies between, or `low` has no logarithm.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Checks that something can be drawn."""
        if not self.low < self.high or (self.log and self.low <= 0):
            raise StudyError(
                f"Uniform({self.low}, {self.high}, log={self.log}): low is below high, and above 0 "
                "with log"
            )

    def has(self, value: Any) -> bool:
        """Says whether a value can be drawn."""
        return isinstance(value, int | float) and self.low <= value <= self.high


Space = Mapping[str, Choice | Uniform]


@dataclasses.dataclass(frozen=True)
class Search:
    """Settings that are tried for every row; the best on the validation split has all the seeds.

    Attributes:
      space: what is tried, by field; a row may add to it or replace it.
      trials: how many settings are drawn; None: all combinations of choices.
      seed: of the draws, and of the runs that try them.
    """

    space: Space
    trials: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the number of trials."""
        if self.trials is not None and self.trials < 1:
            raise StudyError(f"trials={self.trials}: a search needs at least one")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
      name: of its folder, and on the command line.
      title: in the table.
      recipe: as for `--config`; empty: only published figures.
      fields: of the config, by dotted name, that differ from the recipe.
      baseline: name of the row that it is compared with; empty: none.
      reads: name of a row whose trained networks it reads, instead of training its own.
      published: published figures by title of the column.
      space: what is searched besides the study's.
    """

    name: str
    title: str
    recipe: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baseline: str = ""
    reads: str = ""
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)
    space: Space = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Study:
    """A table: its rows, columns and seeds.

    Attributes:
      title: heading of its pages.
      rows: in order.
      metrics: columns by their titles, in order.
      seeds: each row is trained with each of them.
      fields: of the config, by dotted name, for all rows.
      source: where the published figures are from.
      search: what is searched before; None: nothing.

    Raises:
      StudyError: a name is there twice, or nowhere, or cannot be a folder.
    """

    title: str
    rows: tuple[Row, ...]
    metrics: Mapping[str, Metric]
    seeds: tuple[int, ...] = (0, 1, 2)
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    source: str = "paper"
    search: Search | None = None

    def __post_init__(self) -> None:
        """Checks the names."""
        names = [row.name for row in self.rows]
        for kind in ("rows", "metrics", "seeds"):
            if not getattr(self, kind):
                raise StudyError(f"{self.title}: a study needs {kind}")
        _refuse_twice("row", names)
        _refuse_twice("seed", self.seeds)
        if bad := [seed for seed in self.seeds if not isinstance(seed, int) or seed < 0]:
            raise StudyError(f"seed {bad[0]!r}: seeds are whole numbers from 0")
        _check_fields(self.fields, "the study")
        _check_values(self.fields, "the study")
        if self.search is not None:
            _check_fields(self.search.space, "the search")
        for row in self.rows:
            self._check_row(row, names)

    def _check_row(self, row: Row, names: Sequence[str]) -> None:
        if not _NAME.fullmatch(row.name):
            raise StudyError(f"row {row.name!r}: a name is letters, digits and . _ + -")
        for kind in ("baseline", "reads"):
            other = getattr(row, kind)
            if other and (other not in names or other == row.name):
                raise StudyError(
                    f"row {row.name}: {kind} {other!r} is no other row; there are "
                    f"{', '.join(names)}"
                )
        if row.reads and (self.row(row.reads).reads or not self.row(row.reads).recipe):
            raise StudyError(
                f"row {row.name}: reads {row.reads!r}, which trains no network; name one that does"
            )
        if unknown := set(row.published) - set(self.metrics):
            raise StudyError(
                f"row {row.name}: published figures of {', '.join(sorted(unknown))}; the columns "
                f"are {', '.join(self.metrics)}"
            )
        _check_fields({**row.fields, **row.space}, f"row {row.name}")
        _check_values(row.fields, f"row {row.name}")

    def row(self, name: str) -> Row:
        """Returns the row of a name.

        Raises:
          StudyError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise StudyError(
            f"there is no row {name!r}; there are {', '.join(row.name for row in self.rows)}"
        )

    def space(self, row: Row) -> Space:
        """Returns what is searched for a row: nothing if it reads another row's networks."""
        return {} if self.search is None or row.reads else {**self.search.space, **row.space}

    def to_json(self) -> dict[str, Any]:
        """Returns what the pages need to know."""
        facts = dataclasses.asdict(dataclasses.replace(self, search=None))
        for row in facts["rows"]:
            del row["space"]
        return facts

    @classmethod
    def from_json(cls, facts: Any) -> "Study":
        """Restores what `to_json` gave.

        Raises:
          StudyError: it is something else.
        """
        try:
            facts = dict(facts)
            facts["rows"] = tuple(Row(**row) for row in facts["rows"])
            facts["metrics"] = {title: Metric(**m) for title, m in facts["metrics"].items()}
            return cls(**facts | {"seeds": tuple(facts["seeds"])})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise StudyError(f"it does not describe a study: {error}") from error


def _check_fields(names: Iterable[str], where: str) -> None:
    for name in names:
        try:
            check_field(name)
        except ConfigError as error:
            raise StudyError(f"{where}: {error}") from error
        if name == "seed":
            raise StudyError(f"{where}: config.seed is what the study's seeds are for")


def _check_values(fields: Mapping[str, Any], where: str) -> None:
    """Refuses what the runs' commands cannot say."""
    for name, value in fields.items():
        if value is None:
            raise StudyError(f"{where}: config.{name}=None: leave it out, or set it in the recipe")


def _refuse_twice(kind: str, values: Sequence[Any]) -> None:
    if twice := [value for value in values if list(values).count(value) > 1]:
        raise StudyError(f"{kind} {twice[0]!r} is there twice")
