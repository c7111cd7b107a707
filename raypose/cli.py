"""The command line: parse, call, print, exit code; nothing else.

Exit codes: 0 all is made, 1 something failed, 2 the command line is wrong, 130 stopped by Ctrl-C.
Heavy imports live inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from raypose._version import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from raypose.config import RunConfig
    from raypose.pipeline import RunResult

app = typer.Typer(
    name="raypose",
    help="Lightning Pose models over many, or very large, videos on every GPU there is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

P = ParamSpec("P")
_debug = False
_WIDTH_OF_A_FILE = 1000


def _version(value: bool) -> None:
    if value:
        typer.echo(f"raypose {__version__}")
        raise typer.Exit()


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _debug
    _debug = debug


def _command(function: Callable[P, int]) -> Callable[P, None]:
    """A command that turns errors into one line and an exit code."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        from raypose.errors import Failure, RayposeError, UsageError

        try:
            code = function(*args, **kwargs)
        except KeyboardInterrupt:
            _complain("stopped", "what is done stays done; the same command goes on from there")
            code = 130
        except BrokenPipeError:
            # The reader of our output is gone (`raypose plan | head`): nothing to complain about.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except typer.Exit:
            raise
        except Exception as error:
            if _debug:
                raise
            _complain("error", str(Failure.of("run", error)))
            code = 2 if isinstance(error, UsageError) else 1
            assert isinstance(error, RayposeError) or code == 1
        raise typer.Exit(code)

    return wrapped


def _complain(word: str, sentence: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[red]{word}:[/] {escape(sentence)}")


Videos = Annotated[
    list[str] | None,
    typer.Argument(help="Video files, directories or globs.", show_default=False),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Model directory; give it again for each member."),
]
Metrics = Annotated[
    bool | None,
    typer.Option("--metrics/--no-metrics", help="Temporal norm and PCA errors. [dim]\\[on][/]"),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        help="[b]full[/]: the whole video with predictions drawn; [b]snippet[/]: the 30 s with "
        "the highest motion energy. May be given twice.",
    ),
]
Eks = Annotated[
    bool | None,
    typer.Option("--eks/--no-eks", help="Smooth the ensemble of all models. [dim]\\[off][/]"),
]
EksDir = Annotated[Path | None, typer.Option("--eks-dir", help="Where smoothed tables go.")]
LayoutOption = Annotated[
    str | None,
    typer.Option("--layout", help="File names of the Lightning Pose [b]app[/] or [b]pose-app[/]."),
]
Timestamps = Annotated[
    bool | None,
    typer.Option("--timestamps", help="A table frame → seconds beside the predictions."),
]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", "-o", help="Root of all outputs; else the model directories."),
]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="Where ledger and log go.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Training data, where the config's has moved.")
]
Recursive = Annotated[
    bool | None, typer.Option("--recursive", help="Search directories at all depths.")
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16. [dim]\\[auto][/]")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda. [dim]\\[auto][/]")
]
Gpus = Annotated[int | None, typer.Option("--gpus", help="GPUs to use. [dim]\\[all][/]")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Frames a batch.")]
ChunkFrames = Annotated[
    int | None,
    typer.Option("--chunk-frames", help="Longest range of frames that is one GPU task."),
]
Address = Annotated[
    str | None, typer.Option("--address", help="Ray cluster: auto, HOST:PORT or local.")
]
Inline = Annotated[bool | None, typer.Option("--inline", help="One process, without Ray.")]
Overwrite = Annotated[
    bool | None, typer.Option("--overwrite", help="Make again what is done already.")
]
Strict = Annotated[
    bool | None, typer.Option("--strict", help="A frame that can't be decoded fails its video.")
]
Unsafe = Annotated[
    bool | None,
    typer.Option(
        "--allow-unsafe-checkpoint",
        help="Unpickle whatever a checkpoint holds. It can run code of whoever wrote the file.",
    ),
]
Override = Annotated[
    list[str] | None,
    typer.Option("--override", help="key=value on the models' config; may be given again."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file with these settings; the command line wins."),
]


def _config(config_file: Path | None, **values: Any) -> RunConfig:
    from raypose.config import RunConfig

    given = {name: value for name, value in values.items() if value not in (None, [])}
    if config_file is not None:
        return RunConfig.from_yaml(config_file, given)
    return RunConfig.build(**{"videos": (), "models": (), **given})


def _shared_options(function: Callable[[RunConfig], int]) -> Callable[..., None]:
    """A command with the arguments that `run` and `plan` share."""

    @_command
    def command(
        videos: Videos = None,
        model: Models = None,
        metrics: Metrics = None,
        label: Label = None,
        timestamps: Timestamps = None,
        eks: Eks = None,
        eks_dir: EksDir = None,
        output_dir: OutputDir = None,
        layout: LayoutOption = None,
        data_dir: DataDir = None,
        recursive: Recursive = None,
        precision: PrecisionOption = None,
        device: DeviceOption = None,
        gpus: Gpus = None,
        batch_size: BatchSize = None,
        chunk_frames: ChunkFrames = None,
        address: Address = None,
        inline: Inline = None,
        overwrite: Overwrite = None,
        strict: Strict = None,
        override: Override = None,
        run_dir: RunDir = None,
        allow_unsafe_checkpoint: Unsafe = None,
        config: ConfigFile = None,
    ) -> int:
        return function(
            _config(
                config,
                videos=videos,
                models=model,
                metrics=metrics,
                label=label,
                timestamps=timestamps,
                eks=eks,
                eks_dir=eks_dir,
                output_dir=output_dir,
                layout=layout,
                data_dir=data_dir,
                recursive=recursive,
                precision=precision,
                device=device,
                gpus=gpus,
                batch_size=batch_size,
                chunk_frames=chunk_frames,
                address=address,
                inline=inline,
                overwrite=overwrite,
                strict=strict,
                overrides=override,
                run_dir=run_dir,
                allow_unsafe_checkpoint=allow_unsafe_checkpoint,
            )
        )

    command.__doc__ = function.__doc__
    return command


def _run(config: RunConfig) -> int:
    """Predict every video with every model; metrics, labelled videos and EKS as asked for."""
    return _run_and_show(config).exit_code


app.command("run")(_shared_options(_run))


def _console() -> Console:
    """The console of the standard output; in a file, lines and paths are never broken."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=_WIDTH_OF_A_FILE)


def _run_and_show(config: RunConfig) -> RunResult:
    from raypose.pipeline import run
    from raypose.report.tables import print_result
    from raypose.report.terminal import live_display

    console = _console()
    result = run(config, display=live_display(console))
    print_result(console, result)
    return result


def _plan(config: RunConfig) -> int:
    """Show what run would do with the same arguments, touching nothing."""
    from raypose.pipeline import plan
    from raypose.report.tables import print_plan

    made = plan(config)
    print_plan(_console(), made)
    return 1 if any(problem.fatal for problem in made.problems) else 0


app.command("plan")(_shared_options(_plan))


def _flag(value: str) -> bool:
    word = value.strip().lower()
    if word not in ("true", "false"):
        raise typer.BadParameter(f"{value!r} is neither true nor false")
    return word == "true"


Flag = Annotated[Any, typer.Argument(parser=_flag, metavar="true|false")]
Inline2 = Annotated[bool, typer.Option("--inline", help="One process, without Ray.")]
Device2 = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def _labels(full: bool, snippet: bool) -> tuple[str, ...]:
    return (*(["full"] if full else []), *(["snippet"] if snippet else []))


def _run_as_pose_app(**values: Any) -> int:
    """A run with the Pose-app's file names; returns the exit code."""
    from raypose.config import RunConfig

    return _run_and_show(RunConfig.build(layout="pose-app", **values)).exit_code


@app.command("process-videos")
@_command
def process_videos(
    model_dir: Annotated[str, typer.Argument(help="Model directory.")],
    video_dir: Annotated[str, typer.Argument(help="Directory of videos.")],
    compute_metrics: Flag,
    label_full: Flag,
    label_snippet: Flag,
    inline: Inline2 = False,
    device: Device2 = "auto",
    data_dir: DataDir = None,
) -> int:
    """One model over a directory of videos, with the files of the Pose-app."""
    return _run_as_pose_app(
        videos=(video_dir,),
        models=(model_dir,),
        metrics=compute_metrics,
        label=_labels(label_full, label_snippet),
        inline=inline,
        device=device,
        data_dir=data_dir,
    )


@app.command("process-videos-ensemble")
@_command
def process_videos_ensemble(
    model_dirs: Annotated[str, typer.Argument(help="Model directories, separated by colons.")],
    video_dir: Annotated[str, typer.Argument(help="Directory of videos.")],
    compute_metrics: Flag,
    label_full: Flag,
    label_snippet: Flag,
    compute_eks: Flag,
    eks_dir: Annotated[Path, typer.Argument(help="Directory of the smoothed outputs.")],
    inline: Inline2 = False,
    device: Device2 = "auto",
    data_dir: DataDir = None,
) -> int:
    """An ensemble over a directory of videos, smoothed by EKS, with the files of the Pose-app."""
    return _run_as_pose_app(
        videos=(video_dir,),
        models=tuple(split_models(model_dirs)),
        metrics=compute_metrics,
        label=_labels(label_full, label_snippet),
        eks=compute_eks,
        eks_dir=eks_dir,
        inline=inline,
        device=device,
        data_dir=data_dir,
    )


def split_models(text: str) -> list[str]:
    """Model directories from `M1:M2:…`, where a directory's own name may hold colons.

    Old models are called `YYYY-MM-DD/HH:MM:SS`. A part that is no directory by itself is joined
    to those after it until it is one.
    """
    parts = [part for part in text.split(":") if part]
    models: list[str] = []
    while parts:
        sizes = (n for n in range(1, len(parts) + 1) if os.path.isdir(":".join(parts[:n])))
        size = next(sizes, 1)
        models.append(":".join(parts[:size]))
        parts = parts[size:]
    return models


@app.command("demo")
@_command
def demo(
    directory: Annotated[Path, typer.Argument(help="Where the project goes.")] = Path(
        "raypose-demo"
    ),
    inline: Inline2 = False,
    device: Device2 = "auto",
) -> int:
    """Make a small project on the spot, train two models, and run the whole job on it."""
    from raypose.demo import run_demo
    from raypose.report.tables import print_result
    from raypose.report.terminal import live_display

    console = _console()
    result = run_demo(
        directory,
        display=live_display(console),
        say=console.print,
        inline=inline,
        device=device,
    )
    print_result(console, result.result)
    for line in result.lines():
        console.print(line)
    return result.result.exit_code


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A name that is no text, or a terminal of few characters, must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
