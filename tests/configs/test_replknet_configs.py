"""What the larger RepLKNet configs change of those that they start from."""

from pathlib import Path

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).parents[2] / 'configs'
IN22K = 'upernet_replknet31b-in22k_ade20k-640x640'
XL = [
    'upernet_replknetxl-meg73m_ade20k-640x640',
    'cascade-mask-rcnn_replknetxl-meg73m_coco',
]
IMAGENET = [123.675, 116.28, 103.53]


@pytest.mark.parametrize(
    'name, arch, drop_path, images',
    [
        (IN22K, '31B', 0.3, 32),
        ('upernet_replknet31l-in22k_ade20k-640x640', '31L', 0.3, 32),
        (XL[0], 'XL', 0.5, 32),
        ('cascade-mask-rcnn_replknet31b-in22k_coco', '31B', 0.4, 32),
        ('cascade-mask-rcnn_replknet31l-in22k_coco', '31L', 0.7, 32),
        (XL[1], 'XL', 0.5, 32),
    ],
)
def test_recipe(name, arch, drop_path, images):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.drop_path_rate) == (arch, drop_path)
    # a local file in the authors' layout: no prefix is left over
    assert backbone.init_cfg.keys() == {'type', 'checkpoint'}
    weights = f'RepLKNet-{arch}_'
    assert backbone.init_cfg.checkpoint.startswith(f'pretrained/{weights}')
    assert cfg.auto_scale_lr.base_batch_size == images
    is_xl = arch == 'XL'
    assert backbone.get('norm_intermediate_features', False) is is_xl
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.mean == ([127.5] * 3 if is_xl else IMAGENET)
    assert (preprocessor.std == [127.5] * 3) is is_xl
    # nothing else normalises: training, validation and test are alike
    for loader in ('train', 'val', 'test'):
        pipeline = cfg[f'{loader}_dataloader'].dataset.pipeline
        assert 'Normalize' not in [t.type for t in pipeline]
    if 'ade20k' in name:
        assert cfg.crop_size == preprocessor.size == (640, 640)
        test = cfg.model.test_cfg
        assert (test.mode, test.crop_size, test.stride) == (
            'slide', (640, 640), (426, 426),
        )  # fmt: skip
        train = {t.type: t for t in cfg.train_dataloader.dataset.pipeline}
        assert train['RandomCrop'].crop_size == (640, 640)
        assert train['RandomResize'].scale == (2048, 512)
        batch = 2 if is_xl else 4
        assert cfg.train_dataloader.batch_size == batch
        assert cfg.train_cfg.max_iters == 160_000
        assert cfg.optim_wrapper.optimizer.lr == 2e-4
    else:
        assert cfg.train_dataloader.batch_size == 4
        assert cfg.train_cfg.max_epochs == 36
        assert cfg.optim_wrapper.optimizer.lr == 4e-4


def test_a_missing_file_is_explained(run_tool, shapes_root):
    """What a user meets first: the weights are only on Google Drive."""
    root = CONFIGS.parent
    done = run_tool(
        root / 'tools/train.py',
        CONFIGS / 'upernet_replknet-tiny_shapes.py',
        '--data-root', shapes_root, '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.checkpoint=pretrained/nowhere.pth',
    )  # fmt: skip
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert "'pretrained/nowhere.pth' do not exist" in error
    assert 'docs/model_zoo.md#weights' in error
