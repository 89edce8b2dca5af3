import pytest

from mmrep.errors import agreed, counted, one_line, share


def test_counted():
    assert counted(1, 'picture') == '1 picture'
    assert counted(2, 'epoch') == '2 epochs'
    assert counted(2, 'batch') == '2 batches'
    assert counted(0, 'picture') == '0 pictures'
    assert counted(1, 'class') == '1 class'
    assert [counted(2, x) for x in ('class', 'batch', 'box', 'mask')] == [
        *('2 classes', '2 batches', '2 boxes', '2 masks')
    ]


def test_share():
    assert share(1, 12, 'image') == '1 of 12 images'
    assert share(12, 12, 'image') == 'all 12 images'
    assert share(1, 1, 'image') == 'the only image'
    assert [agreed(n, 'is are') for n in (0, 1, 2)] == ['are', 'is', 'are']


def test_arguments_of_an_error_without_brackets():
    assert one_line(ValueError('no file', 3)) == 'no file: 3'


@pytest.mark.parametrize(
    ('kind', 'first', 'line'),
    [
        (False, False, 'no compiler Set VERBOSE'),
        (True, False, 'ValueError: no compiler Set VERBOSE'),
        (False, True, 'no compiler'),
        (True, True, 'ValueError: no compiler'),
    ],
)
def test_an_error_takes_one_line(kind, first, line):
    error = ValueError('\nno  compiler\n\n Set VERBOSE\n')
    assert one_line(error, kind, first) == line


def test_an_error_without_a_text_is_told_by_its_type():
    assert one_line(KeyboardInterrupt()) == 'KeyboardInterrupt'
