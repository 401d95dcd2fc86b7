"""The files in docs/deploy do what they are for: each is read here, and what it starts is started.

Images are not built: that takes a container engine. What the Dockerfile copies, installs, sets and runs is
checked.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from durafold import DurableStream
from durafold.processes import ChildProcess
from durafold.testing import ServerProcess
from durafold_server.settings import SETTINGS, resolve
from support.pages import DOCS, write_files
from support.ports import free_port

ROOT: Final = DOCS.parent
FILES: Final = DOCS / "deploy"
PROGRAMS: Final = Path(sys.executable).parent


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"A PAGE ON DEPLOYING WAS NOT TESTED: apt-get install {package}"
    )


# ---- the container ----


def instructions(word: str) -> list[str]:
    """What stands behind a word of the Dockerfile, each time that it stands there."""
    text = (FILES / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{word}\s+(.*)$", text, re.MULTILINE)


def image_settings() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(instructions("ENV")[0]))


def durafold_settings() -> dict[str, str]:
    return {name: value for name, value in image_settings().items() if name.startswith("DURAFOLD_")}


def health_check(port: int) -> list[str]:
    _, _, command = instructions("HEALTHCHECK")[0].partition("CMD ")
    _, *arguments = json.loads(command.replace("4437", str(port)))
    return [sys.executable, *arguments]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[tuple[ChildProcess, int]]:
    """What the image runs, as it runs it, but on a port and in a directory of the test's own."""
    port = free_port()
    tokens = tmp_path / "tokens"
    tokens.write_text("app@secret=read,write\n")
    program, *arguments = json.loads(instructions("ENTRYPOINT")[0])
    env = durafold_settings() | service()["environment"]
    own = {
        "DURAFOLD_HOST": "127.0.0.1",
        "DURAFOLD_PORT": str(port),
        "DURAFOLD_DATA": str(tmp_path / "streams"),
        "DURAFOLD_TOKENS_FILE": str(tokens),
    }
    command = [str(PROGRAMS / program), *arguments]
    with (
        tempfile.TemporaryFile() as log,
        ChildProcess("the container's server", command, log, cwd=tmp_path, env=env | own) as process,
    ):
        process.wait_until(lambda: "listening on" in process.output or None, timeout_s=30)
        yield process, port


def service() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((FILES / "compose.yaml").read_text())
    return composed["services"]["durafold"]  # type: ignore[no-any-return]


def test_the_container_serves_with_tokens_and_is_healthy_until_it_is_stopped(
    container: tuple[ChildProcess, int],
) -> None:
    process, port = container
    url = f"http://127.0.0.1:{port}/v1/stream/a"

    refused = httpx.put(url)
    taken = httpx.put(url, headers={"Authorization": "Bearer secret"})
    healthy = subprocess.run(health_check(port), check=False)
    code = process.end(timeout_s=10)
    unhealthy = subprocess.run(health_check(port), capture_output=True, check=False)

    assert (refused.status_code, taken.status_code) == (401, 201)
    assert (healthy.returncode, code) == (0, 0)
    assert unhealthy.returncode != 0


def test_the_image_does_not_start_without_access_control(tmp_path: Path) -> None:
    program, *arguments = json.loads(instructions("ENTRYPOINT")[0])
    env = os.environ | durafold_settings() | {"DURAFOLD_DATA": str(tmp_path), "DURAFOLD_PORT": "0"}

    ended = subprocess.run(
        [PROGRAMS / program, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert ended.returncode != 0
    assert "--insecure" in ended.stderr


def test_the_container_sets_what_the_server_knows() -> None:
    known = {setting.env for setting in SETTINGS}

    assert durafold_settings().keys() | service()["environment"].keys() <= known


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    let_through = (FILES / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]

    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert [name for name in copied if f"!{name}" not in let_through] == []


def test_the_image_installs_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', (FILES / "Dockerfile").read_text())

    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_the_container_is_not_root_and_keeps_its_data_in_a_volume() -> None:
    (directory,) = instructions("VOLUME")

    assert instructions("USER") == ["durafold"]
    assert image_settings()["DURAFOLD_DATA"] == directory
    assert [volume.partition(":")[2] for volume in service()["volumes"]] == [directory]
    assert service()["build"]["dockerfile"] == "docs/deploy/Dockerfile"


# ---- backups ----


def test_a_copy_that_was_made_while_the_server_ran_can_be_served(
    durable_server: ServerProcess, tmp_path: Path
) -> None:
    write_files("how-to/deploy.md", tmp_path)
    httpx.put(f"{durable_server.url}/kept", json=[1, 2])
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)

    command = [sys.executable, "-W", "error", "backup.py", "streams/streams.db", "copy/streams.db"]
    subprocess.run(command, cwd=tmp_path, check=True)
    httpx.post(f"{durable_server.url}/kept", json=3)

    with ServerProcess(copy) as restored:
        assert httpx.get(f"{restored.url}/kept").json() == [1, 2]


# ---- systemd ----


@needs("systemd-analyze", "systemd")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (FILES / "durafold.service").read_text()
    unit = tmp_path / "durafold.service"
    unit.write_text(text.replace("/opt/durafold/bin", str(PROGRAMS)))

    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )

    assert (verified.returncode, verified.stderr) == (0, "")
    assert f"ExecStart={PROGRAMS}/durafold serve\n" in unit.read_text()


def test_the_unit_sets_what_the_server_knows(tmp_path: Path) -> None:
    text = (FILES / "durafold.service").read_text()
    tokens = tmp_path / "tokens"
    tokens.write_text("app@secret=read\n")
    set_ = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))

    settings = resolve({}, set_ | {"DURAFOLD_TOKENS_FILE": str(tokens)}, tmp_path).serve_settings()

    assert set_["DURAFOLD_TOKENS_FILE"] == "%d/tokens"
    assert (str(settings.data_dir), settings.access_log) == ("/var/lib/durafold/streams", "json")


# ---- nginx ----


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("nginx") / "streams"
    with ServerProcess(data, options=["--long-poll-timeout-s", "20"]) as server:
        yield server


@pytest.fixture(scope="module")
def proxied(streams: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The streams' address behind a running nginx, configured by the page's file but for TLS and places."""
    port, directory = free_port(), tmp_path_factory.mktemp("nginx")
    server = httpx.URL(streams.url)
    text = (FILES / "nginx.conf").read_text()
    text = re.sub(r"^ +ssl_certificate.*\n", "", text, flags=re.MULTILINE)
    text = text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};")
    text = text.replace("127.0.0.1:4437", f"127.0.0.1:{server.port}")
    text = text.replace("/var/cache/nginx/durafold", f"{directory}/cache")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    file = directory / "nginx.conf"
    file.write_text(
        f"user {user} {group};\npid {directory}/pid;\nerror_log stderr;\n"
        "daemon off;\nworker_processes 1;\nevents {}\n"
        f"http {{\naccess_log off;\n{temporary}\n{text}\n}}\n"
    )
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    command = [nginx, "-p", str(directory), "-c", str(file)]
    with tempfile.TemporaryFile() as log, ChildProcess("nginx", command, log) as process:
        process.wait_until(lambda: _answers(port), timeout_s=30)
        yield f"http://127.0.0.1:{port}/v1/stream"


def _answers(port: int) -> bool | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/stream/").status_code < 500 or None
    except httpx.TransportError:
        return None


@pytest.mark.xdist_group("nginx")
@needs("nginx", "nginx")
class TestNginx:
    @pytest.mark.anyio
    @pytest.mark.parametrize("live", ["sse", "long-poll"])
    async def test_what_is_appended_reaches_a_live_reader_through_it(
        self, streams: ServerProcess, proxied: str, live: Any, anyio_backend_name: str
    ) -> None:
        name = f"{live}-{anyio_backend_name}"
        async with (
            DurableStream(f"{streams.url}/{name}") as writer,
            DurableStream(f"{proxied}/{name}") as reader,
        ):
            await writer.create(content_type="application/json", body=1)
            async with reader.follow(live=live) as follower:
                messages = follower.iter_json()
                first = await anext(messages)

                await writer.append(2)
                second = await anext(messages)

        assert (first, second) == (1, 2)

    def test_an_event_comes_while_the_connection_stays_open(
        self, streams: ServerProcess, proxied: str
    ) -> None:
        httpx.put(f"{streams.url}/open", json=["first"])

        with httpx.stream("GET", f"{proxied}/open?offset=-1&live=sse", timeout=30) as reply:
            lines = reply.iter_lines()
            event = next(line for line in lines if line.startswith("data:") and "first" in line)
            httpx.post(f"{streams.url}/open", json="second")
            later = next(line for line in lines if line.startswith("data:") and "second" in line)

        assert "first" in event
        assert "second" in later
        assert reply.headers["x-cache"] == "BYPASS"

    def test_what_was_read_once_comes_from_the_cache(self, streams: ServerProcess, proxied: str) -> None:
        httpx.put(f"{streams.url}/cached", json=[1, 2, 3])

        replies = [httpx.get(f"{proxied}/cached?offset=-1") for _ in range(2)]

        assert [reply.headers["x-cache"] for reply in replies] == ["MISS", "HIT"]
        assert [reply.json() for reply in replies] == [[1, 2, 3]] * 2
        assert replies[0].headers["etag"] == replies[1].headers["etag"]

    def test_what_is_asked_for_with_credentials_is_not_kept(
        self, streams: ServerProcess, proxied: str
    ) -> None:
        httpx.put(f"{streams.url}/private", json=[1])
        credentials = {"Authorization": "Bearer secret"}

        replies = [httpx.get(f"{proxied}/private?offset=-1", headers=credentials) for _ in range(2)]

        assert [reply.headers["x-cache"] for reply in replies] == ["BYPASS", "BYPASS"]

    def test_a_slash_in_a_name_stays_as_the_client_wrote_it(
        self, streams: ServerProcess, proxied: str
    ) -> None:
        httpx.put(f"{proxied}/a%2Fb", json=[1])

        listed = httpx.get(f"{streams.url}/?prefix=a").json()["streams"]

        assert [stream["path"] for stream in listed] == ["a%2Fb"]
