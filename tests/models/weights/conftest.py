"""Places and writers of weight files."""

import pytest

from tests.helpers.pth_writers import (
    OWN_WRITERS,
    WRITERS,
)


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


@pytest.fixture(params=OWN_WRITERS)
def own_write(request):
    return OWN_WRITERS[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"  # the suffix says nothing
