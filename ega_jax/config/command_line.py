"""Config fields on the command line, also where no recipe is given but a run is meant."""

import pathlib
import re
from collections.abc import Sequence

# A config that is no recipe: that of the run which --workdir or --checkpoint names.
SAVED = pathlib.Path(__file__).with_name("saved.py")

_FIELD = re.compile(r"--?(?:no)?config\.([^=]+)(?:=(.*))?")
_STUDY = re.compile(r"(^| )--?mode[= ]study($| )")
_RECIPE = re.compile(r"--?config(=|$)")


def check_fields(argv: Sequence[str]) -> None:
    """Refuses fields of the config that there are not.

    Raises:
      ConfigError: names the field and the nearest one that there is.
    """
    given = [match.groups() for argument in argv[1:] if (match := _FIELD.match(argument))]
    if given:
        from ega_jax.config.fields import check_field

        for name, value in given:
            check_field(name, value)


def has_recipe(argv: Sequence[str]) -> bool:
    """Says whether a command line has `--config`."""
    return any(_RECIPE.match(argument) for argument in argv)


def checkout(argv: Sequence[str]) -> str | None:
    """Returns the folder that holds the `configs` of a command line's recipe, if they are there."""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if _RECIPE.match(argument):
            path = (argument.partition("=")[2] or following).partition(":")[0]
            above = pathlib.Path(path).absolute().parents
            return next((str(p.parent) for p in above if p.name == "configs"), None)
    return None


def is_study(argv: Sequence[str]) -> bool:
    """Says whether a command line is about a study, whose fields are those of its runs."""
    return bool(_STUDY.search(" ".join(argv)))


def fields(argv: Sequence[str]) -> list[str]:
    """Returns the fields of the config among the arguments of a command line."""
    return [argument for argument in argv if _FIELD.match(argument)]


def field_names(argv: Sequence[str]) -> list[str]:
    """Returns the names of the fields of the config among the arguments of a command line."""
    return [match[1] for argument in argv if (match := _FIELD.match(argument))]


def without_fields(argv: Sequence[str]) -> list[str]:
    """Leaves out the fields of the config, which are flags only once there is a config."""
    return [argument for argument in argv if not _FIELD.match(argument)]


def with_config_of_run(
    argv: Sequence[str], mode: str, workdir: str | None, checkpoint: str | None
) -> list[str]:
    """Adds the config of the run that is meant to a command line without a recipe.

    Args:
      argv: the command line.
      mode: of the program.
      workdir: `--workdir`, if given.
      checkpoint: `--checkpoint`, if given.

    Raises:
      ConfigError, CheckpointError: there is no such run, or what it says is unreadable.
    """
    if mode == "figures" and workdir and not _is_run(pathlib.Path(workdir)):
        return list(argv)
    of_runs = ("train", "eval", "predict", "annotate", "figures", "export")
    if mode not in of_runs or not (workdir or checkpoint):
        return list(argv)
    from ega_jax.config import store

    if mode == "train" and not (checkpoint or store.exists(workdir)):
        return list(argv)  # nothing to go on with: it takes a recipe
    return [argv[0], f"--config={SAVED}:{store.find_run(workdir, checkpoint)}", *argv[1:]]


def _is_run(folder: pathlib.Path) -> bool:
    """Says no to the folder of a study, and to one of results alone, of another run's network."""
    if (folder / "study.json").exists():
        return False
    return (folder / "config.json").exists() or not (folder / "results.json").exists()
