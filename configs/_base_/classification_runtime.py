_base_ = './default_runtime.py'

default_scope = 'mmengine'
custom_hooks = [dict(type='mmrep.ThroughputHook')]
