"""Settings: where they come from, what is refused and in which words, and that no secret is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from engine.errors import ConfigError
from engine.limits import Limits
from peerflow.settings import Settings
from peerflow.settings_text import redact_url


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PEERFLOW_") or name == "DEBUG":
            monkeypatch.delenv(name)


def refused(**command_line: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Settings.load(command_line)
    return caught.value.problems


def test_nothing_set_gives_the_documented_defaults() -> None:
    settings = Settings.load()
    assert settings.redis_url is None
    assert (settings.host, settings.port, settings.debug) == ("127.0.0.1", 8000, False)
    assert (settings.concurrency, settings.queues, settings.tasks) == (100, ("default",), ())
    assert (settings.lease_ttl_seconds, settings.grace_seconds, settings.retention_seconds) == (10.0, 25.0, 604_800.0)
    assert (settings.namespace, settings.partitions) == ("pf", 1)
    assert settings.limits == Limits()
    assert settings.data_dir.name == "peerflow"


def test_heartbeats_come_every_third_of_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_LEASE_TTL_SECONDS", "3")
    assert Settings.load().heartbeat_interval_seconds == 1.0


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_TASKS", "shop.tasks, shop.reports,")
    monkeypatch.setenv("PEERFLOW_QUEUES", "fast,slow")
    settings = Settings.load()
    assert settings.tasks == ("shop.tasks", "shop.reports")
    assert settings.queues == ("fast", "slow")


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "True"])
def test_debug_has_no_prefix(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DEBUG", text)
    assert Settings.load().debug is True


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_REDIS_URL", "")
    monkeypatch.setenv("PEERFLOW_PORT", " ")
    assert (Settings.load().redis_url, Settings.load().port) == (None, 8000)


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_PORT", "8001")
    monkeypatch.setenv("PEERFLOW_HOST", "localhost")
    settings = Settings.load({"port": 8002, "host": None})
    assert (settings.port, settings.host) == (8002, "localhost")


def test_settings_do_not_change_after_start() -> None:
    settings = Settings.load()
    with pytest.raises(ValidationError):
        settings.port = 1


def test_each_value_shows_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_QUEUES", "fast,slow")
    monkeypatch.setenv("DEBUG", "true")
    shown = {item.name: (item.value, item.source) for item in Settings.load({"port": 9000}).effective()}
    assert shown["PEERFLOW_PORT"] == ("9000", "command line")
    assert shown["PEERFLOW_QUEUES"] == ("fast,slow", "environment")
    assert shown["DEBUG"] == ("true", "environment")
    assert shown["PEERFLOW_HOST"] == ("127.0.0.1", "default")
    assert shown["PEERFLOW_REDIS_URL"] == ("embedded Valkey", "default")
    assert len(shown) == len(Settings.model_fields)


REFUSED = [
    ("PEERFLOW_PORT", "abc", "PEERFLOW_PORT (abc) must be a port from 0 to 65535"),
    ("PEERFLOW_PORT", "65536", "PEERFLOW_PORT (65536) must be a port from 0 to 65535"),
    ("PEERFLOW_LEASE_TTL_SECONDS", "1.5", "PEERFLOW_LEASE_TTL_SECONDS (1.5) must be a number of seconds from 2 to 60"),
    ("PEERFLOW_LEASE_TTL_SECONDS", "nan", "PEERFLOW_LEASE_TTL_SECONDS (nan) must be a number of seconds from 2 to 60"),
    ("PEERFLOW_GRACE_SECONDS", "inf", "PEERFLOW_GRACE_SECONDS (inf) must be a number of seconds from 0 to 3600"),
    ("PEERFLOW_CONCURRENCY", "0", "PEERFLOW_CONCURRENCY (0) must be a number from 1 to 100000"),
    ("PEERFLOW_LOG_LEVEL", "loud", "PEERFLOW_LOG_LEVEL (loud) must be debug, info, warning or error"),
    ("PEERFLOW_QUEUES", "a,b c", "PEERFLOW_QUEUES (a,b c) must be names separated by commas, each once, of A-Z a-z 0-9 _ . -"),
    ("PEERFLOW_QUEUES", "a,a", "PEERFLOW_QUEUES (a,a) must be names separated by commas, each once, of A-Z a-z 0-9 _ . -"),
    ("PEERFLOW_QUEUES", ",", "PEERFLOW_QUEUES (,) must be names separated by commas, each once, of A-Z a-z 0-9 _ . -"),
    ("PEERFLOW_TASKS", "a/b.py", "PEERFLOW_TASKS (a/b.py) must be module names separated by commas, such as shop.tasks,shop.reports"),
    ("PEERFLOW_NAMESPACE", "a{b}", "PEERFLOW_NAMESPACE (a{b}) must be 1 to 32 characters of A-Z a-z 0-9 _ . -"),
    ("PEERFLOW_HOST", "a\x1b[31m", "PEERFLOW_HOST (a\\x1b[31m) must be an address or a host name such as 0.0.0.0 or localhost"),
    ("DEBUG", "app:*", "DEBUG (app:*) must be true or false"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), REFUSED)
def test_a_wrong_value_is_refused_with_variable_value_and_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    assert refused() == [sentence]


def test_a_wrong_option_is_named_as_it_was_typed() -> None:
    assert refused(port=-1, redis_url="http://x") == [
        (
            "--redis-url (http://x) must be a URL such as redis://host:6379/0, rediss://user:password@host:6380/0, "
            "unix:///path/to/socket, redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:6379,host:6379"
        ),
        "--port (-1) must be a port from 0 to 65535",
    ]


def test_an_option_that_does_not_exist_is_refused() -> None:
    assert refused(prt=1) == ["--prt is not a setting"]


def test_all_problems_come_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_PORT", "abc")
    monkeypatch.setenv("PEERFLOW_LEASE_TTL_SECONDS", "1")
    monkeypatch.setenv("PEERFLOW_QUEUE", "fast")
    problems = refused(concurrency=0)
    assert len(problems) == 4
    assert "PEERFLOW_QUEUE is not a setting; did you mean PEERFLOW_QUEUES?" in problems


def test_relations_between_values_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_LIMIT_BODY_BYTES", "2048")
    assert refused() == [
        "PEERFLOW_LIMIT_ARGS_BYTES (262144) must be at most PEERFLOW_LIMIT_BODY_BYTES (2048)",
        "PEERFLOW_LIMIT_OTHER_BODY_BYTES (1048576) must be at most PEERFLOW_LIMIT_BODY_BYTES (2048)",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("PEERFLOW_REDIS", "PEERFLOW_REDIS is not a setting; did you mean PEERFLOW_REDIS_URL?"),
        ("PEERFLOW_DEBUG", "PEERFLOW_DEBUG is not a setting; the variable is DEBUG, without the prefix"),
        ("PEERFLOW_XYZZY", "PEERFLOW_XYZZY is not a setting; unset it (`peerflow doctor` lists all settings)"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_name(monkeypatch: pytest.MonkeyPatch, name: str, sentence: str) -> None:
    monkeypatch.setenv(name, "x")
    assert refused() == [sentence]


def test_variables_that_kubernetes_makes_for_services_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PEERFLOW_SERVICE_HOST": "10.0.0.7",
        "PEERFLOW_SERVICE_PORT": "8000",
        "PEERFLOW_SERVICE_PORT_HTTP": "8000",
        "PEERFLOW_PORT": "tcp://10.0.0.7:8000",
        "PEERFLOW_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "PEERFLOW_PORT_8000_TCP_ADDR": "10.0.0.7",
        "PEERFLOW_REDIS_PORT": "tcp://10.0.0.8:6379",
        "PEERFLOW_REDIS_SERVICE_HOST": "10.0.0.8",
    }.items():
        monkeypatch.setenv(name, value)
    assert Settings.load().port == 8000


def test_the_client_s_and_the_test_suite_s_variables_are_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_URL", "http://127.0.0.1:8000")
    monkeypatch.setenv("PEERFLOW_TEST_ENGINES", "docker")
    assert Settings.load().port == 8000


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "rediss://me:secret@host:6380/1",
        "unix:///tmp/valkey.sock?db=1",
        "redis://[::1]:6379/0",
        "redis+sentinel://me:secret@a:1,b/mymaster",
        "rediss+cluster://:secret@a:1,[::1]:2",
    ],
)
def test_a_url_of_a_server_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PEERFLOW_REDIS_URL", url)
    assert Settings.load().redis_url == SecretStr(url)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "redis://",
        "unix://relative.sock",
        "http://host",
        "redis://host:port",
        "redis://[::1",
        "redis+sentinel://host",
        "redis+cluster://host/1",
    ],
)
def test_what_is_no_url_of_a_server_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PEERFLOW_REDIS_URL", url)
    assert len(refused()) == 1


def test_the_password_of_redis_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_REDIS_URL", "redis://app:hunter2@host:6379/0")
    settings = Settings.load()
    texts = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.effective())]
    assert not [text for text in texts if "hunter2" in text]
    monkeypatch.setenv("PEERFLOW_REDIS_URL", "redis-typo://app:hunter2@host:6379/0")
    assert refused()[0].startswith("PEERFLOW_REDIS_URL (redis-typo://app:***@host:6379/0) must be a URL such as")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://app:hunter2@host:6379/0", "redis://app:***@host:6379/0"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("redis://:hun@ter2@host", "redis://:***@host"),
        ("redis://host/0?password=hunter2&db=1", "redis://host/0?password=***&db=1"),
        ("rediss://host?ssl_keyfile_password=hunter2", "rediss://host?ssl_keyfile_password=***"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("redis+sentinel://:hunter2@a:1,b:2/pf/0?sentinel_password=hunter2", "redis+sentinel://:***@a:1,b:2/pf/0?sentinel_password=***"),
        ("rediss+cluster://app:hunter2@a:1,b:2", "rediss+cluster://app:***@a:1,b:2"),
        ("redis://:hunter2/x@host", "***"),
        ("redis://:hunter2?x@host", "***"),
        ("redis://:hunter2#x@host", "***"),
        ("app:hunter2@host:6379", "***"),
        ("hunter2", "***"),
        ("redis://[hunter2", "***"),
    ],
)
def test_passwords_are_hidden_wherever_they_stand_in_a_url(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_a_pod_open_to_the_network_says_so() -> None:
    assert Settings.load({"host": "127.0.0.1"}).warnings() == []
    assert Settings.load({"host": "localhost"}).warnings() == []
    assert Settings.load({"host": "::1"}).warnings() == []
    assert len(Settings.load({"host": "0.0.0.0"}).warnings()) == 1
    assert len(Settings.load({"host": "example.org", "debug": True}).warnings()) == 2


def test_a_pod_that_asks_for_keys_needs_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_API_KEYS_FILE", "keys.json")
    settings = Settings.load({"host": "0.0.0.0", "debug": True})
    assert settings.asks_for_credentials
    assert settings.warnings() == []


def test_the_callers_variable_in_place_of_the_pods_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_API_KEY_FILE", "ci.key")
    first, second = Settings.load({"host": "0.0.0.0"}).warnings()
    assert "asks nobody for a key" in first
    assert second == "PEERFLOW_API_KEY_FILE is for the command line: pods read PEERFLOW_API_KEYS_FILE"


ISSUER = {"PEERFLOW_OIDC_ISSUER": "https://login.example.org", "PEERFLOW_OIDC_AUDIENCE": "peerflow"}


def test_an_issuer_and_its_audience_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ISSUER.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.asks_for_credentials
    assert (settings.oidc_algorithms, settings.oidc_scopes_claim, settings.oidc_tenant_claim) == (("RS256", "ES256"), "scope", "")


@pytest.mark.parametrize(
    ("variables", "problems"),
    [
        ({"PEERFLOW_OIDC_ISSUER": "https://a.example"}, ["PEERFLOW_OIDC_ISSUER (https://a.example) needs PEERFLOW_OIDC_AUDIENCE"]),
        ({"PEERFLOW_OIDC_AUDIENCE": "peerflow"}, ["PEERFLOW_OIDC_AUDIENCE does nothing without PEERFLOW_OIDC_ISSUER"]),
        (
            {"PEERFLOW_OIDC_JWKS_URL": "https://a.example", "PEERFLOW_OIDC_TENANT_CLAIM": "team"},
            ["PEERFLOW_OIDC_JWKS_URL does nothing", "PEERFLOW_OIDC_TENANT_CLAIM does nothing"],
        ),
        (ISSUER | {"PEERFLOW_OIDC_ISSUER": "http://a.example"}, ["PEERFLOW_OIDC_ISSUER (http://a.example) must be an https:// URL"]),
        (ISSUER | {"PEERFLOW_OIDC_ALGORITHMS": "HS256"}, ["PEERFLOW_OIDC_ALGORITHMS (HS256) must be some of RS256"]),
        (ISSUER | {"PEERFLOW_OIDC_ALGORITHMS": "RS256,none"}, ["PEERFLOW_OIDC_ALGORITHMS (RS256,none) must be some of RS256"]),
        (ISSUER | {"PEERFLOW_OIDC_ALGORITHMS": ","}, ["PEERFLOW_OIDC_ALGORITHMS (,) must be some of RS256"]),
    ],
)
def test_settings_of_an_issuer_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problems: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = refused()
    assert len(found) == len(problems)
    assert all(text.startswith(beginning) for text, beginning in zip(found, problems, strict=True))


def test_a_user_without_a_home_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert Settings.load({"redis_url": "redis://host"}).data_dir == Path("peerflow-data")


def test_the_data_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings.load().data_dir == tmp_path / "peerflow"


def test_no_limit_lets_a_task_have_more_predecessors_than_scripts_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_LIMIT_TASKS", str(2**17))
    assert Settings.load().limits.tasks - 1 < 2**17
    monkeypatch.setenv("PEERFLOW_LIMIT_TASKS", str(2**17 + 1))
    assert refused() == ["PEERFLOW_LIMIT_TASKS (131073) must be a number from 1 to 131072"]
