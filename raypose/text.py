"""Text that is safe to show, and JSON that any program can read, whatever a file name contains;
numbers of bytes for people.

File names may contain escape codes, line breaks, marks that change the direction of writing, and
bytes that are not UTF-8 (Python's lone surrogates). All text for a terminal or a log passes
through here; paths themselves are never changed.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Control characters, lone surrogates, and what breaks lines or changes the direction of writing.
_UNSEEN = "\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff"
_HIDDEN = re.compile(f"[\x00-\x1f{_UNSEEN}]")
_HIDDEN_IN_JSON = re.compile(f"[{_UNSEEN}]")  # JSON escapes the others itself
_MARKUP = re.compile(r"\\+(?=\[|\Z)|\[")
# After the scheme all up to an @ of the host, or after the path all from a question mark on. A
# pattern of names (`s3://lab/cam?.mp4`) is no query: that has an equals sign.
_SECRET_IN_URL = re.compile(
    r"(\b[A-Za-z][A-Za-z0-9+.]*://)(?:[^\s/?#@:]*:[^\s@]*|[^\s/?#@]*)(?=@)"
    r"|(?<=\?)()[^\s?'\"<>]*=[^\s'\"<>)]*"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def shown(text: str) -> str:
    r"""The text in one line, with invisible characters escaped: `\x1b[31m`, `\xff`, `\n`."""
    return _HIDDEN.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        code -= 0xDC00
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def without_secrets(text: str) -> str:
    """The text without what URLs in it may hold in secret: user and password, and the query, in
    which a signed URL has its signature."""
    return _SECRET_IN_URL.sub(r"\1…", text) if "://" in text else text


def markup(text: str) -> str:
    """The text as `shown`, for Rich to print literally."""
    return _MARKUP.sub(_escaped, shown(text))


def _escaped(match: re.Match[str]) -> str:
    # Rich halves backslashes only before a tag: so a tag must follow them.
    return r"\[" if match[0] == "[" else f"{match[0] * 2}[none][/none]"


def json_text(value: Any, **options: Any) -> str:
    """JSON in valid UTF-8 without codes that a terminal would follow, which reads back as the
    same value, lone surrogates included."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return _HIDDEN_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def data_size(n_bytes: float) -> str:
    """A number of bytes for people: `950 kB`, `1.2 TB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
