"""Commands as a user gives them, in this process."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from raypose import cli


def invoke(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and all output of a command; a traceback of any kind fails the test."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output
