"""The settings of a pod: one frozen model, read once in `peerflow/main.py` and passed on as values.

Each comes from its `PEERFLOW_*` variable (`DEBUG` has no prefix) or from the command line, which wins. `Settings.load` reports everything
that is wrong in one `ConfigError`: the variable, its value, and what it must be.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from engine.errors import ConfigError
from engine.limits import Limits
from peerflow.auth.addresses import is_loopback
from peerflow.settings_access import AccessSettings
from peerflow.settings_fields import Modules, Names, setting
from peerflow.settings_source import option, read_environment, unknown_variables, variable
from peerflow.settings_telemetry import TelemetrySettings
from peerflow.settings_text import EffectiveSetting, Source, refusal, shown
from storage.server_url import ServerUrl

_DAY_SECONDS: Final = 86_400.0
_MIB: Final = 1_048_576
_NOT_ABOVE: Final = (
    ("limit_args_bytes", "limit_body_bytes"),
    ("limit_other_body_bytes", "limit_body_bytes"),
    ("limit_nesting", "limit_depth"),
    ("task_log_bytes", "task_log_run_bytes"),
)
"""Pairs of fields of which the first cannot be larger than the second."""


class _RelationsError(ValueError):
    """Values that are right alone and wrong together; pydantic carries it, `Settings.load` reads it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Environment(PydanticBaseSettingsSource):
    """Reads the variables as texts; pydantic-settings' own reader would take `PEERFLOW_PORT=tcp://…` of a Kubernetes Service for a port."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  (the base class's signature)
        return read_environment(os.environ, [field_name]).get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {**read_environment(os.environ, self.settings_cls.model_fields)}


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "share") / "peerflow"
    except RuntimeError:
        # A container's user may have no home; it then has a Redis, too, and the folder is not used.
        return Path("peerflow-data")


class Settings(TelemetrySettings, AccessSettings):
    """What a pod is told. Durations in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    redis_url: SecretStr | None = setting(
        None,
        "Redis or Valkey that all pods share; without one, an embedded Valkey in the data directory",
        "a URL such as redis://host:6379/0, rediss://user:password@host:6380/0, unix:///path/to/socket, "
        "redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:6379,host:6379",
    )
    namespace: str = setting(
        "pf",
        "prefix of every key, so that several peerflows can share one server",
        "1 to 32 characters of A-Z a-z 0-9 _ . -",
        pattern=r"^[A-Za-z0-9_.-]{1,32}$",
    )
    partitions: int = setting(
        1, "slices of the key space; 1 suits one Redis, a cluster takes about 4 × its primaries", "a number from 1 to 1024", ge=1, le=1024
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="folder of the embedded Valkey; read only without PEERFLOW_REDIS_URL",
        json_schema_extra={"must_be": "a path"},
    )
    tasks: Modules = setting(
        (), "modules with task functions, imported at start", "module names separated by commas, such as shop.tasks,shop.reports"
    )
    queues: Names = setting(
        ("default",), "queues that this pod serves", "names separated by commas, each once, of A-Z a-z 0-9 _ . -", min_length=1
    )
    concurrency: int = setting(100, "attempts that this pod runs at once", "a number from 1 to 100000", ge=1, le=100_000)
    processes: int = setting(
        os.cpu_count() or 1, 'child processes for @task(executor="process"), started when needed', "a number from 1 to 256", ge=1, le=256
    )
    lease_ttl_seconds: float = setting(
        10.0, "how long a silent pod keeps its tasks; heartbeats go out every third of it", "a number of seconds from 2 to 60", ge=2, le=60
    )
    audit_after_seconds: float = setting(
        30.0,
        "a run in which nothing happens for so long is looked at: is something still to come?",
        "a number of seconds from 0.1 to 3600",
        ge=0.1,
        le=3600,
    )
    grace_seconds: float = setting(
        25.0,
        "how long running tasks may finish after SIGTERM before they are handed back",
        "a number of seconds from 0 to 3600",
        ge=0,
        le=3600,
    )
    retention_seconds: float = setting(
        7 * _DAY_SECONDS,
        "how long a finished run can be read, unless it says otherwise",
        "a number of seconds from 1 to 315360000",
        ge=1,
        le=3650 * _DAY_SECONDS,
    )
    host: str = setting(
        "127.0.0.1",
        "address that the API listens on",
        "an address or a host name such as 0.0.0.0 or localhost",
        pattern=r"^[A-Za-z0-9_.:-]{1,253}$",
    )
    port: int = setting(8000, "port that the API listens on; 0 takes a free one", "a port from 0 to 65535", ge=0, le=65_535)
    debug: bool = setting(False, "opens GET /runs, the list of all runs, to everybody", "true or false")  # noqa: FBT003
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "the least important line that is written", "debug, info, warning or error"
    )
    log_format: Literal["auto", "json", "text"] = setting(
        "auto", "auto: text on a terminal, else one JSON object a line", "auto, json or text"
    )
    limit_body_bytes: int = setting(
        16 * _MIB, "largest posted definition", "a number of bytes from 1024 to 268435456", ge=1024, le=256 * _MIB
    )
    limit_other_body_bytes: int = setting(
        _MIB, "largest body of any other request", "a number of bytes from 1024 to 268435456", ge=1024, le=256 * _MIB
    )
    limit_depth: int = setting(64, "how deep JSON may nest", "a number from 8 to 200", ge=8, le=200)
    # 2^17: scripts count a task's predecessors, which are fewer than the tasks, in 17 bits (storage/lua/lib/flow.lua).
    limit_tasks: int = setting(100_000, "tasks of one definition", "a number from 1 to 131072", ge=1, le=131_072)
    limit_edges: int = setting(1_000_000, "dependencies of one definition", "a number from 1 to 10000000", ge=1, le=10_000_000)
    limit_nesting: int = setting(32, "how deep steps may nest", "a number from 1 to 64", ge=1, le=64)
    limit_args_bytes: int = setting(262_144, "arguments of one task", "a number of bytes from 64 to 16777216", ge=64, le=16 * _MIB)
    limit_result_bytes: int = setting(262_144, "result of one task", "a number of bytes from 64 to 16777216", ge=64, le=16 * _MIB)

    _command_line: frozenset[str] = PrivateAttr(default=frozenset())

    @classmethod
    def load(cls, command_line: Mapping[str, object] | None = None) -> Settings:
        """What the environment and the command line say (field → value; None is not given). Raises ConfigError with all problems."""
        given = {field: value for field, value in (command_line or {}).items() if value is not None}
        problems = unknown_variables(os.environ, cls.model_fields)
        try:
            settings = cls(**given)  # pyright: ignore[reportArgumentType]  (checked by the model, as the environment's texts are)
        except ValidationError as error:
            raise ConfigError(_problems(error, given) + problems) from None
        if problems:
            raise ConfigError(problems)
        settings._command_line = frozenset(given)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the base class's signature, for these three)
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls)

    @field_validator("queues")
    @classmethod
    def _check_queues(cls, queues: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(queues)) != len(queues):
            raise ValueError("a queue is named twice")
        return queues

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            ServerUrl.parse(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _check_relations(self) -> Settings:
        problems = [
            f"{variable(small)} ({getattr(self, small)}) must be at most {variable(large)} ({getattr(self, large)})"
            for small, large in _NOT_ABOVE
            if getattr(self, small) > getattr(self, large)
        ]
        problems += self.access_problems()
        if problems:
            raise _RelationsError(problems)
        return self

    @property
    def heartbeat_interval_seconds(self) -> float:
        """A third of the lease: two heartbeats may be lost before another pod takes over."""
        return self.lease_ttl_seconds / 3

    @property
    def limits(self) -> Limits:
        """The limits of DESIGN.md §8 as the engine takes them."""
        return Limits(
            body_bytes=self.limit_body_bytes,
            other_body_bytes=self.limit_other_body_bytes,
            depth=self.limit_depth,
            tasks=self.limit_tasks,
            edges=self.limit_edges,
            nesting=self.limit_nesting,
            args_bytes=self.limit_args_bytes,
            result_bytes=self.limit_result_bytes,
        )

    def effective(self) -> list[EffectiveSetting]:
        """Every setting in the order above, its value as text with secrets hidden, and its source."""
        return [EffectiveSetting(variable(field), shown(getattr(self, field)), self._source(field)) for field in type(self).model_fields]

    def warnings(self) -> list[str]:
        """What is allowed and should not surprise anybody: one sentence each."""
        if self.asks_for_credentials or is_loopback(self.host):
            return []
        open_to_all = (
            f"the API listens on {self.host} and asks nobody for a key: whoever reaches port {self.port} may start and cancel runs"
        )
        found = [f"{open_to_all}; set PEERFLOW_API_KEYS_FILE or PEERFLOW_OIDC_ISSUER"]
        if os.environ.get("PEERFLOW_API_KEY_FILE"):
            found.append("PEERFLOW_API_KEY_FILE is for the command line: pods read PEERFLOW_API_KEYS_FILE")
        if self.debug:
            found.append("DEBUG=true: GET /runs shows all runs to whoever reaches that port")
        return found

    def _source(self, field: str) -> Source:
        if field in self._command_line:
            return "command line"
        return "environment" if field in self.model_fields_set else "default"


def _problems(error: ValidationError, given: Mapping[str, object]) -> list[str]:
    """One sentence a field: `PEERFLOW_PORT (abc) must be a port from 0 to 65535`."""
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, _RelationsError):
            return cause.problems
        field = str(item["loc"][0])
        if field not in Settings.model_fields:
            found[field] = f"{option(field)} is not a setting"
            continue
        must_be = cast("dict[str, str]", Settings.model_fields[field].json_schema_extra)["must_be"]
        name, value = (option(field), given[field]) if field in given else (variable(field), os.environ.get(variable(field), ""))
        found[field] = refusal(name, value, must_be, secret=field == "redis_url")
    return list(found.values())
