"""The `sometimes` list is looked at when everything else here has run; the summary tells what was tried."""

from __future__ import annotations

import pytest

from tests.faults.ledger import LEDGER, Ledger

LAST = "test_everything_that_should_happen_sometimes_has_happened"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.name == LAST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in LEDGER.lines():
        terminalreporter.write_line(line)


@pytest.fixture
def ledger() -> Ledger:
    return LEDGER
