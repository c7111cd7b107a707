"""Runs as jobs of a Ray cluster: submit, follow, list and stop them over HTTP.

The driver of such a run is on the cluster's head node. Ray's job client sends the settings as a
`run.yaml`, validated here first; the package itself, unless the cluster's image has it; and
environment variables. This module turns its errors into raypose's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from raypose._version import __version__
from raypose.config import RunConfig
from raypose.errors import ClusterError, UsageError
from raypose.text import without_secrets

Code = Literal["here", "image"]

_CONNECT_S = 10.0
_CONFIG = "run.yaml"
_PREFLIGHT = "preflight.py"
_AGENT_WAIT_S = 180.0  # a busy head node takes more than a minute to start its agent
_PYTHON = ("3.10", "3.14")  # as in pyproject.toml: the oldest that works, and the first too new


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a cluster."""

    id: str  # the argument of `follow` and `stop`
    state: str  # PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED
    command: str  # as it was typed; Ray's entrypoint for other jobs
    started: float  # seconds since the epoch; 0 before it has started
    seconds: float  # how long it ran, or has run so far
    exit_code: int | None  # None while it runs, or if Ray does not know it
    message: str  # why it ended, according to Ray

    @property
    def ended(self) -> bool:
        return self.state in ("SUCCEEDED", "FAILED", "STOPPED")


def read_env_file(path: Path) -> dict[str, str]:
    """Variables from a file with one `NAME=value` per line, in the usual `.env` form.

    Raises:
        UsageError: the file can't be read, or a line holds something else.
    """
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"can't be read ({reason})", path=path) from None
    values = {}
    for binding in bindings:
        name, value = binding.key, binding.value
        if name is not None and value is not None and name.isidentifier():
            values[name] = value
        elif name is not None or binding.error:
            # The line itself may hold a secret, so it is not shown.
            raise UsageError(f"line {binding.original.line} is not NAME=value", path=path)
    return values


class Cluster:
    """A cluster's job server, at `http://HOST:PORT` of the dashboard, or `HOST:PORT`.

    Raises:
        UsageError: the address is not valid.
        ClusterError: nothing answers there, or the token is rejected.
    """

    def __init__(self, address: str) -> None:
        self.address = _url(address)
        _check_connection(self.address)
        from ray.job_submission import JobSubmissionClient

        for name in logging.root.manager.loggerDict:
            if name.startswith("ray."):  # they log each upload and each closed connection
                logging.getLogger(name).setLevel(logging.WARNING)
        with self._named_errors(), _variable("RAY_API_SERVER_ADDRESS", self.address):
            # For the client the variable takes precedence over its argument.
            self._client = JobSubmissionClient(self.address, headers=_token_header())

    def submit(
        self, config: RunConfig, *, command: str, env: Mapping[str, str], code: Code = "here"
    ) -> str:
        """Submit a run, with paths as the cluster's machines see them; returns the id of its job.

        Lists of jobs show it as `command`; `env` is the environment of the job and its workers.
        The code `here` sends this raypose along, `image` uses the one of the cluster.

        Raises:
            ClusterError: the cluster has another version of Ray, or rejects the job.
        """
        from ray import __version__ as ours

        theirs = getattr(self._client, "_server_ray_version", ours)
        if theirs.split(".")[:2] != ours.split(".")[:2]:
            raise ClusterError(
                f"the cluster at {self.address} runs Ray {theirs}, this machine {ours}",
                hint="Use the image of cluster/Dockerfile, or the cluster's version of raypose.",
            )
        job_id = f"raypose-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        with tempfile.TemporaryDirectory(prefix="raypose-job-") as folder:
            Path(folder, _CONFIG).write_text(_settings(config), encoding="utf-8")
            shutil.copy(Path(__file__).with_name(_PREFLIGHT), folder)
            runtime_env: dict[str, Any] = {"env_vars": dict(env), "working_dir": folder}
            if code == "here":
                runtime_env["py_modules"] = [str(Path(__file__).parents[1].absolute())]
                runtime_env["excludes"] = ["**/__pycache__/**"]
            with self._named_errors():
                self._send(
                    entrypoint=_entrypoint(code),
                    submission_id=job_id,
                    runtime_env=runtime_env,
                    metadata={"command": without_secrets(command), "raypose": __version__},
                )
        return job_id

    def _send(self, **job: Any) -> None:
        """Submit a job; if the head node has just started, wait for its agent."""
        give_up = time.monotonic() + _AGENT_WAIT_S
        while True:
            try:
                self._client.submit_job(**job)
                return
            except RuntimeError as error:
                if "No available agent" not in str(error):
                    raise
                if time.monotonic() > give_up:
                    raise ClusterError(
                        f"the cluster at {self.address} is up, but has not started the agent that "
                        f"takes jobs within {_AGENT_WAIT_S:.0f} s",
                        hint="Try again in a minute. If it stays so, read dashboard_agent.log in "
                        "the head node's Ray logs.",
                    ) from error
                time.sleep(1)

    def follow(self, job_id: str, write: Callable[[str], None]) -> Job:
        """Pass on what the job prints, from its first line, until it ends.

        Raises:
            ClusterError: there is no such job, or the connection was lost; the job continues.
            KeyboardInterrupt: at Ctrl-C; the job continues.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job_id):
                write(text)

        self.job(job_id)  # so that a wrong id has its own message
        with self._named_errors(f"lost the connection to job {job_id}; the job goes on"):
            asyncio.run(tail())
        while not (job := self.job(job_id)).ended:
            time.sleep(0.3)  # the log ends a moment before the job does
        return job

    def job(self, job_id: str) -> Job:
        """The current state of a job; a `ClusterError` where there is none."""
        with self._named_errors(f"there is no job {job_id} at {self.address}"):
            return _job(self._client.get_job_info(job_id))

    def jobs(self) -> list[Job]:
        """All jobs that were submitted to the cluster, the latest first."""
        with self._named_errors():
            found = [_job(info) for info in self._client.list_jobs() if info.submission_id]
        return sorted(found, key=lambda job: job.started, reverse=True)

    def stop(self, job_id: str) -> bool:
        """Stop a job; False if it had already ended. Finished outputs are kept."""
        self.job(job_id)
        with self._named_errors():
            return bool(self._client.stop_job(job_id))

    @contextlib.contextmanager
    def _named_errors(self, meaning: str = "") -> Iterator[None]:
        """Turn errors from Ray and HTTP into a `ClusterError` that says what to do."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(
                f"the cluster at {self.address} rejected the token",
                hint="Put the cluster's token into ~/.ray/auth_token or RAY_AUTH_TOKEN.",
            ) from error
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            what = " ".join(str(error).split())[:300]
            raise ClusterError(
                f"{meaning or f'the cluster at {self.address} does not answer like Ray'} ({what})",
                hint="raypose jobs lists the jobs of the cluster.",
            ) from error


def _token_header() -> dict[str, str]:
    """The header with the user's token, whatever this process has done with Ray before.

    Ray's client adds it by itself only where `RAY_AUTH_MODE` was set before ray was imported.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return {}
    from raypose.execution.ray.environment import user_token

    token = user_token()
    return {"authorization": f"Bearer {token}"} if token else {}


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _url(address: str) -> str:
    url = address if "://" in address else f"http://{address}"
    parts = urlsplit(url)
    with contextlib.suppress(ValueError):  # the port is not a number
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return f"{parts.scheme}://{parts.netloc}"
    raise UsageError(
        f"{address!r} is not the address of a cluster's dashboard",
        hint="Give --address http://HOST:8265.",
    )


def _check_connection(url: str) -> None:
    """Fail early: without an answer the job client waits for minutes."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise ClusterError(
            f"the cluster at {url} can't be reached ({error.strerror or error})",
            hint="Check the address, and that its tunnel is open (ray dashboard cluster/aws.yaml, "
            "or kubectl port-forward).",
        ) from None


def _settings(config: RunConfig) -> str:
    """The run's settings as YAML; its driver joins the cluster that it runs on."""
    values = config.model_dump(mode="json", exclude_unset=True)
    if not config.inline and config.address is None:
        values["address"] = "auto"
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _entrypoint(code: Code) -> str:
    version = __version__ if code == "image" else ""
    first = shlex.join(["python", _PREFLIGHT, *_PYTHON, version])
    return f"{first} && exec python -m raypose run --config {_CONFIG}"


def _job(info: Any) -> Job:
    began = (info.start_time or 0) / 1000
    ended = (info.end_time or 0) / 1000 or time.time()
    return Job(
        id=info.submission_id or "",
        state=str(getattr(info.status, "value", info.status)),
        command=(info.metadata or {}).get("command", info.entrypoint),
        started=began,
        seconds=ended - began if began else 0.0,
        exit_code=info.driver_exit_code,
        message=info.message or "",
    )
