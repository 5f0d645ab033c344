"""Clusters of this process, on the session's embedded server."""

from __future__ import annotations

import pytest

from peerflow.testing.plugin import peerflow_cluster

__all__ = ["peerflow_cluster"]


@pytest.fixture
def peerflow_server(valkey_url: str) -> str:
    """The suite's own server, instead of one more."""
    return valkey_url
