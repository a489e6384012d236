"""README and docs name what exists, lead with the two commands, and give each figure once."""

import re

import pytest

from tests.helpers.paths import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
)
# Folders of the checkout: what begins like them is meant to be in it.
TOP = "ega_jax|configs|tests|docs|launch|benchmarks|requirements[^/]*\\.txt|pyproject\\.toml"


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def alternatives(name):
    """Spells out `{a,b}` in a path."""
    found = re.search(r"{([^}]*)}", name)
    if not found:
        return [name]
    return [
        spelled
        for choice in found[1].split(",")
        for spelled in alternatives(name[: found.start()] + choice + name[found.end() :])
    ]


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    """Paths in backticks and in commands, with `*` and `{a,b}`, and a recipe's row left out."""
    named = re.findall(rf"(?<![\w/.-])((?:{TOP})(?:/[\w{{}},*./-]*)?)", text_of(page))
    names = {name.rstrip(".,") for name in named}
    missing = [n for name in names for n in alternatives(name) if not any(ROOT.glob(n.rstrip("/")))]
    assert not missing


def exists(module, name=""):
    """Says whether there is a module, and in its text a name."""
    place = ROOT.joinpath(*module)
    files = [f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()]
    if not name:
        return bool(files) or place.is_dir()
    return any(re.search(rf"\b{name}\b", f.read_text(encoding="utf-8")) for f in files)


@pytest.mark.parametrize("page", PAGES)
def test_modules_exist(page):
    """Modules in commands and in the text, and names in them: `python -m ega_jax.data.prepare`."""
    named = re.findall(
        r"(?<![\w/.-])(?:ega_jax|benchmarks|configs)(?:\.[A-Za-z]\w*)+", text_of(page)
    )
    for name in set(named):
        *module, last = name.split(".")
        assert exists([*module, last]) or exists(module, last), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(page))
    missing = [
        link
        for link in links
        if not link.startswith("http") and not ((ROOT / page).parent / link).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_flags_exist(page):
    """Every `--config.field` of a command is a field."""
    from ega_jax.config.fields import check_field

    for name in set(re.findall(r"--config\.([a-z_.0-9]+)=", text_of(page))):
        check_field(name)


def test_readme_is_short_and_opens_with_two_commands():
    lines = text_of("README.md").splitlines()
    assert len(lines) <= 130
    first, second = [line for line in lines if line.startswith("python3 -m venv")]
    assert "ega_jax.main --config=configs/quickstart.py" in first and "pytest" in second
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[0] == "## Two commands"
    assert lines.index(second) < 35


def test_docs_of_every_topic_are_linked_from_the_readme():
    linked = re.findall(r"\]\(docs/(\w+)\.md", text_of("README.md"))
    assert set(linked) | {"index", "reference"} == {p.stem for p in (ROOT / "docs").glob("*.md")}


def rows(page):
    """Returns the rows of tables with a ± in them: the name, and the cells."""
    for line in text_of(page).splitlines():
        if line.startswith("|") and "±" in line:
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield name, cells


def test_one_figure_for_one_command():
    """A row of results stands in one table of its data; the README quotes that of photographs."""
    tables = {page: list(rows(page)) for page in PAGES if page != "README.md"}
    assert {page for page, table in tables.items() if table} == {
        "docs/results.md",
        "docs/evidence.md",
    }
    for table in tables.values():
        names = [name for name, _ in table]
        assert len(names) == len(set(names))
    quoted = list(rows("README.md"))
    assert len(quoted) >= 2
    for name, cells in quoted:
        remaining = iter(dict(tables["docs/evidence.md"])[name])
        assert all(cell in remaining for cell in cells)  # the same figures in the same order
