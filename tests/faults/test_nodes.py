"""Nodes that are lost, nodes that come, and the head that is lost, on real Ray nodes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import CHUNK, N_FRAMES, Job
from tests.nodes import Nodes, free_port, linked_namespaces, own_address, ray_nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FAKE_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


PLACEMENT = """
import sys
from raypose.execution.ray.executor import on_this_node
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
class Probe:
    def node(self):
        return ray.get_runtime_context().get_node_id()
probe = ray.remote(Probe).options(num_cpus=0, scheduling_strategy=on_this_node())
probes = [probe.remote() for _ in range(8)]
assert len(ray.nodes()) == 2
print(set(ray.get([p.node.remote() for p in probes])) == {ray.get_runtime_context().get_node_id()})
"""


def test_what_the_driver_needs_is_on_its_node(nodes: Nodes) -> None:
    """Otherwise losing the coordinator's node would end the run."""
    nodes.start_head("--num-cpus=1", "--num-gpus=0")
    nodes.start_worker("--num-cpus=1", "--num-gpus=1")
    command = [sys.executable, "-c", PLACEMENT, nodes.address]
    said = subprocess.run(
        command, env=nodes.environment(), check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == "True"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("n_nodes", "n_lost"), [(2, 1), (8, 3)])
def test_lost_nodes_cost_nothing_but_time(
    n_nodes: int, n_lost: int, job: Job, nodes: Nodes, tmp_path: Path
) -> None:
    """There is no room for their workers elsewhere, so the others take over what they had."""
    nodes.start_head("--num-cpus=2", "--num-gpus=0")
    workers = [nodes.start_worker("--num-cpus=1", "--num-gpus=1") for _ in range(n_nodes)]
    out = tmp_path / "out"
    run = job.start(nodes, out)
    run.wait_until(lambda: run.ranges() >= 4)
    for doomed in workers[:n_lost]:
        doomed.kill()
    code, output = run.finish(600)
    assert code == 0, output
    assert f"{n_nodes} logical GPU(s)" in output
    job.check(out)
    # Each range was told as done once.
    predicted = [e["task"] for e in run.events("task finished") if e["kind"] == "predict"]
    assert len(predicted) == len(set(predicted))
    assert sum(e["facts"]["n_frames"] * e["n_outputs"] for e in predictions(run)) == 2 * N_FRAMES


@pytest.mark.long
@pytest.mark.timeout(420)
def test_a_cut_link(job: Job, tmp_path: Path) -> None:
    """A node that is alive and unheard goes on by itself, and does no harm."""
    out = tmp_path / "out"
    with contextlib.ExitStack() as stack:
        try:
            link = stack.enter_context(linked_namespaces())
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces are not to be had here ({error})")
        nodes = stack.enter_context(ray_nodes(tmp_path / "nodes"))
        near, far = (f"--node-ip-address={host}" for host in (link.near_host, link.far_host))
        one_gpu = ("--num-cpus=1", "--num-gpus=1")
        nodes.start_head("--num-cpus=2", "--num-gpus=0", host=link.near_host, within=link.near)
        nodes.start_worker(near, *one_gpu, within=link.near)
        nodes.start_worker(far, *one_gpu, within=link.far)
        run = job.start(nodes, out, within=link.near)
        run.wait_until(lambda: run.ranges() >= 4)
        link.cut()
        code, output = run.finish(350)
    assert code == 0, output
    assert "2 logical GPU(s)" in output
    job.check(out)


def predictions(run: Any) -> list[dict[str, Any]]:
    return [e for e in run.events("task finished") if e["kind"] == "predict"]


def test_a_lost_head_is_said_clearly_and_the_run_goes_on_later(
    job: Job, nodes: Nodes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    head = nodes.start_head("--num-cpus=2", "--num-gpus=1")
    run = job.start(nodes, out)
    run.wait_until(lambda: run.ranges() >= 6)
    head.kill()
    code, output = run.finish(60)
    assert code == 1
    last = output.strip().splitlines()[-1]
    assert "lost the Ray cluster" in last and "Run the same command again" in last
    kept = len(list(out.rglob("*.parquet.json")))
    assert kept >= 4

    nodes.start_head("--num-cpus=2", "--num-gpus=1")
    again = job.start(nodes, out)
    code, output = again.finish()
    assert code == 0, output
    job.check(out)
    # What was finished before was not predicted again.
    events = again.events("task finished")
    done_later = events[len(events) - len([e for e in events if e["time"] > head_died(run)]) :]
    frames = sum(
        e["facts"]["n_frames"] * e["n_outputs"] for e in done_later if e["kind"] == "predict"
    )
    assert frames <= 2 * N_FRAMES - CHUNK * (kept - kept % 2)


def head_died(run: Any) -> float:
    stopped: float = run.events("stopped")[0]["time"]
    return stopped


@pytest.mark.long
def test_gpus_that_come_after_the_run_has_started(job: Job, nodes: Nodes, tmp_path: Path) -> None:
    nodes.start_head("--num-cpus=2", "--num-gpus=0")
    out = tmp_path / "out"
    run = job.start(nodes, out, "--gpus", "1")
    run.wait_until(lambda: run.events("planned"))
    nodes.start_worker("--num-cpus=2", "--num-gpus=1")
    code, output = run.finish()
    assert code == 0, output
    job.check(out)
    assert all(" gpu " in event["worker"] for event in predictions(run))


def test_a_gpu_that_never_comes(job: Job, nodes: Nodes, tmp_path: Path) -> None:
    nodes.start_head("--num-cpus=2", "--num-gpus=0")
    run = job.start(nodes, tmp_path / "out", "--gpus", "1", RAYPOSE_GPU_WAIT_S="5")
    code, output = run.finish(90)
    assert code == 1
    assert "no worker could be started within 5 s (--gpus 1 was given)" in output


@pytest.mark.long
def test_gpus_are_started_on_demand_and_go_again(job: Job, nodes: Nodes, tmp_path: Path) -> None:
    """A cluster that has no GPU yet: `--gpus` makes its autoscaler start nodes."""
    # The nodes that the provider starts find the head at this machine's own address.
    host, port = own_address(), free_port()
    config = {
        "cluster_name": "fake",
        "max_workers": 1,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": FAKE_PROVIDER,
            "gcs_address": f"{host}:{port}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "gpu": {
                "resources": {"CPU": 2, "GPU": 1},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 1,
            },
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in ("cluster_synced_files", "initialization_commands")},
        **{f"{who}setup_commands": [] for who in ("", "head_", "worker_")},
        **{f"{who}_start_ray_commands": [] for who in ("head", "worker")},
        "file_mounts_sync_continuously": False,
    }
    path = tmp_path / "autoscaler.yaml"
    path.write_text(json.dumps(config))
    nodes.start_head(
        "--num-cpus=2",
        "--num-gpus=0",
        f"--autoscaling-config={path}",
        host=host,
        port=port,
        RAY_FAKE_CLUSTER="1",
    )
    run = job.start(nodes, tmp_path / "out", "--gpus", "1")
    code, output = run.finish()
    assert code == 0, output
    assert "1 logical GPU(s)" in output
    job.check(tmp_path / "out")
    assert all(" gpu " in e["worker"] for e in predictions(run))
    nodes.wait_for_gpus(0)
