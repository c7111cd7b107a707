"""Every command and option that the documentation names exists, and its values make sense."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from raypose.cli.base import all_commands
from raypose.cli.cluster import _run_config
from raypose.cli.options import SHOWN, config_of
from raypose.config import RunConfig, SmoothConfig
from raypose.errors import RayposeError
from tests.docs.test_troubleshooting import explained
from tests.markdown import PAGES, ROOT, Block, blocks, commands, spans

SHELLS = ("", "bash", "sh")
ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL_LINES = [
    (b, line) for b in ALL_BLOCKS if b.language in (*SHELLS, "ini") for line in b.lines()
]
TYPED = [(b, line, args) for b, line in SHELL_LINES for args in commands(line)]

# Options of other programs that the pages name beside raypose's.
OF_OTHERS = re.compile(
    r"""--(?: reader | onnx-precision | max-batch-size | overrides | compile | \w+_\w+  # litpose
        | extra | group | all-groups | strict  # uv, mkdocs
        | nodes | array | no-requeue | cpus-per-task | gpus-per-node  # sbatch
        | shm-size | nv | bind  # docker, apptainer
        | keep  # python -m tests.faults
        )\b""",
    re.VERBOSE,
)


group = cache(all_commands)


def command(name: str) -> Any:
    return group().commands[name]


COMMANDS = tuple(group().commands)


@cache
def options(name: str) -> frozenset[str]:
    own = {flag for p in command(name).params for flag in (*p.opts, *p.secondary_opts)}
    return frozenset({flag for flag in own if flag.startswith("-")} | {"--help", "-h"})


ALL_OPTIONS = frozenset.union(*map(options, COMMANDS)) | {"--debug", "--version"}


def is_placeholder(word: str) -> bool:
    """Whether a word stands for what the reader gives: VIDEOS…, [-m, …, N."""
    return "…" in word or word.startswith("[") or word.endswith("]")


def parse(args: list[str]) -> None:
    """As the command line does, up to the config that it would run; nothing is run."""
    words = [word for word in args if not is_placeholder(word)]
    name, *rest = [word for word in words if word != "--debug"]
    if {"--help", "-h", "--version"} & set(words):
        assert name in COMMANDS or name.startswith("-")
        return
    values = command(name).make_context(f"raypose {name}", rest).params
    if name == "submit" and values["arguments"]:
        _run_config(values["arguments"])
    if name in ("run", "plan", "watch", "smooth"):
        config_file = values.pop("config_file", None)
        kept = {key: v for key, v in values.items() if key not in (*SHOWN, "settle")}
        if config_file is None and len(words) == len(args):
            config_of(None, kept, SmoothConfig if name == "smooth" else RunConfig)


@pytest.mark.parametrize(
    ("block", "line", "args"), TYPED, ids=[f"{b}-{' '.join(a)[:40]}" for b, _, a in TYPED]
)
def test_commands_in_blocks_can_be_typed(block: Block, line: str, args: list[str]) -> None:
    try:
        parse(args)
    except Exception as error:
        if not isinstance(error, RayposeError) and not hasattr(error, "format_message"):
            raise
        said = error.message
        pytest.fail(f"{block}: {line}\n{said}", pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_in_sentences_exist(page: Path) -> None:
    wrong = []
    for span in set(spans(page)) - set(explained()):
        for args in commands(span):
            words = [word.strip("[],") for word in args]
            name = next((word for word in words if not word.startswith("-")), None)
            if name is None or name != name.lower() or is_placeholder(name):
                continue
            known = options(name) if name in COMMANDS else frozenset()
            if name == "submit":
                known |= options("run")
            given = {word.partition("=")[0] for word in words if re.match(r"-+[a-z]", word)}
            if name not in COMMANDS or given - known - {"--debug"}:
                wrong.append(span)
        if page.parent.name != "benchmarks":  # its scripts have their own
            wrong += [
                span
                for flag in re.findall(r"^--[a-z][a-z_-]*", span)
                if flag not in ALL_OPTIONS and not OF_OTHERS.match(flag)
            ]
    assert not wrong


@pytest.mark.parametrize(
    "line",
    [
        "run v --mdoel m",
        "run v -m m --label all",
        "plan v",
        "rnu v",
        "submit --address a -- run -z",
    ],
)
def test_what_cannot_be_typed_is_noticed(line: str) -> None:
    with pytest.raises(Exception) as caught:
        parse(line.split())
    error = caught.value
    assert isinstance(error, RayposeError | KeyError) or hasattr(error, "format_message")


@pytest.mark.parametrize(
    "block",
    [b for b in ALL_BLOCKS if b.language in ("bash", "sh")],
    ids=[str(b) for b in ALL_BLOCKS if b.language in ("bash", "sh")],
)
def test_shell_blocks_are_shell(block: Block) -> None:
    shell = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True)
    assert shell.returncode == 0, f"{block}: {shell.stderr}"


def test_pages_are_found() -> None:
    assert len(PAGES) > 15 and len(TYPED) > 20


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("raypose run v -m m | jq .", [["run", "v", "-m", "m"]]),
        ("uv run raypose plan v  # look first", [["plan", "v"]]),
        ("nohup uv run raypose run v >run.log &", [["run", "v"]]),
        ("echo raypose", []),
        ("sbatch --array=0-7 cluster/slurm/array.sbatch v -m m", [["run", "v", "-m", "m"]]),
        ("git clone URL raypose && cd raypose", []),
    ],
)
def test_commands_are_found_in_a_line(line: str, found: list[list[str]]) -> None:
    assert list(commands(line)) == found
