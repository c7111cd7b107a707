"""`raypose config`: a settings file to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from raypose.cli import completion
from raypose.cli.base import app, command
from raypose.errors import UsageError
from raypose.text import json_text

_COMMANDS = ("run", "plan", "watch", "smooth")
_COMMAND = "Command that will read the file: run, plan, watch or smooth."
_SCHEMA = "Print the JSON schema of the file instead, for editors that check YAML."
_EXAMPLES = """raypose config > run.yaml
raypose config smooth > smooth.yaml
raypose config --schema > run.schema.json"""


@app.command("config", epilog=_EXAMPLES)
@command
def config(
    of: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND", help=_COMMAND, autocompletion=completion.choices(_COMMANDS)
        ),
    ] = "run",
    schema: Annotated[bool, typer.Option("--schema", help=_SCHEMA)] = False,
) -> int:
    """Print a settings file for --config, with every setting and its default commented out."""
    from raypose.config import RunConfig, SmoothConfig, template
    from raypose.config.schemas import did_you_mean

    if of not in _COMMANDS:
        hint = f"{did_you_mean(of, _COMMANDS)} See raypose config --help".strip()
        raise UsageError(f"no settings file is read by a command {of}", hint=hint)
    settings = SmoothConfig if of == "smooth" else RunConfig
    if schema:
        typer.echo(json_text(template.json_schema(settings), indent=2))
    else:
        typer.echo(template.commented_settings(settings), nl=False)
    return 0
