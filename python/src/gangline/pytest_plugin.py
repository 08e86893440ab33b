"""Fixtures for tests that want a real server; pytest finds them by the package's entry point."""

from __future__ import annotations
