# schedule_3x.py as UniRepLKNet was trained with it: lr 1e-4, lower by
# decay_rate for each layer between a parameter and the neck.
_base_ = './schedule_3x.py'

optim_wrapper = dict(
    constructor='mmrep.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=1e-4),
    # also for T, although its blocks make 9 layers
    paramwise_cfg=dict(_delete_=True, decay_rate=0.8, num_layers=12),
)
