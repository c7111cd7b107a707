"""`raypose config`: a settings file to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from raypose.cli.base import app, command
from raypose.text import json_text

_SCHEMA = "Print the JSON schema of the file instead, for editors that check YAML."
_EXAMPLES = """raypose config > run.yaml
raypose config --schema > run.schema.json"""


@app.command("config", epilog=_EXAMPLES)
@command
def config(
    schema: Annotated[bool, typer.Option("--schema", help=_SCHEMA)] = False,
) -> int:
    """Print a settings file for --config, with every setting and its default commented out."""
    from raypose.config import template

    if schema:
        typer.echo(json_text(template.json_schema(), indent=2))
    else:
        typer.echo(template.commented_settings(), nl=False)
    return 0
