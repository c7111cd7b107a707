"""A run gets to its Ray, whatever the process has done with Ray before.

Ray's native code reads its settings when it is imported, so each order has a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import Nodes, free_port, ray_nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Starts the executor with actors that need no torch; what each order does with it comes after.
START = """
import os, sys
{imports}
LOCAL = dict(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")

def start(address=None):
    import ray
    from raypose.config import RunConfig
    from raypose.errors import ClusterError
    from raypose.execution.ray import RayExecutor

    class Stub:
        def __init__(self, number, computes, settings):
            ray.get_actor(settings.coordinator)

        def describe(self):
            from raypose.execution.ray.worker import WorkerInfo

            return WorkerInfo("stub", ray.get_runtime_context().get_node_id(), "cpu")

        def check_storage(self, places):
            return None

    config = RunConfig(
        videos=["v"], models=["m"], output_dir="o", device="cpu", address=address
    )
    before = dict(os.environ)
    executor = RayExecutor(config, worker_class=Stub)
    try:
        executor.start([], 0, lambda what: None)
        mode = ("disabled", "token")[ray._raylet.get_authentication_mode()]
        print("joined", executor.description, mode, len(os.environ.get("RAY_AUTH_TOKEN", "")))
        executor.run([], None)
    except ClusterError as error:
        print("error", error)
    finally:
        executor.close()
    after = dict(os.environ)
    assert after == before, after.items() ^ before.items()

"""


def lines(imports: str, code: str, home: Path, **environment: str) -> list[str]:
    """What the process prints, with a home of its own and without any setting of Ray's."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", START.format(imports=imports) + code],
        env={**outside, "HOME": str(home), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


HERE = "joined Ray on this machine, CPU"


def test_ray_used_before_and_after(tmp_path: Path) -> None:
    """Ray leaves its own variables behind, and finds them again."""
    use = "ray.init(**LOCAL)\nassert ray.get(ray.put(5)) == 5\nray.shutdown()\n"
    [line] = lines("import ray, raypose", f"{use}start()\n{use}", tmp_path)
    assert line.startswith(HERE) and line.endswith("token 64")


@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_ray_in_use(mode: str, tmp_path: Path) -> None:
    code = "ray.init(**LOCAL)\nimport raypose\nstart()\nassert ray.get(ray.put(5)) == 5"
    [line] = lines("import ray", code, tmp_path, RAY_AUTH_MODE=mode)
    assert line.startswith(HERE) and line.endswith(f"{mode} 0")


def test_a_cluster_of_this_run_has_a_token_of_its_own(tmp_path: Path) -> None:
    """Whatever the user's environment holds. Ray would write one to disk, for all to read."""
    code = f"""
from pathlib import Path

file = Path.home() / ".ray" / "auth_token"
def start_once():
    before = file.read_text() if file.exists() else None
    start()
    assert before == (file.read_text() if file.exists() else None)

start_once()
os.environ["RAY_AUTH_TOKEN"] = ""
start_once()
os.environ.update(RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN_PATH={str(tmp_path / "lost")!r})
start_once()
for name in [n for n in os.environ if n.startswith("RAY_AUTH")]:
    del os.environ[name]
file.parent.mkdir()
for content in ("", " \\n"):
    file.write_text(content)
    start_once()
"""
    said = lines("import ray, raypose", code, tmp_path)
    assert len(said) == 5
    assert all(line.startswith(HERE) and line.endswith("token 64") for line in said), said


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster that wants a token."""
    with ray_nodes(tmp_path_factory.mktemp("guarded")) as nodes:
        nodes.start_head("--num-cpus=2", "--num-gpus=0")
        yield nodes


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster that takes work from anyone, on the loopback address."""
    with ray_nodes(tmp_path_factory.mktemp("unguarded")) as nodes:
        nodes.start_head("--num-cpus=2", "--num-gpus=0", RAY_AUTH_MODE="disabled")
        yield nodes


def test_a_cluster_with_a_token(guarded: Nodes, tmp_path: Path) -> None:
    """Joined by the run, after a run on this machine, or by the user before."""
    address, token = guarded.address, {"RAY_AUTH_TOKEN": guarded.token}
    joined = f"joined the Ray cluster {address}, CPU"
    code = f"start({address!r})\nstart()\nstart({address!r})"
    said = lines("import ray", code, tmp_path, **token)
    assert [line[: len(joined)] for line in said] == [joined, said[1][: len(joined)], joined]
    assert said[1].startswith(HERE)

    code = f"ray.init({address!r}, logging_level='ERROR')\nstart()\nstart({address!r})\n"
    code += "start('127.0.0.1:9')\nstart('local')"
    said = lines("import ray, raypose", code, tmp_path, RAY_AUTH_MODE="token", **token)
    assert len(said) == 4
    port = address.rpartition(":")[2]
    assert all(
        line.startswith("joined the Ray cluster") and f":{port}," in line for line in said[:2]
    )
    assert all("error this process is connected to the Ray cluster at" in x for x in said[2:])


def test_a_cluster_without_a_token(unguarded: Nodes, tmp_path: Path) -> None:
    address = unguarded.address
    [line] = lines("import ray, raypose", f"start({address!r})", tmp_path)
    assert line.startswith(f"joined the Ray cluster {address} (which requires no token), CPU")
    code = f"ray.init({address!r}, logging_level='ERROR')\nstart()"
    [line] = lines("import ray, raypose", code, tmp_path)
    assert line.startswith("joined the Ray cluster ")


def test_what_keeps_a_run_out_is_said(guarded: Nodes, unguarded: Nodes, tmp_path: Path) -> None:
    """All in one process: nothing is left of one try for the next."""
    closed = f"127.0.0.1:{free_port()}"
    code = f"""
start({guarded.address!r})
os.environ["RAY_AUTH_TOKEN"] = "0" * 64
start({guarded.address!r})
os.environ["RAY_AUTH_MODE"] = "disabled"
start({guarded.address!r})
del os.environ["RAY_AUTH_MODE"]
os.environ.update(RAY_AUTH_TOKEN="", RAY_AUTH_TOKEN_PATH={str(tmp_path / "lost")!r})
start({guarded.address!r})
os.environ["RAY_AUTH_MODE"] = "token"
start({unguarded.address!r})
start("ray://127.0.0.1:10001")
start({closed!r})
os.environ.update(RAY_AUTH_TOKEN={guarded.token!r})
start({guarded.address!r})
"""
    said = lines("import raypose", code, tmp_path)
    start = f"error the Ray cluster at {guarded.address}"
    assert said[0].startswith(f"{start} wants a token, and there is none here.")
    assert said[1].startswith(f"{start} rejects the token.")
    assert "RAY_AUTH_MODE=disabled. Unset RAY_AUTH_MODE" in said[2]
    assert said[3].startswith(f"error {tmp_path / 'lost'}: holds no token that can be read.")
    assert "requires no token, and this process has RAY_AUTH_MODE=token" in said[4]
    assert "'ray://127.0.0.1:10001' is no address of a Ray cluster" in said[5]
    assert said[6].startswith(f"error no Ray cluster answers at {closed} (")
    assert "refused" in said[6]
    assert said[7].startswith(f"joined the Ray cluster {guarded.address}, CPU")
