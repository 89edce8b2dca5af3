# The guidelines' kernel sizes in a small RepLKNet, 3-3-3-3 to 31-29-27-13
# (projects/guidelines/guidelines.py --full), from scratch, CamVid at 480x360.
# 1 GPU x 16 images x 4,000 iterations = 64,000 samples, 174 epochs.
_base_ = './fcn_mobilenetv2_camvid.py'

channels = [64, 128, 256, 512]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.RepLKNet',
        arch=dict(
            channels=channels,
            depths=(2, 2, 6, 2),
            kernel_sizes=(31, 29, 27, 13),
            small_kernel=5,
        ),
        drop_path_rate=0.1,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    decode_head=dict(in_channels=channels),
)
