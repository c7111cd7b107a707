"""Connecting to Ray: a new cluster on this machine, a running one, or the one already joined.

The cluster itself is asked first whether it requires a token: if only one side has one, Ray hangs
or loses its actors without saying why.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import ray
from ray._private import ray_constants, services
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from raypose.errors import ClusterError, RayposeError
from raypose.execution.base import Wait
from raypose.execution.interrupts import sigterm_handler_kept
from raypose.execution.ray.environment import MODE, TOKEN, RayEnvironment, user_token
from raypose.execution.ray.folder import ray_folder
from raypose.execution.ray.guard import Guard
from raypose.execution.ray.isolation import JobPath
from raypose.execution.ray.output import RayOutput
from raypose.execution.ray.starting import start_ray
from raypose.worker.budget import usable_cores

_VITAL = ("gcs_server", "raylet")
_ANSWER_S = 10.0
_ASK_AGAIN_S = 0.5
_TOKEN_HINT = f"Put the cluster's token into ~/.ray/auth_token or {TOKEN}."


@dataclass(frozen=True, slots=True)
class Connection:
    """This process's connection to Ray."""

    name: str  # what it is connected to, for the user
    # Whether that is a Ray on this machine alone, started by this process. False if an address was
    # given: other machines may have joined it.
    is_local: bool
    environment: RayEnvironment | None = None  # to restore; None if it was connected before
    output: RayOutput | None = None  # to restore; None if it was connected before
    guard: Guard | None = None  # of a Ray that this process has started

    def check(self) -> None:
        """Raises ClusterError where a process that this machine's Ray needs has died.

        Ray itself would wait for a minute, and then end this process.
        """
        node = ray._private.worker._global_node
        if not self.is_local or node is None:
            return
        dead = [kind for kind, _ in node.dead_processes() if kind in _VITAL]
        if dead:
            raise ClusterError(
                f"Ray on this machine has died (its process {dead[0]} ended)",
                hint="Run the same command again: finished outputs are kept. If memory is short, "
                "--cpus and --gpus make it smaller; --inline runs without Ray.",
            )

    def shows_errors(self) -> AbstractContextManager[None]:
        """Inside the block the standard error is the user's."""
        return nullcontext() if self.output is None else self.output.paused()

    def close(self) -> None:
        try:
            if self.environment is not None:
                ray.shutdown()
                self.environment.restore()
        finally:
            if self.guard is not None:
                self.guard.close()
            if self.output is not None:
                self.output.restore()


def connect(
    address: str | None,
    gpus: int | None,
    cpus: int | None = None,
    log: Path | None = None,
    on_wait: Wait = lambda what: None,
) -> Connection:
    """Join the cluster, or start one on this machine; a connected process keeps its connection.

    Args:
        address: `HOST:PORT`, `auto`, or `local` or None for this machine.
        gpus: how many this machine has; None for what Ray finds.
        cpus: cores of this machine to use; None for all that this process may use.
        log: file for what Ray prints in this process; None drops it.
        on_wait: is told what is waited for.
    """
    if ray.is_initialized():
        return _joined_before(address)
    if address == "local":
        address = None
    environment, output = RayEnvironment(), RayOutput(log)
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "namespace": "raypose",
        "job_config": JobPath(),
    }
    try:
        if address is None:
            environment.own_cluster()
            output.redirect()
            options |= {"num_gpus": gpus, "num_cpus": min(cpus or usable_cores(), usable_cores())}
            options["_temp_dir"] = str(ray_folder())
            guard = start_ray(on_wait, **options)
            return Connection("Ray on this machine", True, environment, output, guard)
        on_wait(f"Joining the Ray cluster {address}")
        where = _canonical(address)
        has_token = _wants_token(where, address)
        environment.joined_cluster(has_token=has_token)
        output.redirect()
        with sigterm_handler_kept():
            ray.init(address=where, **options)
    except BaseException as error:  # Ray also raises bare ones, if a node is slow to start
        ray.shutdown()
        environment.restore()
        output.restore()
        if isinstance(error, RayposeError) or not isinstance(error, Exception):
            raise
        raise _cluster_error(error, address, options.get("_temp_dir", "")) from error
    open_to_all = "" if has_token else " (which requires no token)"
    return Connection(f"the Ray cluster {address}{open_to_all}", False, environment, output)


@contextmanager
def held_open(
    address: str | None, gpus: int | None, cpus: int | None, log: Path
) -> Iterator[Connection]:
    """A connection that all runs inside the block join; see `connect`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    connection = connect(address, gpus, cpus, log)
    try:
        yield connection
    finally:
        connection.close()


def _joined_before(address: str | None) -> Connection:
    """The existing connection, if it is to the cluster that was asked for."""
    node = ray._private.worker._global_node
    if node is None:
        raise ClusterError(
            "this process is connected to a cluster through Ray Client, which raypose can't use",
            hint="Call ray.shutdown() first, and give HOST:PORT of the cluster's head.",
        )
    here = bool(node.is_head())  # started by this process
    now = str(node.gcs_address)
    is_same = here if address == "local" else True
    if address not in (None, "auto", "local"):
        is_same = _is_same(_canonical(str(address)), now)
    if not is_same:
        raise ClusterError(
            f"this process is connected to the Ray cluster at {now} and not to {address}",
            hint="Call ray.shutdown() first, or leave the address out.",
        )
    is_local = here and address in (None, "local")
    return Connection("Ray on this machine" if here else f"the Ray cluster {now}", is_local)


def _is_same(one: str, other: str) -> bool:
    """Whether two `HOST:PORT` are the same, by name or by IP address."""
    (host, port), (other_host, other_port) = one.rsplit(":", 1), other.rsplit(":", 1)
    return port == other_port and bool(_ip_addresses(host) & _ip_addresses(other_host))


def _ip_addresses(host: str) -> set[str]:
    host = host.strip("[]")
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}


def _canonical(address: str) -> str:
    if "://" in address:
        raise ClusterError(
            f"{address!r} is no address of a Ray cluster",
            hint="Give HOST:PORT of its head from a machine of the cluster, or use raypose "
            "submit.",
        )
    try:
        where = services.canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError, OSError) as error:
        raise ClusterError(
            f"{address!r} is no address of a Ray cluster ({error})",
            hint="Give HOST:PORT of its head.",
        ) from error
    if where is None:
        raise ClusterError(
            "no Ray cluster runs on this machine",
            hint="Give HOST:PORT of one, or leave --address out to start one for this run.",
        )
    return str(where)


def _wants_token(where: str, address: str) -> bool:
    """Whether the cluster requires a token, and accepts ours."""
    mode = os.environ.get(MODE, "").lower()
    if _accepts("", where, address):
        if mode == "token":
            raise ClusterError(
                f"the Ray cluster at {address} requires no token, and this process has "
                f"{MODE}=token",
                hint="Start the cluster with a token; or unset the variable to join it all the "
                "same: anyone who reaches its ports can run code on it.",
            )
        return False
    if mode == "disabled":
        raise ClusterError(
            f"the Ray cluster at {address} wants a token, and this process has {MODE}=disabled",
            hint=f"Unset {MODE}.",
        )
    token = user_token()
    if not token:
        raise ClusterError(
            f"the Ray cluster at {address} wants a token, and there is none here",
            hint=_TOKEN_HINT,
        )
    if not _accepts(token, where, address):
        raise ClusterError(f"the Ray cluster at {address} rejects the token", hint=_TOKEN_HINT)
    return True


def _accepts(token: str, where: str, address: str) -> bool:
    """Whether the head answers to this token, or without one where it is empty.

    Asks for the cluster's id. Ray's own clients wait longer, print warnings, and can't be given a
    token.
    """
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    deadline = time.monotonic() + _ANSWER_S
    while True:
        with _channel(where) as channel:
            stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            request = gcs_service_pb2.GetClusterIdRequest()
            try:
                stub.GetClusterId(request, timeout=_ANSWER_S, metadata=metadata)
                return True
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
        if code == grpc.StatusCode.UNAUTHENTICATED:
            return False
        # A cluster that is starting does not listen yet.
        if code != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
            raise ClusterError(
                f"no Ray cluster answers at {address} ({' '.join(str(details).split())[:200]})",
                hint="Check the address and that the cluster runs.",
            )
        time.sleep(_ASK_AGAIN_S)


def _channel(where: str) -> Any:
    options = ray_constants.GLOBAL_GRPC_OPTIONS
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(where, options=options)
    from ray._common.tls_utils import load_certs_from_env

    chain, key, root = load_certs_from_env()
    credentials = grpc.ssl_channel_credentials(root, key, chain)
    return grpc.secure_channel(where, credentials, options=options)


def first_line(error: BaseException) -> str:
    """An error from Ray without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _cluster_error(error: Exception, address: str | None, folder: str) -> ClusterError:
    """`folder` is that of the Ray that was to be started here, as far as it came."""
    if address is None:
        return ClusterError(
            f"Ray could not be started on this machine ({first_line(error)})",
            hint=f"See the logs of the newest session in Ray's folder ({folder}), and try "
            "again where the machine was busy; --inline runs without Ray.",
        )
    return ClusterError(
        f"the Ray cluster at {address} can't be joined ({first_line(error)})",
        hint="Check that its nodes run and that this machine reaches their ports.",
    )
