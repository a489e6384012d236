"""Sets up every test run: four CPU devices, and the optional reference data."""

import fcntl
import gc
import os
import pathlib
import pickle
import shutil
import tempfile

import pytest

import ega_jax.runtime.quiet_tensorflow  # noqa: F401
from tests.helpers import compilation

# Before JAX is first imported: sharding is tested on four devices of one process.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ |= compilation.quick(devices=4)
# Many tests compile the same step, some of them in processes of their own. Workers share a cache,
# which is not that of the user.
OWNS_CACHE = "PYTEST_XDIST_WORKER" not in os.environ
if OWNS_CACHE:
    os.environ["EGA_JAX_CACHE"] = tempfile.mkdtemp(prefix="ega_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(os.environ["EGA_JAX_CACHE"], "compiled")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> tuple[pathlib.Path, dict]:
    """A finished run of some steps: its workdir, to be copied rather than changed, and results.

    One worker trains it, and each has a copy.
    """
    from ega_jax.modes import train
    from tests.helpers.runs import tiny

    base = tmp_path_factory.getbasetemp()
    shared = base if OWNS_CACHE else base.parent
    results = shared / "tiny_run.pickle"
    with open(shared / "tiny_run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not results.exists():
            found = train.train(tiny(profile=2), str(shared / "tiny_run"))
            results.write_bytes(pickle.dumps(found))
    workdir = tmp_path_factory.mktemp("run") / "tiny"
    shutil.copytree(shared / "tiny_run", workdir)
    return workdir, pickle.loads(results.read_bytes())


def pytest_collection_finish() -> None:
    """Spares the garbage collector what was imported, which it would go through again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Removes the cache."""
    if OWNS_CACHE:
        shutil.rmtree(os.environ["EGA_JAX_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder of reference data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("reference data (../shared/data) is not present")
    return SHARED_DATA


@pytest.fixture
def folders(tmp_path):
    """Folders for source, metadata and out, the first two made."""
    for name in ("source", "metadata"):
        (tmp_path / name).mkdir()
    return {name: tmp_path / name for name in ("source", "metadata", "out")}
