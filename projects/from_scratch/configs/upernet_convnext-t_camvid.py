# UperNet, ConvNeXt-T from scratch, CamVid at 480x360; the recipe of
# upernet_replknet-small_camvid.py. Needs MMPretrain (requirements/convnext.txt).
# 1 GPU x 16 images x 12,000 iterations = 192,000 samples, 523 epochs.
_base_ = './upernet_replknet-small_camvid.py'

custom_imports = dict(
    imports=['mmrep', 'mmpretrain.models.backbones.convnext'],
    allow_failed_imports=False,
)
channels = [96, 192, 384, 768]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        # blocks that start at 1e-6 would take most of this schedule
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
