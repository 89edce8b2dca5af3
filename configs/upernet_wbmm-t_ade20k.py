# UperNet, WBMM-T (ImageNet-1K), ADE20K at 512x512: UniRepLKNet's recipe.
# Paper: mIoU 48.3 single-scale, 48.8 multi-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = './upernet_unireplknet-t_ade20k.py'

checkpoint = 'https://huggingface.co/wansong-s/WBMM/resolve/main/wbmm_t_in1k_224_dense_w7.pth'
model = dict(
    backbone=dict(type='mmrep.WBMM', init_cfg=dict(checkpoint=checkpoint))
)
