# UperNet, Swin-T from scratch, CamVid at 480x360; the recipe of
# upernet_replknet-small_camvid.py.
# 1 GPU x 16 images x 12,000 iterations = 192,000 samples, 523 epochs.
_base_ = './upernet_replknet-small_camvid.py'

channels = [96, 192, 384, 768]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmseg.SwinTransformer',
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.2,
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
# norms have none already
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0))
    )
)
