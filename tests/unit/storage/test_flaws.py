"""Which servers have published flaws, and what mends them."""

from __future__ import annotations

import pytest

from storage.flaws import FLAWS, flaw_of


@pytest.mark.parametrize(
    ("flavour", "version", "cause", "remedy"),
    [
        ("redis", "8.0.2", "CVE-2025-49844", "8.8.1"),
        ("redis", "8.0.4", "CVE-2026-12087", "8.8.1"),
        ("redis", "7.0.15", "CVE-2025-49844", "8.8.1"),
        ("redis", "7.2.10", "CVE-2025-46817", "7.2.15"),
        ("redis", "7.4.5", "CVE-2025-46818", "7.4.10"),
        ("redis", "8.2.1", "CVE-2025-46819", "8.2.8"),
        ("redis", "8.2.2", "CVE-2026-12087", "8.2.8"),
        ("redis", "8.8.0", "CVE-2026-12087", "8.8.1"),
        ("valkey", "8.0.5", "CVE-2025-49844", "8.0.10"),
        ("valkey", "8.1.3", "CVE-2025-49844", "8.1.9"),
        ("valkey", "8.1.6", "CVE-2026-23631", "8.1.9"),
        ("valkey", "9.0.4", "CVE-2026-56684", "9.0.5"),
        ("valkey", "9.1.0", "CVE-2026-56684", "9.1.1"),
    ],
)
def test_a_server_with_a_published_flaw_is_told_what_mends_it(flavour: str, version: str, cause: str, remedy: str) -> None:
    said = flaw_of(flavour, version)
    assert cause in said
    assert said.endswith(f"upgrade to {remedy} or newer")


@pytest.mark.parametrize(
    ("flavour", "version"),
    [
        ("redis", "7.2.15"), ("redis", "8.2.8"), ("redis", "8.8.1"), ("redis", "9.0.0"), ("valkey", "8.0.10"), ("valkey", "9.1.1"),
        ("valkey", "9.2.0"), ("redis", "unstable"), ("redis", "8.2"), ("redis", "255.255.255"), ("other", "1.0.0"),
    ],
)  # fmt: skip
def test_nothing_is_said_of_a_server_that_none_is_known_of(flavour: str, version: str) -> None:
    assert flaw_of(flavour, version) == ""


def test_what_mends_the_last_flaw_of_a_line_has_none() -> None:
    for flavour in ("redis", "valkey"):
        lines: dict[tuple[int, int], int] = {}
        for flaw in FLAWS:
            if flaw.flavour == flavour:
                lines |= {line: max(patch, lines.get(line, 0)) for line, patch in flaw.mended.items()}
        given_up = {(8, 0)} if flavour == "redis" else set[tuple[int, int]]()
        assert [line for line, patch in lines.items() if flaw_of(flavour, f"{line[0]}.{line[1]}.{patch}")] == sorted(given_up)
