"""The runs that a study stands for.

A run is a command of the program, `--config=RECIPE` and some fields, and a folder below the
study's: `<row>/<seed>`, or `<row>/search/<trial>` where settings are tried.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Row, Study


@dataclasses.dataclass(frozen=True)
class Run:
    """One command of the program.

    Attributes:
      name: its folder, `<row>/<seed>` or `<row>/search/<trial>`, below the study's.
      arguments: `--config=RECIPE` and fields.
      reads: the run whose network it reads; None: it trains its own.
    """

    name: str
    arguments: tuple[str, ...]
    reads: "Run | None" = None

    def command(self, folder: str) -> list[str]:
        """Returns the arguments of the program, in the folder of a study."""
        place = [f"--workdir={folder}/{self.name}"]
        if self.reads is not None:
            network = f"{folder}/{self.reads.name}/checkpoints"
            which = self.config().eval.checkpoint
            place = ["--mode=eval", *place, f"--checkpoint={network}/{which}"]
        return [*self.arguments, *place]

    def config(self) -> ml_collections.ConfigDict:
        """Returns the config that the program has with these arguments.

        Raises:
          ConfigError: there is no such recipe, or a value that a field cannot have.
        """
        config = load_config(self.arguments)
        if not isinstance(config, ml_collections.ConfigDict):
            raise ConfigError(f"{self.arguments[0]}: is no recipe")
        return config


def load_config(arguments: Sequence[str]) -> Any:
    """Returns what `--config` and the fields among some arguments mean.

    Raises:
      ConfigError: there is no such file, or what is in it or in a field is refused.
    """
    values, argv = flags.FlagValues(), ["study", *arguments]
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    try:
        values(argv)
        config = holder.value
        if hasattr(config, "to_dict"):  # raises what kept a file from being read
            config.to_dict()
    except (flags.Error, OSError) as error:
        _, refused, reason = str(error).strip().rpartition("errors.ConfigError: ")
        raise ConfigError(reason if refused else str(error).strip()) from error
    return config


def runs_of(
    study: Study,
    row: Row,
    seeds: Sequence[int],
    given: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Run]:
    """Lists the runs of a row; none if it has published figures alone.

    Args:
      study: it is in.
      row: of it.
      seeds: of the runs.
      given: fields that the user sets for all rows, as `--config.NAME=VALUE`.
      settings: by row, what a search chose, by field.
    """
    settings = settings or {}
    if not row.recipe:
        return []
    networks: list[Any] = [None for _ in seeds]
    if row.reads:
        other = study.row(row.reads)
        settings = {**settings, row.name: settings.get(other.name, {})}
        networks = runs_of(study, other, seeds, given, settings)
    common = _arguments(study, row, settings.get(row.name, {}))
    return [
        Run(f"{row.name}/{seed}", (*common, f"--config.seed={seed}", *given), network)
        for seed, network in zip(seeds, networks, strict=True)
    ]


def trial_of(
    study: Study, row: Row, number: int, setting: Mapping[str, Any], given: Sequence[str] = ()
) -> Run:
    """Returns the run that tries a setting; the other arguments are those of `runs_of`."""
    arguments = (*_arguments(study, row, setting), f"--config.seed={study.search.seed}", *given)
    return Run(f"{row.name}/search/{number}", arguments)


def _arguments(study: Study, row: Row, setting: Mapping[str, Any]) -> list[str]:
    fields = {**study.fields, **row.fields, **setting}
    return [f"--config={row.recipe}", *(f"--config.{name}={v}" for name, v in fields.items())]
