"""Tests: unit (no server), integration (real servers), chaos (real processes), e2e (the README's commands)."""
