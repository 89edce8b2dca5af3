"""The config that is written for a data set: it loads, and it fits."""

from pathlib import Path

import own_sets
import pytest
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image
from sweep import sweep

from mmrep.data.convert import convert
from mmrep.data.survey import survey
from mmrep.engine import check_data, load_config
from mmrep.engine.checks import check_config
from mmrep.engine.new_config import list_models, write_config
from mmrep.errors import UsageError


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """A converted data set of each form."""
    folder = tmp_path_factory.mktemp('own')
    own_sets.make_voc(folder / 'voc')
    (folder / 'labelme').mkdir()
    own_sets.make_labelme(folder / 'labelme')
    own_sets.make_masks(folder / 'masks', 'palette')
    found = {}
    for form in ('voc', 'labelme', 'masks'):
        found[form] = folder / f'{form}_out'
        convert(form, str(folder / form), str(found[form]))
    return found


def write(folder: Path, path: Path, **options):
    text, notes = write_config(survey(str(folder)), **options)
    path.write_text(text)
    cfg = load_config(str(path))
    check_data(cfg, 'train_dataloader', 'val_dataloader', 'test_dataloader')
    for mode in ('train', 'test'):
        check_config(cfg, mode)
    return cfg, notes


def scales(part, key=None):
    """Every scale of a config."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield from scales(value, name)
    elif isinstance(part, list):
        for value in part:
            yield from scales(value, key)
    elif key == 'scale':
        yield part


CASES = [
    ('voc', 'fcos', 'replknet-tiny'),
    ('labelme', 'cascade-mask-rcnn', 'replknet-tiny'),
    ('masks', 'upernet', 'unireplknet-t'),
    ('voc', 'fcos', 'unireplknet-t'),
    ('labelme', 'fcos', 'replknet31b'),
    ('labelme', 'cascade-mask-rcnn', 'unireplknet-t'),
    ('masks', 'upernet', 'replknet-tiny'),
    ('masks', 'upernet', 'overlock-t'),
]


@pytest.mark.parametrize('case', sweep(CASES), ids='-'.join)
def test_config_fits(case, converted, tmp_path):
    form, method, model = case
    cfg, notes = write(
        converted[form], tmp_path / 'my.py', method=method, model=model
    )
    count = 3 if form == 'masks' else 2
    pending, seen = [cfg.model.to_dict()], 0
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            pending += part.values()
            if 'num_classes' in part:
                rpn = part.get('type') == 'RPNHead'
                assert rpn or part['num_classes'] == count
                seen += 1
        elif isinstance(part, (list, tuple)):
            pending += part
    assert seen >= (2 if form == 'masks' else 1)
    for loader in ('train', 'val', 'test'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert dataset.data_root == f'{converted[form].resolve()}/'
        assert len(dataset.metainfo.classes) == count
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            built = DATASETS.build(dataset)
            sample = built[0]
        [inputs] = [sample['inputs']]
        assert inputs.shape[0] == 3
        if loader == 'test':
            with_multiple = [
                t
                for t in dataset.pipeline
                if t['type'].endswith('ResizeToMultiple')
            ]
            assert bool(with_multiple) == (
                method == 'upernet' and model != 'replknet-tiny'
            )
    short = min(cfg.scale)
    found = [*scales(cfg.train_pipeline), *scales(cfg.test_pipeline)]
    assert found == [cfg.scale] * len(found) and found
    assert [s for s in scales(cfg.tta_pipeline) if s == cfg.scale]
    if form == 'masks':
        assert max(cfg.crop_size) <= max(short, 32)
        assert cfg.model.data_preprocessor.size == cfg.crop_size
        end = cfg.train_cfg.max_iters
    else:
        end = cfg.train_cfg.max_epochs
    assert cfg.param_scheduler[-1].end == end
    cfg.model.backbone.pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        MODELS.build(cfg.model)
    assert any('scale' in note for note in notes)


def test_what_is_chosen(converted, tmp_path):
    cfg, _ = write(converted['voc'], tmp_path / 'a.py')
    assert cfg.model.type.endswith('FCOS')
    cfg, _ = write(converted['labelme'], tmp_path / 'b.py')
    assert cfg.model.type.endswith('CascadeRCNN')
    cfg, notes = write(
        converted['masks'], tmp_path / 'c.py', epochs=4, batch_size=2
    )
    assert cfg.model.type.endswith('EncoderDecoder')
    assert cfg.model.backbone.init_cfg.checkpoint
    count = survey(str(converted['masks'])).counts['train']
    assert cfg.train_cfg.max_iters == max(10, 2 * count)
    # 1e-4 for 16 pictures
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1.25e-5)
    assert cfg.train_dataloader.batch_size == 2


@pytest.mark.parametrize(
    ('form', 'iterations', 'look'),
    [('voc', 900, 24), ('masks', 375, 10)],
)
def test_notes_say_how_long_it_takes(
    form, iterations, look, converted, tmp_path
):
    path = tmp_path / 'my.py'
    options = dict(model='replknet-tiny')
    cfg, notes = write(converted[form], path, **options)
    length = f'300 epochs of 10 pictures, {iterations} iterations'
    assert any(length in note for note in notes)
    [note] = [note for note in notes if 'on a CPU' in note]
    assert f'{iterations} iterations take hours' in note
    assert f'--epochs 8 is enough for a first look ({look} iter' in note
    cfg, notes = write(converted[form], path, epochs=9, **options)
    assert 'take hours' not in str(notes)


@pytest.mark.parametrize(
    ('form', 'model', 'text'),
    [
        ('voc', 'unireplknet-t', 'UniRepLKNet/resolve/main/unireplknet_t_'),
        ('masks', 'unireplknet-t', 'UniRepLKNet/resolve/main/unireplknet_t_'),
        ('voc', 'replknet-tiny', 'no pretrained weights'),
    ],
)
def test_notes_say_where_the_weights_are(
    form, model, text, converted, tmp_path
):
    _, notes = write(converted[form], tmp_path / 'my.py', model=model)
    [note] = [note for note in notes if text in note]
    assert ('init_cfg.checkpoint=FILE' in note) == (model == 'unireplknet-t')


def test_small_objects_enlarge_the_pictures(tmp_path):
    own_sets.make_voc(tmp_path / 'src')
    convert('voc', str(tmp_path / 'src'), str(tmp_path / 'out'))
    cfg, notes = write(tmp_path / 'out', tmp_path / 'my.py')
    assert cfg.scale == (102, 77)  # objects of 20 pixels become 32
    assert any('objects are small' in note for note in notes)


def test_folders_that_are_none(tmp_path, converted):
    own_sets.make_voc(tmp_path / 'src')
    with pytest.raises(UsageError, match='mmrep data convert voc'):
        survey(str(tmp_path / 'src'))
    with pytest.raises(UsageError, match='must be a folder'):
        survey(str(tmp_path / 'absent'))
    data = survey(str(converted['voc']))
    for options, text in (
        (dict(method='upernet'), 'cannot learn from boxes'),
        (dict(method='cascade-mask-rcnn'), 'not all objects'),
        (dict(model='resnet50'), '--model must be one of'),
    ):
        with pytest.raises(UsageError, match=text):
            write_config(data, **options)
    with pytest.raises(UsageError, match='cannot learn from label maps'):
        write_config(survey(str(converted['masks'])), method='fcos')
    split = ('train', 'val', 'test')
    for name in split[1:]:
        (tmp_path / f'only/annotations/{name}').mkdir(parents=True)
    path = tmp_path / 'only/images/train/a.png'
    path.parent.mkdir(parents=True)
    Image.new('RGB', (64, 64)).save(path)
    path = tmp_path / 'only/annotations/train/a.png'
    path.parent.mkdir(parents=True)
    Image.new('L', (64, 64)).save(path)
    with pytest.raises(UsageError, match='none of val'):
        survey(str(tmp_path / 'only'))
    Image.new('RGB', (64, 64)).save(path)
    with pytest.raises(UsageError, match='data convert masks'):
        survey(str(tmp_path / 'only'))


def test_models():
    assert {'unireplknet-t', 'replknet31b', 'replknet-tiny'} <= set(
        list_models('upernet')
    )
    assert list_models('fcos')['replknet-tiny'] == 'fcos_replknet-tiny_bccd'


@pytest.mark.parametrize('form', ['voc', 'masks'])
def test_warm_up_of_a_short_run_reaches_the_rate(form, converted, tmp_path):
    """One of a single step would leave it at a thousandth."""
    path = tmp_path / 'my.py'
    cfg, _ = write(converted[form], path, model='replknet-tiny', epochs=1)
    assert cfg.param_scheduler[0].end == 2
