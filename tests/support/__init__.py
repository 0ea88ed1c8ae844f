"""Loopback servers and helpers for the tests; not part of the product."""
