# schedule_160k.py as UniRepLKNet was trained with it: lr 1e-4, lower by
# decay_rate for each layer between a parameter and the heads.
_base_ = './schedule_160k.py'

optim_wrapper = dict(
    constructor='mmrep.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(_delete_=True, decay_rate=0.9, num_layers=12),
)
