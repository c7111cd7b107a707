"""An object store on this machine, and a proxy before it that makes what networks make.

The store is moto's S3 over real HTTP. The proxy stands between it and the code under test, passes
everything on, and breaks the answers that a test asks it to break.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

BUCKET = "lab"

_ERROR = (
    "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}, says a test</Message></Error>"
)
_CODES = {"slow down": (503, "SlowDown"), "denied": (403, "AccessDenied")}


@dataclass
class Fault:
    """One way in which answers break.

    Attributes:
        kind: `slow down` (503), `denied` (403), `reset` (the connection, in the middle of a body)
            or `slow` (a body that comes in drops).
        request: what the request line must match (`GET /lab/videos/`).
        times: answers that break; then the proxy passes on again.
    """

    kind: Literal["slow down", "denied", "reset", "slow"]
    request: str = ""
    times: int = 1
    n_done: int = 0


@dataclass
class Store:
    """The store as a test uses it: past the proxy, with an own client.

    Attributes:
        url: the proxy's endpoint, for the code under test.
        faults: what is to break; at first nothing.
        requests: the request lines that came, in order.
        came: notified of each request.
    """

    url: str
    client: Any
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on the requests holds."""
        with self.came:
            assert self.came.wait_for(condition, timeout=20), self.requests

    def put(self, key: str, content: bytes | Path) -> str:
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def put_folder(self, prefix: str, folder: Path) -> str:
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder)}", path)
        return f"s3://{BUCKET}/{prefix}"

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def empty(self) -> None:
        for key in self.keys():
            self.delete(key)
        self.faults.clear()
        self.requests.clear()

    def take_fault(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.n_done < fault.times and re.search(fault.request, request):
                fault.n_done += 1
                return fault
        return None


def start_proxy(target: tuple[str, int]) -> tuple[ThreadingHTTPServer, Store]:
    """A proxy to `target` on a free port; the client of its `Store` goes to the target."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=f"http://{target[0]}:{target[1]}", region_name="us-east-1"
    )
    client.create_bucket(Bucket=BUCKET)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            with store.came:
                store.requests.append(f"{self.command} {self.path}")
                store.came.notify_all()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = store.take_fault(f"{self.command} {self.path}")
            if fault is not None and fault.kind in _CODES:
                status, code = _CODES[fault.kind]
                self.answer(status, [], _ERROR.format(code=code).encode())
                return
            upstream = http.client.HTTPConnection(*target, timeout=60)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                answer = upstream.getresponse()
                content = answer.read()
            finally:
                upstream.close()
            self.answer(answer.status, answer.getheaders(), content, fault)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

        def answer(
            self,
            status: int,
            headers: list[tuple[str, str]],
            content: bytes,
            fault: Fault | None = None,
        ) -> None:
            self.send_response_only(status)
            length = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault is None:
                self.wfile.write(content)
            elif fault.kind == "slow":
                step = max(1, len(content) // 20)
                for start in range(0, len(content), step):
                    self.wfile.write(content[start : start + step])
                    time.sleep(0.05)
            else:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                # Closed with what was not sent: the other side sees a reset, not an end.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Clients that hang up are part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    store = Store(f"http://127.0.0.1:{server.server_port}", client)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, store
