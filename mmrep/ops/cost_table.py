"""Coefficients of the cost model, written by tools/fit_op_dispatch.py."""

COEFFICIENTS = {
    'fft': [0.2, 0.05, 0.07, 0.07, 0.3],
    'forward/direct_nchw': [0.01, 0.15, 0.03, 1.2],
    'forward/direct_nchw/large': [0.01, 0.15, 0.6, 1.2],
    'forward/direct_nhwc': [0.01, 0.2, 0.042, 1.2],
    'forward/direct_nhwc/large': [0.01, 0.2, 0.042, 1.2],
    'forward/transposed_nchw': [0.03, 0.3, 0.032, 1.2],
    'forward/transposed_nchw/large': [0.03, 0.3, 0.030, 1.2],
    'forward/transposed_nhwc': [0.03, 0.3, 0.042, 1.2],
    'forward/transposed_nhwc/large': [0.03, 0.3, 0.042, 1.2],
    'grad_weight/transposed_nchw': [0.05, 0.3, 0.9, 1.2],
    'grad_weight/transposed_nchw/large': [0.05, 0.3, 0.9, 1.2],
    'grad_weight/transposed_nhwc': [0.05, 0.3, 0.2, 1.2],
    'grad_weight/transposed_nhwc/large': [0.05, 0.3, 0.9, 1.2],
}
