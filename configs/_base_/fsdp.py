# Parameters, gradients and optimizer state split across processes, for a model
# that would not fit on one GPU with them. Checkpoints are the same as without
# sharding.
runner_type = 'FlexibleRunner'
strategy = dict(type='mmrep.FSDPStrategy')
