"""Imported in a child process of a pod that traces: spans that task code makes there belong to its attempt, and are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry import context

from peerflow import __version__
from peerflow.tracing.contexts import context_from
from peerflow.tracing.provider import make_provider
from scheduler.tracing import enter_with

DELAY_MS: Final = 500.0
"""A child is killed when its pod ends, so it does not wait long."""


def _enter(headers: Mapping[str, str]) -> None:
    context.attach(context_from(headers))


make_provider(__version__, delay_ms=DELAY_MS)
enter_with(_enter)
