# Cascade Mask R-CNN, WBMM-S (ImageNet-1K), COCO, 3x: UniRepLKNet's recipe.
# Paper: box AP 52.8, mask AP 45.6 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './cascade-mask-rcnn_unireplknet-s_coco.py'

checkpoint = 'https://huggingface.co/wansong-s/WBMM/resolve/main/wbmm_s_in1k_224_dense_w7.pth'
model = dict(
    backbone=dict(type='mmrep.WBMM', init_cfg=dict(checkpoint=checkpoint))
)
