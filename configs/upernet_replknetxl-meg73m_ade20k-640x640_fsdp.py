# upernet_replknetxl-meg73m_ade20k-640x640.py with its parameters, gradients
# and optimizer state spread over the GPUs: the same recipe and results.
_base_ = ['./upernet_replknetxl-meg73m_ade20k-640x640.py', '_base_/fsdp.py']
