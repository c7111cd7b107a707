"""The KubeRay manifests, against the operator's schema and Kubernetes' own."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import latest_version

CLUSTER = Path(__file__).parents[2] / "cluster"
SCHEMA = json.loads((Path(__file__).parent / "kuberay_schema.json").read_text())
LOCK = (CLUSTER.parent / "uv.lock").read_text()


def load(name: str) -> dict[str, Any]:
    content = yaml.safe_load((CLUSTER / "kuberay" / name).read_text())
    assert isinstance(content, dict)
    return content


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]
    cluster: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return cluster


def groups(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = cluster_of(manifest)
    yield cluster["headGroupSpec"]
    yield from cluster["workerGroupSpecs"]


def check(manifest: dict[str, Any]) -> None:
    """Raise at what the operator or Kubernetes would refuse, or drop without a word."""
    version = latest_version()
    jsonschema.validate(manifest, SCHEMA)
    for group in groups(manifest):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, **group["template"]}
        kubernetes_validate.validate(pod, version, strict=True)


MANIFESTS = ("raycluster.yaml", "rayjob.yaml")


@pytest.fixture(params=MANIFESTS)
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def test_the_manifests_are_valid(manifest: dict[str, Any]) -> None:
    check(manifest)


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.update(workerGroupSpec=[]),
        lambda c: c["headGroupSpec"].pop("template"),
        lambda c: c["headGroupSpec"]["rayStartParams"].update({"num-gpus": 0}),
        lambda c: c["workerGroupSpecs"][0].update(minReplicas="0"),
        lambda c: c["autoscalerOptions"].update(idleTimeoutMinutes=5),
        lambda c: c["authOptions"].update(mode="tokens"),
        lambda c: c["headGroupSpec"]["template"]["spec"].update(container=[]),
        lambda c: c["headGroupSpec"]["template"]["spec"]["containers"][0].pop("name"),
    ],
)
def test_mistakes_are_found(manifest: dict[str, Any], edit: Any) -> None:
    manifest = copy.deepcopy(manifest)
    edit(cluster_of(manifest))
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(manifest)


def test_both_start_the_same_cluster() -> None:
    assert cluster_of(load("raycluster.yaml")) == cluster_of(load("rayjob.yaml"))


def test_the_ray_version_is_the_locked_one(manifest: dict[str, Any]) -> None:
    (locked,) = re.findall(r'name = "ray"\nversion = "([^"]+)"', LOCK)
    assert cluster_of(manifest)["rayVersion"] == locked


def test_gpus_come_when_needed_and_go(manifest: dict[str, Any]) -> None:
    cluster = cluster_of(manifest)
    assert cluster["enableInTreeAutoscaling"] is True
    assert 0 < cluster["autoscalerOptions"]["idleTimeoutSeconds"] <= 600
    (gpu,) = cluster["workerGroupSpecs"]
    assert gpu["minReplicas"] == 0 < gpu["maxReplicas"]
    container = gpu["template"]["spec"]["containers"][0]
    asked = container["resources"]["limits"]["nvidia.com/gpu"]
    assert asked == gpu["rayStartParams"]["num-gpus"] == "1"
    if "rayClusterSpec" in manifest["spec"]:
        assert manifest["spec"]["shutdownAfterJobFinishes"] is True


def test_security(manifest: dict[str, Any]) -> None:
    cluster = cluster_of(manifest)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert is_restricted(cluster["autoscalerOptions"]["securityContext"])
    for group in groups(manifest):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(pod.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC"))
        assert {kind for volume in pod["volumes"] for kind in volume} <= {
            *("name", "emptyDir", "persistentVolumeClaim"),
        }
        for container in pod["containers"]:
            assert is_restricted(container["securityContext"])
            assert not any("TOKEN" in variable["name"] for variable in container["env"])


def is_restricted(context: dict[str, Any]) -> bool:
    return context["allowPrivilegeEscalation"] is False and context["capabilities"] == {
        "drop": ["ALL"]
    }


def test_containers_write_to_their_volumes_only(manifest: dict[str, Any]) -> None:
    image = (CLUSTER / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+):\1$", image, re.M)
    (home,) = re.findall(r"^USER .*\nWORKDIR (\S+)$", image, re.M)
    (cache,) = re.findall(r"RAYPOSE_CACHE_DIR=(\S+)", image)
    assert Path(cache).is_relative_to(home)
    for group in groups(manifest):
        pod = group["template"]["spec"]
        # Volumes belong to the group that the image's user is in.
        assert {pod["securityContext"][k] for k in ("runAsUser", "fsGroup")} == {int(user)}
        temporary = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
            assert {"/tmp", home, "/dev/shm", "/data"} == set(mounts)
            assert {name for path, name in mounts.items() if path != "/data"} <= temporary
