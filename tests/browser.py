"""A headless Chromium for the tests that look at pages."""

import shutil
from contextlib import contextmanager
from typing import Any, Iterator

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome')


@contextmanager
def open_browser() -> Iterator[Any]:
    """A browser of Playwright's; skips the test if there is none."""
    api = pytest.importorskip(
        'playwright.sync_api', reason='needs playwright (requirements/tests)'
    )
    paths = [path for path in map(shutil.which, NAMES) if path]
    if not paths:
        pytest.skip('needs Chromium: apt-get install chromium')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=paths[0],
            args=['--no-sandbox'],  # which root has to do without
        )
        yield browser
        browser.close()
