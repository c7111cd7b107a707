"""`aws.yaml` and `gcp.yaml`: read by Ray's launcher, by boto3's and by Google's own schemas."""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
FILES = ("aws.yaml", "gcp.yaml")
GPU_TYPES = ("gpu_spot", "gpu_on_demand")

# Shapes that hold a secret: keys of AWS and Google, private keys, Ray's tokens.
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|AIza[\w-]{35}|-----BEGIN|\b[0-9a-f]{40,}\b|(?i:password|secret)\s*[:=]\s*\w"
)


def load(name: str) -> dict[str, Any]:
    content = yaml.safe_load((CLUSTER / name).read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


@functools.cache
def google_schemas() -> dict[str, Any]:
    import googleapiclient.discovery_cache as discovery

    document = Path(discovery.__file__).parent / "documents" / "compute.v1.json"
    schemas: dict[str, Any] = json.loads(document.read_text())["schemas"]
    return schemas


def google_problems(value: Any, schema: dict[str, Any], where: str = "node_config") -> list[str]:
    """What Google's description of its API does not know, or knows as another type."""
    if "$ref" in schema:
        schema = google_schemas()[schema["$ref"]]
    kind = schema.get("type")
    python = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    if schema.get("format") in ("int64", "uint64"):
        return [] if isinstance(value, str | int) else [f"{where}: no number"]
    if kind in python and not isinstance(value, python[kind]):
        return [f"{where}: {value!r} is no {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if kind == "array":
        return [
            problem
            for i, item in enumerate(value)
            for problem in google_problems(item, schema["items"], f"{where}[{i}]")
        ]
    if kind == "object" and "properties" in schema:
        problems = []
        for key, item in value.items():
            inner = schema["properties"].get(key)
            problems += (
                [f"{where}.{key}: unknown"]
                if inner is None
                else google_problems(item, inner, f"{where}.{key}")
            )
        return problems
    return []


def amazon_problems(node_config: dict[str, Any]) -> str:
    """What boto3 would refuse of the arguments of `run_instances`."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")
    given = {**node_config, "MinCount": 1, "MaxCount": 1}
    report: str = ParamValidator().validate(given, model.input_shape).generate_report()
    return report


def problems_of(config: dict[str, Any]) -> list[str]:
    """All that is wrong with a cluster's file: by Ray, and by what Ray does not look at."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    problems = []
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception as error:
        problems.append(str(error).splitlines()[0])
    provider = config.get("provider", {})
    if not provider.get("region"):
        problems.append("provider.region is missing")
    # Nothing but the user's own token comes along, and that is made by a command of Ray's.
    problems += [
        f"file_mounts: {source} is not there"
        for source in config.get("file_mounts", {}).values()
        if source != "~/.ray/auth_token" and not Path(source).expanduser().exists()
    ]
    for name, kind in config.get("available_node_types", {}).items():
        if "GPU" not in kind.get("resources", {}) or "CPU" not in kind["resources"]:
            problems.append(f"{name}: CPU and GPU are not written out")
        if provider.get("type") == "aws":
            problems += filter(None, [amazon_problems(kind["node_config"])])
        else:
            problems += google_problems(kind["node_config"], {"$ref": "Instance"})
    return problems


def test_nothing_is_wrong(config: dict[str, Any]) -> None:
    assert problems_of(config) == []


@pytest.mark.parametrize(
    ("name", "edit", "word"),
    [
        ("aws.yaml", lambda c: c.pop("max_workers") and c.update(max_worker=1), "max_worker"),
        ("aws.yaml", lambda c: c["provider"].pop("region"), "region"),
        ("gcp.yaml", lambda c: c["provider"].pop("region"), "region"),
        ("aws.yaml", lambda c: c["file_mounts"].update({"/x": "/nowhere/x"}), "/nowhere/x"),
        (
            "gcp.yaml",
            lambda c: c["available_node_types"]["gpu_spot"]["resources"].pop("GPU"),
            "gpu_spot",
        ),
        (
            "aws.yaml",
            lambda c: c["available_node_types"]["head"]["node_config"].update(InstanceTyp="x"),
            "InstanceTyp",
        ),
        (
            "gcp.yaml",
            lambda c: c["available_node_types"]["head"]["node_config"].update(machinetype="x"),
            "machinetype",
        ),
        (
            "gcp.yaml",
            lambda c: c["available_node_types"]["gpu_spot"]["node_config"]["scheduling"].update(
                provisioningModel="CHEAP"
            ),
            "CHEAP",
        ),
        ("aws.yaml", lambda c: c.update(head_node_type="haed"), "head_node_type"),
    ],
)
def test_mistakes_are_found(name: str, edit: Any, word: str) -> None:
    """The checks above can fail: each of these slips would otherwise cost an evening."""
    config = load(name)
    edit(config)
    assert any(word in problem for problem in problems_of(config))


def test_gpus_come_when_needed_and_go(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    assert types["head"]["resources"]["GPU"] == 0
    assert 0 < config["idle_timeout_minutes"] <= 10
    assert config["provider"]["cache_stopped_nodes"] is False
    for name in GPU_TYPES:
        assert types[name]["min_workers"] == 0 < types[name]["max_workers"]
        assert types[name]["resources"]["GPU"] >= 1
    spot, on_demand = (json.dumps(types[name]["node_config"]).lower() for name in GPU_TYPES)
    assert "spot" in spot and "spot" not in on_demand


def test_spot_is_first_and_on_demand_takes_over(config: dict[str, Any]) -> None:
    """Asked of the very function by which Ray's autoscaler chooses."""
    from ray.autoscaler._private.resource_demand_scheduler import (
        _default_utilization_scorer,
        get_nodes_for,
    )

    types = config["available_node_types"]

    def chosen(n_gpus: int, *, without: str = "") -> dict[str, int]:
        available = {name: kind for name, kind in types.items() if name != without}
        scorer = functools.partial(_default_utilization_scorer, node_availability_summary=None)
        work = [{"CPU": 1, "GPU": 1}] * n_gpus
        nodes, left = get_nodes_for(available, {"head": 1}, "head", 8, work, scorer)
        assert left == []
        return dict(nodes)

    assert chosen(3) == {"gpu_spot": 3}
    assert chosen(3, without="gpu_spot") == {"gpu_on_demand": 3}


@pytest.mark.parametrize("name", FILES)
def test_security(name: str) -> None:
    text = (CLUSTER / name).read_text()
    assert not SECRET.search(text)
    assert "0.0.0.0" not in text
    config = yaml.safe_load(text)
    assert config["provider"]["use_internal_ips"] is True
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert any("chmod 600" in command for command in config["setup_commands"])
    (head,) = (c for c in config["head_start_ray_commands"] if "ray start" in c)
    assert "--dashboard-host=127.0.0.1" in head
    for setting in ("RAY_health_check_period_ms", "RAY_health_check_timeout_ms"):
        assert any(setting in option for option in config["docker"]["run_options"])
    if config["provider"]["type"] == "gcp":
        for kind in config["available_node_types"].values():
            for interface in kind["node_config"]["networkInterfaces"]:
                assert "accessConfigs" not in interface  # that would be an outer address
    else:
        assert config["provider"]["security_group"]["GroupName"]
