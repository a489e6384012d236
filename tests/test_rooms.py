"""The rooms of the package: imports point down, and heavy libraries stay in theirs."""

import ast

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "ega_jax"
# A room may import itself, the rooms after it, and `runtime`, `localization` and `data`.
ORDER = (
    *("modes", "figures", "studies", "aot", "report", "evaluation"),
    *("config", "training", "methods", "models", "ops"),
)
ALONE = {
    "data": {"data", "localization", "runtime"},
    "localization": {"localization"},
    "runtime": {"runtime"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """All modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = room(path)
    if here is None:  # the program itself, and the package's front door
        return
    allowed = ALONE.get(here) or {*ORDER[ORDER.index(here) :], *ALONE}
    for name in imports(path):
        if name.startswith("ega_jax."):
            assert name.split(".")[1] in allowed, name


def test_every_room_is_known():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == {*ORDER, *ALONE}


@pytest.mark.parametrize(
    ("library", "place"), [("tensorflow", "data"), ("orbax", "runtime/checkpoints.py")]
)
def test_heavy_libraries_stay_where_they_belong(library, place):
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for name in imports(path)
        if name.split(".")[0] == library
    }
    assert users and all(user.startswith(place) for user in users)


def test_localization_can_be_used_alone():
    allowed = {"cv2", "numpy", "ega_jax", "collections", "dataclasses", "functools", "typing"}
    for path in (PACKAGE / "localization").glob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= allowed, path
