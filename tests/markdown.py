"""The project's Markdown files, and what they tell readers to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"))
    if path.name != "CHANGELOG.md"  # it names what is gone
    and not path.parent.name.startswith(".")
)
"""All pages that people read."""

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_END = re.compile(r"^(\||\|\||&|&&|;|>|>>|2>|<)")  # what ends a command in a shell


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: the file.
        line: number of the line after the fence, from 1.
        language: what is written behind the fence; empty for none.
        code: its text, without the page's indentation.
    """

    page: Path
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def lines(self) -> list[str]:
        """Its logical lines: those that end with a backslash are joined with the next."""
        return [line for line in re.sub(r"\\\n\s*", " ", self.code).split("\n") if line.strip()]


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        indent, language, code = match.groups()
        code = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        found.append(Block(page, text[: match.start(3)].count("\n") + 1, language, code))
    return found


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    """All inline code outside of blocks."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(page))]


def commands(line: str) -> Iterator[list[str]]:
    """The arguments of each raypose in a line of shell, also behind `uv run` and in `sbatch`."""
    try:
        words = shlex.split(line.replace("ExecStart=", ""), comments=True)  # a systemd unit
    except ValueError:  # a line of prose or output with an apostrophe
        return
    for i, word in enumerate(words):
        if word.endswith(".sbatch") and "sbatch" in words[:i]:
            yield ["run", *_until_end(words[i + 1 :])]
        elif Path(word).name == "raypose" and _starts_command(words[:i]):
            yield _until_end(words[i + 1 :])


def _starts_command(before: list[str]) -> bool:
    """Whether the next word is a program, not an argument."""
    if not before:
        return True
    last = before[-1]
    return last in ("run", "nohup", "srun", "exec") or bool(_END.match(last) or "=" in last)


def _until_end(words: list[str]) -> list[str]:
    for i, word in enumerate(words):
        if _END.match(word):
            return words[:i]
    return words
