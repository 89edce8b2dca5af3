"""Tests of many cases, of which ``make test-fast`` runs the first."""

import pytest


def sweep(cases, quick=1, unpack=False):
    """Mark the cases of a test as slow, but for the first ones.

    Args:
        cases: Values of one parameter, or tuples of values of several.
        quick: How many are not slow. Defaults to 1.
        unpack: Whether the test has several parameters. Defaults to False.
    """
    cases = list(cases)
    slow = [
        pytest.param(*(case if unpack else [case]), marks=pytest.mark.slow)
        for case in cases[quick:]
    ]
    return cases[:quick] + slow
