"""What the pods of a supervisor find in their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from peerflow.cli import credentials
from peerflow.settings import Settings
from peerflow.settings_source import variable


def child_environment(settings: Settings, count: int, *, terminal: bool) -> Mapping[str, str]:
    """This environment with what the command line set; secrets go this way because a command line is for all to read.

    `terminal`: what the pods write into pipes is read on one.
    """
    environment = dict(os.environ)
    # The caller's own key is not for the pods, whose task code reads the environment.
    for name in (credentials.VARIABLE, credentials.FILE_VARIABLE):
        environment.pop(name, None)
    if settings.redis_url is not None:
        environment["PEERFLOW_REDIS_URL"] = settings.redis_url.get_secret_value()
    if settings.tasks:
        environment["PEERFLOW_TASKS"] = ",".join(settings.tasks)
    for field in ("concurrency", "host", "port", "log_format", "log_level"):
        environment[variable(field)] = str(getattr(settings, field))
    if terminal and settings.log_format == "auto":
        environment[variable("log_format")] = "text"
    if "processes" not in settings.model_fields_set:
        # The machine's CPUs are for all of them together.
        environment[variable("processes")] = str(max(1, settings.processes // count))
    return environment
