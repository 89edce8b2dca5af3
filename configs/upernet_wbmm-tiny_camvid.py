# UperNet, a small WBMM from scratch, CamVid at 480x360.
# 1 GPU x 8 images x 20,000 iterations = 160,000 samples, 436 epochs.
_base_ = './upernet_unireplknet-tiny_camvid.py'

# the channels and depths of UniRepLKNet-F
model = dict(
    backbone=dict(
        type='mmrep.WBMM',
        arch=dict(
            _delete_=True,
            channels=(48, 96, 192, 384),
            depths=(2, 2, 6, 2),
            kernel_sizes=(('W7', 3), ('W7', 3), ('W7', 3) * 3, ('W7',) * 2),
        ),
    )
)
