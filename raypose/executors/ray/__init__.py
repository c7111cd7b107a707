"""The plan on Ray: GPU tasks on workers that own a GPU, the rest on CPU actors.

One long-lived actor holds one GPU (a GPU task of Ray's own would start a process each time), and
keeps its networks between tasks. All tasks of a session are submitted at once; each takes the
results it depends on as futures, so that Ray does the waiting and hands tables over through the
object store. The driver keeps a bounded number of sessions in flight and listens.

What goes wrong: Ray starts dead workers again and repeats their calls; an actor without a GPU or
CPU (`Board`) counts the attempts, so that a video that kills its worker each time fails by name
in the end. What was on a node that is gone is done on the others (`crew`, `flight`).

`actors` is what runs on the cluster, `crew` and `flight` what the driver knows of it, `executor`
the whole.
Nothing outside of this package imports ray.
"""

from __future__ import annotations

import os

# Read when ray is imported, or when the processes of a cluster on this machine start.
for _name, _value in {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker starts through `uv run`
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "1",  # else a task that outgrows the memory is repeated for ever
    "RAY_grpc_client_keepalive_time_ms": "10000",  # a cut link is noticed in seconds
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Threads come and go with every video; with a heap for each, glibc keeps what all of them had.
    # Only the top of the first heap can be given back when asked for.
    "MALLOC_ARENA_MAX": "1",
    "RAY_AUTH_MODE": "token",  # no cluster of ours takes work from whoever finds its port
}.items():
    os.environ.setdefault(_name, _value)

from raypose.executors.ray.executor import RayExecutor  # noqa: E402

__all__ = ["RayExecutor"]
