# UperNet, a very small UniRepLKNet from scratch, the generated shapes: the
# quickstart's schedule (1 process x 8 images x 600 iterations).
_base_ = './upernet_replknet-tiny_shapes.py'

channels = [32, 64, 96, 128]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.UniRepLKNet',
        arch=dict(
            channels=channels,
            depths=(1, 1, 2, 1),
            kernel_sizes=((3,), (13,), (13, 3), (7,)),
        ),
        # blocks that start at 1e-6 take longer than this to matter
        layer_scale_init_value=1.0,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    )
)
