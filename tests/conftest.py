"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from raypose.inference import PASSIVE_THREADS
from tests.stores import Store, start_proxy

os.environ.setdefault(*PASSIVE_THREADS)  # before torch is imported

# No test reaches a real store with somebody's real credentials; set before Ray is started, so
# that its workers have them too.
os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="a-secret-of-the-tests",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
    AWS_MAX_ATTEMPTS="2",
)
for _name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
    os.environ.pop(_name, None)

settings.register_profile("few", max_examples=10)

GROUPS = (
    "tests/integration/",  # what is not below and shares a Ray cluster
    "tests/integration/test_demo",
    "tests/integration/test_truth",
    "tests/benchmarks/",
    "tests/integration/test_interrupt",
    "tests/cluster/",
    "tests/faults/",
    "tests/integration/test_connection",
    "tests/integration/test_watch",
    "tests/integration/test_address",
    "tests/integration/test_decoys",
    "tests/browser/",
)
"""Paths of tests that share what is expensive to set up, in the order in which they start.

All other tests are grouped by file, and fill the time that is left.
"""

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
SHARED_CASES = SHARED_DATA.parent / "cases"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real models, a real video and upstream's answers; tests skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared example data is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def store_server() -> Iterator[Store]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    proxy, store = start_proxy(server.get_host_and_port())
    yield store
    proxy.shutdown()
    proxy.server_close()
    store.client.close()
    server.stop()


@pytest.fixture
def store(store_server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store, where s3:// leads, and scratch in a folder of the test."""
    from raypose.storage import scratch

    store_server.empty()
    monkeypatch.setenv("AWS_ENDPOINT_URL", store_server.url)
    scratch.configure(scratch.ScratchSettings(str(tmp_path / "scratch")))
    yield store_server
    scratch.configure(scratch.ScratchSettings())


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for the whole suite; tests that are named run in this process."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        return 2
    config.option.dist = "no"
    return 0


def _group_of(path: str) -> str:
    """The longest group that a test belongs to; empty for none."""
    return max((group for group in GROUPS if path.startswith(group)), key=len, default="")


class _Scheduling(LoadScopeScheduling):
    """Gives each process whole groups of tests, so that their fixtures are set up once.

    `--dist loadgroup` does not work here: with pytest 9.2, xdist 3.8 loses the groups.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _group_of(path) or path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    config.option.loadscopereorder = False
    return _Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first, mark the tests that use a store, and skip those that need a
    GPU where torch sees none.

    Without such tests torch is not imported.
    """
    for item in items:
        if "store" in getattr(item, "fixturenames", ()):
            item.add_marker("store")
    rank = {group: i for i, group in enumerate((*GROUPS, ""))}
    items.sort(key=lambda item: rank[_group_of(item.nodeid)])
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="torch sees no GPU"))
