"""Ray's environment variables, set while raypose uses Ray and restored afterwards.

Ray's native code reads its settings once, when `ray` is first imported, and the token when it
first needs one. A script or notebook may have used Ray before, so both are read again here. They
are not touched while Ray is initialised: they belong to the cluster that the process has joined.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError

from raypose.errors import ClusterError

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
_SET_BY_RAY = "PYTHONBREAKPOINT"  # as soon as a driver connects
_UV_RUN = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
# With 0 a node's address is the loopback address, and all of its processes listen there alone. Ray
# reads it on Linux too, and offers no other way: it replaces 127.0.0.1 as an address.
_REACHABLE = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR

_SETTINGS = {
    _UV_RUN: "0",  # else every worker starts through `uv run`
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "1",  # else a task that needs too much memory is repeated for ever
    "RAY_grpc_client_keepalive_time_ms": "10000",  # a cut link is noticed in seconds
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Threads start and end with every video. With a heap for each, glibc would keep the memory of
    # all of them; only the top of the first heap can be given back.
    "MALLOC_ARENA_MAX": "1",
}


class RayEnvironment:
    """The settings of this process while raypose uses Ray; Ray's processes inherit them."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def own_cluster(self) -> None:
        """For a cluster that this process starts: on the loopback address, with its own token.

        The user's token and mode are for other clusters, and may be empty or unreadable.
        """
        values: dict[str, str | None] = {
            MODE: "token",
            TOKEN: secrets.token_hex(32),
            TOKEN_PATH: None,
            _REACHABLE: "0",
        }
        if path := os.environ.get("PYTHONPATH"):
            here = os.path.realpath(os.curdir)
            kept = [p for p in path.split(os.pathsep) if p and os.path.realpath(p) != here]
            values["PYTHONPATH"] = os.pathsep.join(kept)
        self._set(values)

    def joined_cluster(self, *, has_token: bool) -> None:
        """Use the user's token, for a running cluster."""
        self._set({MODE: "token" if has_token else "disabled"})

    def _set(self, values: Mapping[str, str | None]) -> None:
        ours = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
        for name in (_SET_BY_RAY, *ours, *values):
            self._before.setdefault(name, os.environ.get(name))
        _put({**ours, **values})
        _read_again()

    def restore(self) -> None:
        """Restore the previous settings; Ray must be shut down."""
        if not self._before:
            return
        own_token = os.environ.get(TOKEN)
        _put(self._before)
        self._before.clear()
        if os.environ.get(MODE, "").lower() == "token" and own_token and not _has_token():
            # Threads of the ended session may still ask for a token, and Ray ends the process if
            # there is none.
            os.environ[TOKEN] = own_token
        _read_again()


def user_token() -> str:
    """The token that Ray finds for other clusters; empty if there is none.

    Raises:
        ClusterError: its file can't be read.
    """
    loader = AuthenticationTokenLoader.instance()
    if not ray.is_initialized():
        loader.reset_cache()  # it may hold another token
    try:
        return str(loader.get_raw_token(ignore_auth_mode=True))
    except AuthenticationError:
        raise ClusterError(
            "holds no token that can be read",
            path=os.environ.get(TOKEN_PATH, "~/.ray/auth_token"),
            hint=f"Put the cluster's token into it, or unset {TOKEN_PATH}.",
        ) from None


def _has_token() -> bool:
    try:
        return bool(user_token())
    except ClusterError:
        return False


def _read_again() -> None:
    assert not ray.is_initialized(), "the settings are those of the cluster"
    # In this order, so that no thread of an earlier session looks for a token that is gone.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = ray_constants.env_bool(_UV_RUN, True)
    reachable = ray_constants.env_bool(_REACHABLE, not ray_constants.IS_WINDOWS_OR_OSX)
    ray_constants.ENABLE_RAY_CLUSTER = reachable


def _put(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
