"""`raypose submit`, `jobs` and `stop`: runs as jobs of a cluster; `raypose status`: any run."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypose.cli.base import app, command, complain, console
from raypose.cli.options import config_of

if TYPE_CHECKING:
    from raypose.cluster.submit import Cluster, Job
    from raypose.config import RunConfig

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        help="The cluster's dashboard: http://HOST:8265.",
        show_default=False,
    ),
]
JobId = Annotated[str, typer.Argument(help="Id of the job; see raypose jobs.")]

# Settings that name places, which the cluster must see as they are written.
_PLACES = (
    *("videos", "models", "output_dir", "eks_dir", "run_dir", "data_dir"),
    *("sessions", "calibration", "bbox_dir", "scratch_dir"),
)


@app.command("submit")
@command
def submit(
    address: Address,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="-- run …: as on one machine.", show_default=False),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            help="NAME=value lines: the job's environment. Who has the token can read it.",
        ),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return when it is sent.")] = False,
    follow: Annotated[
        str | None, typer.Option("--follow", help="Follow this job instead of sending one.")
    ] = None,
    code: Annotated[
        str,
        typer.Option(
            "--code", help="[b]here[/]: this raypose goes along; [b]image[/]: the cluster has it."
        ),
    ] = "here",
) -> int:
    """Run on a cluster as a Ray job, and follow it: submit --address URL -- run …"""
    from raypose.errors import UsageError

    if follow is not None and arguments:
        raise UsageError("--follow takes no run to send")
    if code not in ("here", "image"):
        raise UsageError(f"--code is here or image, not {code!r}")
    if follow is None:
        # All that can be wrong here is found before anything is sent.
        config = _run_config(arguments or [])
        env = _environment(env_file)
    from raypose.cluster.submit import Cluster

    cluster = Cluster(address)
    if follow is None:
        follow = cluster.submit(
            config,
            command=shlex.join(["raypose", *(arguments or [])]),
            env=env,
            code="here" if code == "here" else "image",
        )
        console().print(f"sent as job {follow}")
    if no_wait:
        console().print(_way_back(cluster, follow))
        return 0
    return _follow(cluster, follow)


@app.command("jobs")
@command
def jobs(address: Address) -> int:
    """List the jobs of a cluster, the latest first."""
    from rich.table import Table

    from raypose.cluster.submit import Cluster
    from raypose.report.terminal import duration
    from raypose.text import markup

    table = Table("job", "state", "started", "took", "command", box=None)
    found = Cluster(address).jobs()
    for job in found:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started))
        table.add_row(
            job.id,
            job.state.lower(),
            began if job.started else "",
            duration(job.seconds),
            markup(job.command),
        )
    console().print(table if found else "no job was submitted to this cluster")
    return 0


@app.command("stop")
@command
def stop(job_id: JobId, address: Address) -> int:
    """Stop a job of a cluster. What it has finished stays done."""
    from raypose.cluster.submit import Cluster

    stopped = Cluster(address).stop(job_id)
    console().print(f"{job_id} is stopped" if stopped else f"{job_id} had ended before")
    return 0


@app.command("status")
@command
def status(
    run_dir: Annotated[
        Path, typer.Argument(help="The run's directory: raypose/ below -o, or --run-dir.")
    ],
) -> int:
    """Show how far a run is, also one that runs on another machine."""
    from raypose.report.status import print_status, read_status

    found = read_status(run_dir)
    print_status(console(), found)
    return 1 if found.failures or found.state == "dead" else 0


def _run_config(arguments: list[str]) -> RunConfig:
    """The run that `-- run …` asks for, by the options of `raypose run` themselves.

    Raises:
        UsageError: it is no `run`, an option is wrong, or a path means nothing on a cluster.
    """
    from raypose.errors import UsageError

    if arguments[:1] != ["run"]:
        raise UsageError(
            "there is no run to send",
            hint="Write it after two dashes: raypose submit --address URL -- run …",
        )
    run_command: Any = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    try:
        values = run_command.make_context("raypose run", arguments[1:]).params
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UsageError(error.format_message(), hint="See raypose run --help") from None
    config_file = values.pop("config", None)
    config = config_of(config_file, values)
    _check_places(config_file, values)
    if config.output_dir is None and config.run_dir is None:
        raise UsageError(
            "the job has no place for its log that outlives it",
            hint="Give -o, or --run-dir, on storage that the cluster sees.",
        )
    return config


def _check_places(config_file: Path | None, values: dict[str, Any]) -> None:
    """A path that is relative here would be relative to something else there."""
    from raypose.config import read_yaml
    from raypose.errors import UsageError

    given = dict(read_yaml(config_file)) if config_file is not None else {}
    given.update({name: value for name, value in values.items() if value not in (None, [], ())})
    for name in _PLACES:
        value = given.get(name)
        for place in value if isinstance(value, list | tuple) else (value,):
            if place is not None and not str(place).startswith("/") and "://" not in str(place):
                raise UsageError(
                    f"{place}: the cluster can't know where that is",
                    hint="Give the path from the root as the cluster's machines see it, or a URL.",
                )


def _environment(path: Path | None) -> dict[str, str]:
    from raypose.cluster.submit import read_env_file

    return {} if path is None else read_env_file(path)


def _follow(cluster: Cluster, job_id: str) -> int:
    from raypose.errors import ClusterError

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        job = cluster.follow(job_id, write)
    except KeyboardInterrupt:
        complain("left", f"the job goes on. {_way_back(cluster, job_id)}")
        return 130
    except ClusterError as error:
        raise ClusterError(error.message, hint=_way_back(cluster, job_id)) from error
    return _exit_code(job)


def _exit_code(job: Job) -> int:
    if job.state == "SUCCEEDED":
        return 0
    if job.state == "STOPPED":
        complain("stopped", f"job {job.id} was stopped; submit the same run again to go on")
        return 130
    if job.exit_code is None:
        complain("error", f"job {job.id} failed: {' '.join(job.message.split())}")
    return job.exit_code or 1


def _way_back(cluster: Cluster, job_id: str) -> str:
    return (
        f"Follow it with: raypose submit --address {cluster.address} --follow {job_id}   "
        f"End it with: raypose stop {job_id} --address {cluster.address}"
    )
