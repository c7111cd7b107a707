"""`raypose submit`, `jobs` and `stop`: runs as jobs of a cluster; `raypose status`: any run."""

from __future__ import annotations

import functools
import importlib
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raypose.cli.base import app, command, complain, console, directory_of_run
from raypose.cli.mistakes import as_usage_error
from raypose.cli.options import SHOWN, checked_option, config_of, given
from raypose.config import RunConfig, read_settings
from raypose.config.schemas import Allowed, marks_of
from raypose.errors import ClusterError, UsageError
from raypose.text import markup

if TYPE_CHECKING:
    from raypose.cluster.submit import Cluster

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="URL",
        help="Address of the cluster's dashboard: http://HOST:8265.",
        show_default=False,
    ),
]
Code = Literal["here", "image"]
_CODE = "Which raypose to use: here sends this machine's, image uses the one on the cluster."
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job, as listed by raypose jobs.")
]


@app.command(
    "submit",
    epilog="""raypose submit --address http://head:8265 -- run /videos -m /model -o /out
    raypose submit --address http://head:8265 --follow JOB""",
)
@command
def submit(
    address: Address,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- run …",
            help="The run, with the arguments of raypose run: -- run …",
            show_default=False,
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="File of environment variables for the job, one NAME=value per line. Anyone with "
            "the cluster's token can read them.",
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return as soon as the job is sent.")
    ] = False,
    follow: Annotated[
        str | None,
        typer.Option("--follow", metavar="JOB", help="Follow this job instead of sending one."),
    ] = None,
    code: Annotated[Any, checked_option(Code, "--code", help=_CODE)] = "here",
) -> int:
    """Send a run to a Ray cluster as a job, and follow it: submit --address URL -- run …"""
    from raypose.cluster.submit import Cluster, read_env_file

    if follow is not None and arguments:
        raise UsageError("--follow follows a job that exists: leave out the run")
    if follow is None:
        # Mistakes are found before anything is sent.
        config = _run_config(arguments or [])
        env = {} if env_file is None else read_env_file(env_file)
    cluster = Cluster(address)
    if follow is None:
        command_line = shlex.join(["raypose", *(arguments or [])])
        follow = cluster.submit(config, command=command_line, env=env, code=code)
        console().print(f"sent as job {follow}")
    if no_wait:
        console().print(_commands(cluster, follow))
        return 0
    return _follow(cluster, follow)


@app.command("jobs", epilog="raypose jobs --address http://head:8265")
@command
def jobs(address: Address) -> int:
    """List the jobs of a cluster, newest first."""
    from rich.table import Table

    from raypose.cluster.submit import Cluster
    from raypose.report.terminal import duration

    table = Table("job", "state", "started", "took", "command", box=None)
    found = Cluster(address).jobs()
    for job in found:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started)) if job.started else ""
        took, command = duration(job.seconds), markup(job.command)
        table.add_row(job.id, job.state.lower(), began, took, command)
    console().print(table if found else "no jobs on this cluster")
    return 0


@app.command("stop", epilog="raypose stop JOB --address http://head:8265")
@command
def stop(job_id: JobId, address: Address) -> int:
    """Stop a job on a cluster. Finished outputs are kept."""
    from raypose.cluster.submit import Cluster

    stopped = Cluster(address).stop(job_id)
    console().print(f"{job_id} is stopped" if stopped else f"{job_id} had already ended")
    return 0


@app.command("status", epilog="raypose status out\nraypose status out --watch")
@command
def status(
    directory: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="Output directory (-o) of the run, or its run directory."
        ),
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run until it ends.")] = False,
) -> int:
    """Show the progress of a run, on this machine or another."""
    from raypose.report.status import read_status
    from raypose.report.status_view import follow_status, print_status

    run_dir = directory_of_run(directory)
    if watch:
        try:
            found = follow_status(console(), run_dir)
        except KeyboardInterrupt:
            return 130  # the run goes on, and its state was on the screen
    else:
        found = read_status(run_dir)
        print_status(console(), found)
    return 1 if found.failures or found.stopped_by or found.state == "dead" else 0


def _run_config(arguments: list[str]) -> RunConfig:
    """The run that `-- run …` asks for, parsed as `raypose run` parses it."""
    if arguments[:1] != ["run"]:
        hint = "Write the run after two dashes: raypose submit --address URL -- run …"
        raise UsageError("there is no run to send", hint=hint)
    importlib.import_module("raypose.cli.run")  # its command, not the stub of `--help`
    run_command: Any = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    try:
        values = run_command.make_context("raypose run", arguments[1:]).params
    except Exception as error:
        refusal = as_usage_error(error)
        if refusal is None:
            raise
        raise refusal from None
    config_file = values.pop("config_file", None)
    if any(values.get(name) for name in SHOWN):
        raise UsageError("--json and --quiet show a run here; a job's output is its log")
    values = {name: value for name, value in values.items() if name not in SHOWN}
    config: RunConfig = config_of(config_file, values)
    # A relative path would be relative to another directory on the cluster.
    from_file = {} if config_file is None else read_settings(config_file, RunConfig)
    written = {**from_file, **given(values)}
    for name in _settings_with_paths():
        value = written.get(name)
        for path in value if isinstance(value, list | tuple) else (value,):
            if path is not None and not str(path).startswith("/") and "://" not in str(path):
                hint = "Give an absolute path as the cluster's machines see it, or a URL."
                raise UsageError(f"{path}: the cluster can't resolve a relative path", hint=hint)
    if config.output_dir is None and config.run_dir is None:
        hint = "Give -o or --run-dir on storage that the cluster's machines see."
        raise UsageError("the job's log would be lost with the job", hint=hint)
    return config


def _settings_with_paths() -> list[str]:
    """Names of the settings whose paths the cluster must see as they are written."""
    paths = [
        name
        for name, field in RunConfig.model_fields.items()
        if any(mark.metavar == "PATH" for mark in marks_of(field, Allowed))
    ]
    return ["videos", "models", *paths]


def _follow(cluster: Cluster, job_id: str) -> int:
    try:
        job = cluster.follow(job_id, functools.partial(print, end="", flush=True))
    except KeyboardInterrupt:
        complain("detached", f"the job goes on. {_commands(cluster, job_id)}")
        return 130
    except ClusterError as error:
        raise ClusterError(error.message, hint=_commands(cluster, job_id)) from error
    if job.state == "SUCCEEDED":
        return 0
    if job.state == "STOPPED":
        complain("stopped", f"job {job.id} was stopped; submit the same run again to continue")
        return 130
    if job.exit_code is None:
        complain("error", f"job {job.id} failed: {' '.join(job.message.split())}")
    return job.exit_code or 1


def _commands(cluster: Cluster, job_id: str) -> str:
    """How to follow a job and how to stop it."""
    follow = f"Follow it with: raypose submit --address {cluster.address} --follow {job_id}"
    return f"{follow}   Stop it with: raypose stop {job_id} --address {cluster.address}"
