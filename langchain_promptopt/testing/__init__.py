"""Fakes and conformance classes for strategies, ports and strangers' code: part of the product."""
