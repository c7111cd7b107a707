"""How to reach object stores: what the environment says, and the options of their packages.

Credentials, region and endpoint come from the environment or from the files of the AWS and Google
tools, in each process. raypose never writes them anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}
"""URL scheme → the extra of raypose that installs its package."""

SHARED_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "STORAGE_EMULATOR_HOST",
)
"""Variables that say where a store is. None is a secret, and workers get the driver's."""

_MAX_ATTEMPTS = 4


def shared_environment() -> dict[str, str]:
    """The driver's variables that say where stores are, for workers whose nodes lack them."""
    return {name: os.environ[name] for name in SHARED_VARIABLES if name in os.environ}


def apply_environment(values: Mapping[str, str]) -> None:
    """Take over a driver's `shared_environment`; variables that are set here stay."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def endpoint_url() -> str | None:
    """The S3 endpoint that the environment names."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def options(scheme: str) -> dict[str, Any]:
    """Options of `UPath` for URLs of this scheme."""
    # Listings are not cached: a run must see what another one has just written.
    chosen: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        # s3fs does not retry concurrent reads that break off; `object_store.fetch` has its own.
        config: dict[str, Any] = {}
        if "AWS_MAX_ATTEMPTS" not in os.environ:
            config["retries"] = {"mode": "standard", "max_attempts": _MAX_ATTEMPTS}
        chosen |= {"config_kwargs": config, "max_concurrency": 1}
        # Named here, so that it is part of what tells one store from another.
        chosen["endpoint_url"] = endpoint_url()
        # botocore itself reads only AWS_DEFAULT_REGION; all other tools read both.
        region = os.environ.get("AWS_REGION")
        if region:
            chosen["client_kwargs"] = {"region_name": region}
    return chosen
