"""One folder for what is kept between two starts."""

from ega_jax.runtime.home import VARIABLE, home


def test_by_default_below_the_users_caches(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "ega_jax"


def test_the_environment_names_another(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "~/elsewhere")
    assert home() == tmp_path / "elsewhere"
