"""`docs/troubleshooting.md` explains every error: each message in the code has a pattern there."""

from __future__ import annotations

import re

import pytest

from raypose.errors import _OS_ERRORS
from tests.errors import HOLE, Message, messages
from tests.markdown import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


def explained() -> dict[str, re.Pattern[str]]:
    """The messages in the first columns of the tables headed `message`, as written → as regex."""
    found = {}
    for table in re.findall(r"^\| message \|.*\n\|.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        for row in table.splitlines():
            for text in re.findall(r"`([^`]+)`", re.split(r"(?<!\\) \| ", row)[0]):
                found[text] = re.compile(".*".join(map(re.escape, text.split(HOLE))))
    return found


def all_messages() -> list[Message]:
    of_disks = [
        Message("raypose/errors.py", "OutputError", text) for text, _ in _OS_ERRORS.values()
    ]
    return [*messages(), *of_disks]


def test_every_message_is_explained() -> None:
    known = explained().values()
    unknown = [
        f"{message.place}: {message.error}: {message.text}"
        for message in all_messages()
        if not any(pattern.fullmatch(message.text) for pattern in known)
    ]
    assert not unknown, "explain them in docs/troubleshooting.md, `…` for what differs"


def test_no_pattern_explains_everything() -> None:
    assert not [text for text in explained() if len(re.sub(r"\W", "", text)) < 5]


def test_every_explained_message_exists() -> None:
    texts = [message.text for message in all_messages()]
    stale = [
        text
        for text, pattern in explained().items()
        if not any(pattern.fullmatch(written) for written in texts)
    ]
    assert not stale, "no error of raypose says this any more"


@pytest.mark.parametrize("text", ["the file is empty", "the video changed while it was read"])
def test_messages_are_collected_from_literals_and_names(text: str) -> None:
    assert text in {message.text for message in messages()}
