"""The face of `strategies`: every option by one import, and nothing loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from langchain_promptopt import strategies
from langchain_promptopt.errors import did_you_mean, nearest
from langchain_promptopt.strategies.registry import AXES, options


def test_every_option_can_be_imported_from_the_package():
    for axis in AXES:
        for name, cls in options(axis).items():
            assert getattr(strategies, name) is cls, name
    assert dir(strategies) == sorted(strategies.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = strategies.Nothing


def test_importing_the_package_loads_no_strategy():
    code = "import sys, langchain_promptopt.strategies; print([m for m in sys.modules if '.strategies.' in m])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_nearest_name():
    assert nearest("RandomSpan", ["Spans", "RandomSpans"]) == "RandomSpans"
    assert nearest("xyz", ["Spans"]) is None
    assert nearest("xyz", ["Spans"], cutoff=0.0) == "Spans"
    assert did_you_mean("xyz", ["Spans"]) == ""
