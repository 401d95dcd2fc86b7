"""Settings: where their values come from, and what is said of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from durafold_server.cli import config, parse_arguments
from durafold_server.config import ConnectionLimits, ServeSettings, ServiceSettings
from durafold_server.settings import (
    BY_NAME,
    SETTINGS,
    InvalidSetting,
    Setting,
    checked,
    read_tokens,
    resolve,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.env, raising=False)
    monkeypatch.delenv("DURAFOLD_CONFIG", raising=False)
    return tmp_path


def found(name: str, flags: Mapping[str, object], env: Mapping[str, str], here: Path) -> tuple[object, str]:
    """A setting's value and source."""
    chosen = {each.setting.name: each for each in resolve(flags, env, here).chosen}[name]
    return chosen.value, chosen.source


# The table


def test_every_field_is_in_the_table_once() -> None:
    settable = {
        field.name
        for group in (ServeSettings, ServiceSettings, ConnectionLimits)
        for field in fields(group)
        if field.name not in ("service", "connection")
    }

    assert sorted(setting.field for setting in SETTINGS) == sorted(settable)
    assert len(BY_NAME) == len(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_default_is_a_value_that_may_be_given(setting: Setting) -> None:
    assert setting.parse(setting.default) == setting.default


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_explained(setting: Setting) -> None:
    assert setting.help
    assert not setting.help.endswith(".")


def test_the_reference_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    config(["reference"])

    page = (ROOT / "docs/reference/settings.md").read_text()
    assert page == capsys.readouterr().out, "run: durafold config reference > docs/reference/settings.md"


# Precedence


def test_a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default(here: Path) -> None:
    (here / "durafold.toml").write_text("port = 3")
    flag, env = {"port": "1"}, {"DURAFOLD_PORT": "2"}

    assert found("port", flag, env, here) == (1, "flag --port")
    assert found("port", {}, env, here) == (2, "environment variable DURAFOLD_PORT")
    assert found("port", {}, {}, here) == (3, "durafold.toml")
    assert found("prefix", {}, {}, here) == ("/v1/stream", "default")


def test_the_file_may_be_a_table_of_the_projects(here: Path) -> None:
    (here / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.durafold]\nlong_poll_timeout_s = 2\n")

    assert found("long_poll_timeout_s", {}, {}, here) == (2.0, "pyproject.toml [tool.durafold]")


def test_a_file_of_our_own_is_preferred(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool.durafold]\nport = 1\n")
    (here / "durafold.toml").write_text("port = 2")

    assert found("port", {}, {}, here) == (2, "durafold.toml")


def test_the_file_can_be_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "other.toml").write_text("port = 7")
    (here / "durafold.toml").write_text("port = 2")

    assert parse_arguments(["--config", "other.toml"]).port == 7
    monkeypatch.setenv("DURAFOLD_CONFIG", "other.toml")
    assert parse_arguments([]).port == 7


def test_every_kind_of_value_can_come_from_the_environment(here: Path) -> None:
    env = {
        "DURAFOLD_PORT": "8080",
        "DURAFOLD_HEARTBEAT_S": "0.5",
        "DURAFOLD_MEMORY": "yes",
        "DURAFOLD_CORS": "false",
        "DURAFOLD_DATA": "/var/lib/streams",
        "DURAFOLD_WEBHOOKS": "local",
        "DURAFOLD_TOKENS": "app@s=read,write:todos/ other=admin",
        "DURAFOLD_CORS_ORIGINS": "https://a.example https://b.example",
        "DURAFOLD_MAX_CONNECTIONS": "7",
    }

    settings = resolve({}, env, here).serve_settings()

    assert (settings.port, settings.service.heartbeat_s, settings.memory, settings.cors) == (
        8080,
        0.5,
        True,
        False,
    )
    assert (settings.data_dir, settings.service.webhooks) == (Path("/var/lib/streams"), "local")
    assert [token.identity.name for token in settings.tokens] == ["app", "token-2"]
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.connection.max_connections == 7


def test_every_kind_of_value_can_come_from_the_file(here: Path) -> None:
    (here / "durafold.toml").write_text(
        'port = 8080\nheartbeat_s = 1\nmemory = true\ndata = "d"\nwebhooks = "public"\n'
        'tokens = ["app@s=read"]\ncors_origins = ["https://a.example"]\n'
    )

    settings = resolve({}, {}, here).serve_settings()

    assert (settings.port, settings.service.heartbeat_s, settings.memory) == (8080, 1.0, True)
    assert (settings.data_dir, settings.service.webhooks) == (Path("d"), "public")
    assert (settings.tokens[0].identity.name, settings.cors_origins) == ("app", ("https://a.example",))


def test_every_kind_of_value_can_come_from_the_command_line() -> None:
    line = (
        "--port 0 --heartbeat-s 1 --memory --no-cors --data d --webhooks local --token a@x=read "
        "--token b@y=write --cors-origin https://a.example --max-connections 5 --access-log json"
    )

    settings = parse_arguments(line.split())

    assert (settings.port, settings.memory, settings.cors, settings.data_dir) == (0, True, False, Path("d"))
    assert (settings.service.heartbeat_s, settings.service.webhooks) == (1.0, "local")
    assert [str(token) for token in settings.tokens] == ["a@***=read", "b@***=write"]
    assert (settings.cors_origins, settings.access_log) == (("https://a.example",), "json")
    assert settings.connection.max_connections == 5


def test_a_switch_can_be_switched_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURAFOLD_MEMORY", "1")

    assert parse_arguments([]).memory is True
    assert parse_arguments(["--no-memory"]).memory is False


# Wrong values


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("port", "x", "must be a whole number (it is 'x')"),
        ("port", "65536", "must be from 0 to 65535 (it is '65536')"),
        ("heartbeat_s", "0", "must be greater than 0 (it is '0')"),
        ("heartbeat_s", "nan", "must be greater than 0 (it is 'nan')"),
        ("max_json_depth", "501", "must be from 0 to 500 (it is '501')"),
        ("memory", "maybe", "must be true or false (it is 'maybe')"),
        ("webhooks", "all", "must be one of off, local, public (it is 'all')"),
        ("data", "", "must be a path (it is '')"),
    ],
)
def test_a_wrong_value_is_said_with_its_source(name: str, text: str, said: str, here: Path) -> None:
    variable = f"DURAFOLD_{name.upper()}"

    with pytest.raises(InvalidSetting) as refusal:
        resolve({}, {variable: text}, here)

    assert str(refusal.value) == f"environment variable {variable}: {said}"


@pytest.mark.parametrize(
    "line", ['port = "x"', "port = true", "port = 1.5", "webhooks = 1", "tokens = 5", "memory = 2"]
)
def test_a_wrong_value_in_the_file_is_said_with_its_key(here: Path, line: str) -> None:
    (here / "durafold.toml").write_text(line)

    with pytest.raises(InvalidSetting, match=rf"^durafold\.toml, key {line.split(maxsplit=1)[0]}: must be "):
        resolve({}, {}, here)


def test_an_unknown_key_is_refused_with_the_nearest_one(here: Path) -> None:
    (here / "durafold.toml").write_text("prot = 1")

    with pytest.raises(
        InvalidSetting, match=r"durafold\.toml: there is no setting prot; did you mean port\?"
    ):
        resolve({}, {}, here)


@pytest.mark.parametrize("content", [b"port = ", b"\xff"])
def test_a_file_that_is_no_toml_is_said(here: Path, content: bytes) -> None:
    (here / "durafold.toml").write_bytes(content)

    with pytest.raises(InvalidSetting, match=r"durafold\.toml cannot be read"):
        resolve({}, {}, here)


def test_a_named_file_that_is_not_there_is_said() -> None:
    with pytest.raises(InvalidSetting, match="no-such-file"):
        resolve({"config": "no-such-file"}, {}, Path())


def test_a_wrong_token_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DURAFOLD_TOKENS", "app@v3ry-s3cr3t=raed")

    with pytest.raises(SystemExit) as ended:
        parse_arguments([])

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "environment variable DURAFOLD_TOKENS" in said
    assert "s3cr3t=raed" not in said


def test_a_flag_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--prot", "1"])

    assert ended.value.code == 2


def test_options_of_a_caller_are_checked_too() -> None:
    assert checked({"port": 1, "data": Path("d")}) == {"port": 1, "data": Path("d")}
    with pytest.raises(InvalidSetting, match="did you mean port"):
        checked({"prot": 1})
    with pytest.raises(InvalidSetting, match=r"argument port: must be from 0 to 65535 \(it is -1\)"):
        checked({"port": -1})


# The tokens' file


def test_tokens_may_be_in_a_file(here: Path) -> None:
    (here / "clients").write_text("# two of them\napp@s=read\nt=write\n")

    assert [token.identity.name for token in read_tokens(here / "clients")] == ["app", "clients-3"]


@pytest.mark.parametrize(
    ("content", "said"), [(b"good=read\nbad", "line 2"), (b"\xff\xfe", "cannot be read")]
)
def test_a_wrong_tokens_file_is_said(here: Path, content: bytes, said: str) -> None:
    (here / "clients").write_bytes(content)

    with pytest.raises(InvalidSetting, match=said):
        read_tokens(here / "clients")


# Showing


def test_config_show_names_every_value_and_its_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DURAFOLD_TOKENS", "app@s3cr3t=read")

    assert config(["show", "--port", "8080"]) == 0

    shown = {line.split(" ")[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert shown["port"] == "port = 8080 # flag --port"
    assert shown["tokens"] == 'tokens = ["app@***=read"] # environment variable DURAFOLD_TOKENS'
    assert shown["memory"] == "memory = false # default"
    assert set(shown) == set(BY_NAME)


def test_config_show_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    config(["show", "--json", "--token", "app@s3cr3t=read", "--memory"])

    shown = json.loads(capsys.readouterr().out)
    assert shown["tokens"] == {"value": ["app@***=read"], "source": "flag --token"}
    assert shown["memory"] == {"value": True, "source": "flag --memory"}
    assert shown["data"] == {"value": "durafold-data", "source": "default"}


def test_config_show_refuses_what_serve_would(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        config(["show", "--port", "x"])

    assert ended.value.code == 2
    assert "argument --port: must be a whole number" in capsys.readouterr().err
