"""The built site in a browser without network, opened from the disk."""

from pathlib import Path

import pytest
from browser import open_browser

pytestmark = pytest.mark.slow

SITE = Path(__file__).parents[2] / 'site'
PAGES = (
    'index',
    'model_zoo',
    'operator',
    'gallery',
    'benchmarks',
    'api/ops',
    'projects/guidelines/index',
)
# a query, and the page that must be among its results
QUERIES = {
    'fft': 'operator',
    'SHA-256': 'model_zoo',
    'DepthwiseConv2d': 'api/ops',
}


@pytest.fixture(scope='module')
def browser():
    if not (SITE / 'index.html').is_file():
        pytest.skip('needs the site: make docs')
    with open_browser() as found:
        yield found


@pytest.fixture(params=[1280, 390])
def tab(browser, request):
    """A page of that width; what it must not do fails the test at its end."""
    context = browser.new_context(
        viewport=dict(width=request.param, height=900), offline=True
    )
    tab = context.new_page()
    wrong = []
    tab.on(
        'request',
        lambda sent: (
            sent.url.startswith(('file:', 'data:', 'blob:', 'about:'))
            or wrong.append(f'it asks for {sent.url}')
        ),
    )
    tab.on('requestfailed', lambda sent: wrong.append(f'{sent.url} fails'))
    tab.on('pageerror', lambda error: wrong.append(f'error: {error}'))
    tab.on(
        'console',
        lambda line: line.type == 'error' and wrong.append(line.text),
    )
    yield tab
    context.close()
    assert not wrong


def open_page(tab, name: str) -> None:
    tab.goto((SITE / f'{name}.html').as_uri())


@pytest.mark.parametrize('name', PAGES)
def test_page(tab, name):
    """It fits the window, and what is wider scrolls in a frame of its own."""
    open_page(tab, name)
    tab.wait_for_selector('.md-typeset h1')
    page = tab.evaluate('document.documentElement.scrollWidth')
    assert page <= tab.viewport_size['width']
    cut = tab.evaluate(
        """() => [...document.querySelectorAll('.md-typeset :is(table, pre)')]
        .filter(part => {
            const frame = part.closest('.md-typeset__scrollwrap') || part;
            const box = part.querySelector('code') || frame;
            return box.scrollWidth > box.clientWidth
                && getComputedStyle(box).overflowX == 'visible';
        }).map(part => part.innerText.slice(0, 80))"""
    )
    assert cut == []
    broken = tab.evaluate(
        """() => [...document.images].filter(image => !image.naturalWidth)
        .map(image => image.src)"""
    )
    assert broken == []


def test_wide_tables_scroll(tab):
    """The zoo's are wider than a telephone, and show that they scroll."""
    open_page(tab, 'model_zoo')
    bars = tab.evaluate(
        """() => [...document.querySelectorAll('.md-typeset__scrollwrap')]
        .filter(frame => frame.scrollWidth > frame.clientWidth)
        .map(frame => frame.offsetHeight - frame.clientHeight)"""
    )
    assert bars and all(height > 0 for height in bars)


@pytest.mark.parametrize('query', QUERIES)
def test_search(tab, query):
    open_page(tab, 'index')
    if tab.viewport_size['width'] < 960:
        tab.click('label.md-header__button[for=__search]')
    tab.locator('.md-search__input').press_sequentially(query, delay=20)
    tab.wait_for_selector('.md-search-result__item')
    found = tab.eval_on_selector_all(
        '.md-search-result__link', 'links => links.map(link => link.href)'
    )
    assert any(f'{QUERIES[query]}.html' in link for link in found), found
