# Parameters, gradients and optimizer state spread over the processes, for a
# model that one GPU does not hold with them. Checkpoints are as without.
runner_type = 'FlexibleRunner'
strategy = dict(type='mmrep.FSDPStrategy')
