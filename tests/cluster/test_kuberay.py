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
    for group in groups(manifest):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert not pod.get("hostNetwork")
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert not any("TOKEN" in variable["name"] for variable in container["env"])
