"""Runs as jobs of a real cluster, and what is said when something is not right."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import ray
import yaml
from typer.testing import CliRunner

from raypose import cli
from raypose._version import __version__
from raypose.cluster import preflight
from raypose.cluster.submit import _settings, _url, read_env_file
from raypose.config import RunConfig
from raypose.errors import UsageError
from tests.integration.conftest import N_FRAMES, Project, project  # noqa: F401
from tests.nodes import Nodes, free_port, ray_nodes

NOWHERE = "http://127.0.0.1:9"


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def ask(
    *arguments: str, program: tuple[str, ...] = ("-m", "raypose"), **environment: str
) -> tuple[int, str]:
    """The command in a process of its own: Ray keeps the first token that a process has."""
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


class TestBeforeAnythingIsSent:
    """Nothing listens at the address: these errors come before any connection."""

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ([], "there is no run to send"),
            (["plan", "/v.mp4", "-m", "/m"], "there is no run to send"),
            (["run", "/v.mp4", "-m", "/m", "-o", "/o", "--lable", "full"], "--lable"),
            (["run", "/v.mp4", "-m", "/m", "-o", "/o", "--label", "all"], "label"),
            (["run", "/v.mp4", "-m", "/m", "-o", "/o", "--gpus", "0"], "gpus"),
            (["run", "/v.mp4", "-o", "/o"], "--model: at least one"),
            (["run", "v.mp4", "-m", "/m", "-o", "/o"], "v.mp4: the cluster can't resolve"),
            (["run", "/v.mp4", "-m", "/m", "-o", "out"], "out: the cluster can't resolve"),
            *(
                (["run", "/v.mp4", "-m", "/m", "-o", "/o", option, "x"], "x: the cluster can't")
                for option in ("--calibration", "--bbox-dir", "--scratch-dir")
            ),
            (["run", "/v.mp4", "-m", "/m"], "log would be lost"),
        ],
    )
    def test_a_wrong_run(self, arguments: list[str], word: str) -> None:
        code, text = invoke("submit", "--address", NOWHERE, "--", *arguments)
        assert code == 2
        assert word in text

    def test_a_relative_path_in_a_config_file(self, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text("videos: [/v.mp4]\nmodels: [m]\noutput-dir: /o\n")
        arguments = ["--", "run", "--config", tmp_path / "run.yaml"]
        code, text = invoke("submit", "--address", NOWHERE, *arguments)
        assert code == 2 and "m: the cluster can't resolve" in text

    def test_a_wrong_env_file(self, tmp_path: Path) -> None:
        (tmp_path / "env").write_text("A=1\nhunter2\n")
        run = ["--", "run", "/v.mp4", "-m", "/m", "-o", "/o"]
        code, text = invoke("submit", "--address", NOWHERE, "--env-file", tmp_path / "env", *run)
        assert code == 2 and "line 2 is not NAME=value" in text and "hunter2" not in text

    def test_without_an_address(self) -> None:
        code, text = invoke("jobs")
        assert code == 2 and "--address" in text


class TestParts:
    def test_env_files(self, tmp_path: Path) -> None:
        text = "# comment\n\nexport A=1\nB='two words'\nC=x=y  # as it is\nD=\n"
        (tmp_path / "env").write_text(text)
        read = read_env_file(tmp_path / "env")
        assert read == {"A": "1", "B": "two words", "C": "x=y", "D": ""}

    @pytest.mark.parametrize(
        ("address", "url"),
        [
            ("http://head:8265", "http://head:8265"),
            ("head:8265", "http://head:8265"),
            ("https://ray.lab.org/", "https://ray.lab.org"),
        ],
    )
    def test_addresses(self, address: str, url: str) -> None:
        assert _url(address) == url

    @pytest.mark.parametrize("address", ["ray://head:10001", "http://", "head:abc"])
    def test_invalid_addresses(self, address: str) -> None:
        with pytest.raises(UsageError):
            _url(address)

    def test_settings_say_what_was_given_and_join_the_cluster(self) -> None:
        config = RunConfig(videos=["/v"], models=["/m"], output_dir="/o", label=["full"], gpus=3)
        settings = yaml.safe_load(_settings(config))
        assert RunConfig(**settings) == config.model_copy(update={"address": "auto"})
        assert set(settings) == {"videos", "models", "output_dir", "label", "gpus", "address"}

    def test_preflight(self) -> None:
        assert preflight.problem("3.10", "3.14", "") == ""
        assert preflight.problem("3.10", "3.14", __version__) == ""
        assert "runs Python" in preflight.problem("4.0", "4.1", "")
        assert "0.0.0" in preflight.problem("3.10", "3.14", "0.0.0")

    def test_preflight_runs_alone(self) -> None:
        """As it is sent: only its text, on a Python without our packages."""
        text = Path(preflight.__file__).read_text()
        command = [sys.executable, "-I", "-S", "-c", text]
        for arguments, word in (
            (["3.10", "3.14", ""], "lacks av, cv2"),
            (["4.0", "4.1", ""], f"runs Python 3.{sys.version_info[1]}, raypose needs 4.0"),
        ):
            ran = subprocess.run([*command, *arguments], capture_output=True, text=True)
            assert ran.returncode == 1
            assert ran.stderr.startswith("error: ") and word in ran.stderr


class TestNoRayCluster:
    def test_nothing_listens(self) -> None:
        code, text = ask("jobs", "--address", f"127.0.0.1:{free_port()}")
        assert code == 1
        assert "can't be reached (Connection refused)" in text and "tunnel" in text

    def test_no_such_host(self) -> None:
        code, text = ask("jobs", "--address", "http://no-such-host.invalid:8265")
        assert code == 1 and "can't be reached" in text

    @pytest.mark.parametrize(
        ("version", "words"),
        [
            ("2.9.3", ["runs Ray 2.9.3, this machine", "cluster/Dockerfile"]),
            (
                ray.__version__,
                ["has not started the agent that takes jobs within 1 s", "again in"],
            ),
        ],
    )
    def test_a_head_that_accepts_no_job(self, version: str, words: list[str]) -> None:
        """It has another version of Ray, or is not ready yet."""
        with head_that_accepts_no_job(version) as address:
            run = ["--address", address, "--", "run", "/v.mp4", "-m", "/m", "-o", "/o"]
            env = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_API_SERVER_ADDRESS": ""}
            code, text = ask("submit", *run, program=IMPATIENT, **env)
        assert code == 1
        assert all(word in text for word in words), text
        assert "Traceback" not in text


# The command, waiting for an agent no longer than a second.
IMPATIENT = (
    "-c",
    "from raypose import cli; from raypose.cluster import submit; submit._AGENT_WAIT_S = 1; "
    "cli.app()",
)


@contextmanager
def head_that_accepts_no_job(version: str) -> Iterator[str]:
    """A server that answers like a head node of this version of Ray without an agent."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = 200, ""
            if self.path == "/api/version":
                text = json.dumps({"version": "4", "ray_version": version, "ray_commit": "x"})
            elif self.path == "/api/jobs/":
                status, text = 500, "No available agent to submit job, please try again later."
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with ray_nodes(tmp_path_factory.mktemp("head")) as nodes:
        nodes.start_head("--num-cpus=2", "--num-gpus=0", jobs=True)
        yield nodes


def raypose(
    head: Nodes, *arguments: str | Path, token: str | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "raypose", *map(str, arguments)],
        env=head.environment(token),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 240) -> tuple[int, str]:
    output, _ = process.communicate(timeout=timeout_s)
    assert "Traceback" not in output
    return process.returncode, output


@pytest.mark.ray
@pytest.mark.slow
class TestOnACluster:
    def run_of(self, project: Project, out: Path, *options: str) -> list[str]:  # noqa: F811
        models = [flag for model in project.models for flag in ("-m", str(model))]
        videos = str(project.videos)
        return ["--", "run", videos, *models, "-o", str(out), "--no-metrics", *options]

    def test_a_run_as_a_job(
        self,
        project: Project,  # noqa: F811
        tmp_path: Path,
        head: Nodes,
    ) -> None:
        address = ["--address", head.dashboard]
        out = tmp_path / "out it's"
        (tmp_path / "env").write_text(f"RAYPOSE_CACHE_DIR={tmp_path / 'cache'}\n")
        env = ["--env-file", tmp_path / "env"]
        sent = raypose(head, "submit", *address, *env, *self.run_of(project, out, "--eks"))
        code, output = finish(sent)
        assert code == 0, output
        assert "Running on the Ray cluster auto, CPU" in output, output
        assert len(list((out / "eks" / "video_preds").glob("*.csv"))) == len(N_FRAMES)
        assert list((tmp_path / "cache").rglob("*"))  # the environment came along
        code, output = finish(raypose(head, "status", out / "raypose"))
        assert code == 0 and "has ended" in output
        code, output = finish(raypose(head, "jobs", *address))
        (line,) = (line for line in output.splitlines() if "test_a_run_as_a_job" in line)
        assert "succeeded" in line and "raypose run" in line

    def test_leaving_coming_back_and_stopping(
        self,
        project: Project,  # noqa: F811
        tmp_path: Path,
        head: Nodes,
    ) -> None:
        address = ["--address", head.dashboard]
        # A GPU that never comes: the job goes on until it is stopped.
        waits = self.run_of(project, tmp_path / "out", "--gpus", "1")
        sent = raypose(head, "submit", *address, *waits)
        assert sent.stdout is not None
        job_id = sent.stdout.readline().split()[-1]
        while "videos to do" not in sent.stdout.readline():
            assert sent.poll() is None
        os.killpg(sent.pid, signal.SIGINT)
        code, output = finish(sent, 30)
        assert code == 130 and "the job goes on" in output
        (way_back,) = re.findall(r"raypose (submit \S+ \S+ --follow \S+)", output)
        code, output = finish(raypose(head, "submit", "--no-wait", *way_back.split()[1:]), 60)
        assert code == 0 and job_id in output
        follower = raypose(head, *way_back.split())
        assert follower.stdout is not None
        while "videos to do" not in follower.stdout.readline():  # from its first line
            assert follower.poll() is None
        code, output = finish(raypose(head, "stop", job_id, *address), 60)
        assert code == 0 and "is stopped" in output
        code, output = finish(follower, 60)
        assert code == 130 and "submit the same run again" in output
        code, output = finish(raypose(head, "stop", job_id, *address), 60)
        assert code == 0 and "had already ended" in output

    def test_the_exit_code_is_the_jobs(
        self,
        project: Project,  # noqa: F811
        tmp_path: Path,
        head: Nodes,
    ) -> None:
        address = ["--address", head.dashboard]
        run = ["--", "run", "/nowhere/x.mp4", "-m", project.models[0], "-o", tmp_path / "out"]
        code, output = finish(raypose(head, "submit", *address, "--code", "image", *run))
        assert "/nowhere/x.mp4" in output
        here = subprocess.run(
            [sys.executable, "-m", "raypose", *map(str, run[1:])], capture_output=True
        )
        assert code == here.returncode != 0

    def test_a_wrong_token(self, head: Nodes) -> None:
        wrong = secrets.token_hex(32)
        code, output = finish(raypose(head, "jobs", "--address", head.dashboard, token=wrong), 60)
        assert code == 1
        assert "rejected the token" in output and "RAY_AUTH_TOKEN" in output

    def test_no_such_job(self, head: Nodes) -> None:
        for command in (["stop", "nonsense"], ["submit", "--follow", "nonsense"]):
            code, output = finish(raypose(head, *command, "--address", head.dashboard), 60)
            assert code == 1 and "there is no job nonsense" in output

    def test_the_client_gives_values(self, head: Nodes) -> None:
        """In Python, in a process of its own with its own token, like a notebook."""
        code = (
            "import sys; from raypose.cluster.submit import Cluster\n"
            "jobs = Cluster(sys.argv[1]).jobs()\n"
            "assert all(job.ended for job in jobs), jobs\n"
            "print(len(jobs))"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, head.dashboard],
            env=head.environment(),
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert int(ran.stdout) >= 1
