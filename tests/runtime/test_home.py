"""One folder for what is kept between two starts."""

import pytest

from ega_jax.runtime.errors import UserError
from ega_jax.runtime.home import VARIABLE, home


def test_by_default_below_the_users_caches(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "ega_jax"


def test_the_environment_names_another(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "~/elsewhere")
    assert home() == tmp_path / "elsewhere"


def test_without_a_home_folder_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "~nobody-of-this-name/kept")
    with pytest.raises(UserError, match="~nobody-of-this-name/kept: .* variable EGA_JAX_CACHE"):
        home()
