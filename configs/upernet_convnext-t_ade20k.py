# UperNet, ConvNeXt-T (ImageNet-1K), ADE20K at 512x512: MMSegmentation's model
# and recipe, with the operator in the 18 layers of 7x7 kernels.
# Needs MMPretrain (requirements/convnext.txt).
# MMSegmentation's score: mIoU 46.1 single-scale, 46.6 multi-scale.
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, as there.
_base_ = './upernet_unireplknet-t_ade20k.py'

custom_imports = dict(
    imports=['mmrep', 'mmpretrain.models.backbones.convnext'],
    allow_failed_imports=False,
)
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/convnext/downstream/convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth'
channels = [96, 192, 384, 768]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.FastDepthwise',
        backbone=dict(
            type='mmpretrain.ConvNeXt',
            arch='tiny',
            out_indices=(0, 1, 2, 3),
            drop_path_rate=0.4,
            layer_scale_init_value=1.0,
            gap_before_final_norm=False,
            init_cfg=dict(
                type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
            ),
        ),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    paramwise_cfg=dict(_delete_=True, decay_rate=0.9),
)
