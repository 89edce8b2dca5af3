"""Tests of many cases, of which ``make test-fast`` runs the first."""

import pytest


def sweep(cases, quick=1):
    """Mark the cases of a parameter as slow, but for the first ones.

    Args:
        cases: Values of one parameter.
        quick: How many are not slow. Defaults to 1.
    """
    cases = list(cases)
    slow = [pytest.param(case, marks=pytest.mark.slow) for case in cases]
    return cases[:quick] + slow[quick:]
