"""Coefficients of cost.py, written by tools/fit_op_dispatch.py."""

# fmt: off
COEFFICIENTS = {
    'cuda': {
        'float32/fft': [0.15, 0.05, 0.01, 0.0, 0.0, 0.008, 0.0, 0.004],
        'float32/forward/triton': [0.03, 0.004, 2e-05],
        'float32/grad_weight/triton': [0.04, 0.006, 4e-05],
        'ieee/forward/triton': [0.03, 0.004, 0.0001],
        'ieee/grad_weight/triton': [0.04, 0.006, 0.0002],
        'float16/forward/triton': [0.03, 0.003, 1e-05],
        'float16/grad_weight/triton': [0.04, 0.004, 2e-05],
        'bfloat16/forward/triton': [0.03, 0.003, 1e-05],
        'bfloat16/grad_weight/triton': [0.04, 0.004, 2e-05],
        'float32/forward/direct_nchw/0': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/forward/direct_nchw/1': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/forward/direct_nchw/2': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/forward/direct_nchw/3': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/forward/direct_nhwc/0': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/forward/direct_nhwc/1': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/forward/direct_nhwc/2': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/forward/direct_nhwc/3': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nchw/0': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nchw/1': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nchw/2': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nchw/3': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nhwc/0': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nhwc/1': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nhwc/2': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_input/transposed_nhwc/3': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003
        ],
    },
    'cpu': {
        'float32/fft': [0.0, 0.218, 0.479, 0.903, 0.1, 0.0239, 0.946, 1.35],
        'float32/forward/direct_nchw/0': [
            0.118, 0.0, 0.0625, 0.0, 0.0, 2.7, 0.987
        ],
        'float32/forward/direct_nchw/1': [
            0.115, 0.454, 0.0103, 0.00536, 0.00418, 0.0, 0.884
        ],
        'float32/forward/direct_nchw/2': [
            0.0, 13.5, 0.319, 0.0, 2.06, 27.8, 1.41
        ],
        'float32/forward/direct_nchw/3': [
            0.0, 0.0, 0.167, 0.247, 1.17, 1.8, 3.25
        ],
        'float32/forward/direct_nhwc/0': [
            0.0847, 0.0, 0.05, 0.0, 0.0, 0.0, 1.07
        ],
        'float32/forward/direct_nhwc/1': [
            0.0787, 0.0, 0.0265, 0.00405, 0.13, 2.39, 0.602
        ],
        'float32/forward/direct_nhwc/2': [
            0.00128, 2.18, 0.0178, 0.0, 0.378, 4.71, 0.755
        ],
        'float32/forward/direct_nhwc/3': [
            0.0531, 0.0, 0.0433, 0.00139, 0.164, 0.753, 0.592
        ],
        'float32/forward/transposed_nchw/0': [
            0.149, 0.0, 0.0578, 0.0, 0.45, 0.0, 0.788
        ],
        'float32/forward/transposed_nchw/1': [
            0.127, 0.686, 0.0104, 0.0045, 0.126, 0.0, 0.855
        ],
        'float32/forward/transposed_nchw/2': [
            0.138, 0.0, 0.0205, 0.0, 0.193, 2.22, 1.62
        ],
        'float32/forward/transposed_nchw/3': [
            0.131, 0.0, 0.0265, 0.00117, 0.273, 0.101, 1.04
        ],
        'float32/forward/transposed_nhwc/0': [
            0.101, 0.0, 0.042, 0.0, 0.0, 0.0, 1.13
        ],
        'float32/forward/transposed_nhwc/1': [
            0.0914, 0.0, 0.0131, 0.00764, 0.22, 0.244, 0.75
        ],
        'float32/forward/transposed_nhwc/2': [
            0.0, 2.97, 0.0, 0.0, 0.654, 4.77, 0.638
        ],
        'float32/forward/transposed_nhwc/3': [
            0.0684, 0.0, 0.0329, 0.0, 0.424, 0.565, 0.378
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.114, 0.861, 0.0, 0.0, 0.0, 0.0, 1.1
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.114, 0.0, 0.542, 0.0152, 0.0, 9.57, 1.03
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.31, 5.62, 0.503, 0.0, 0.0, 29.2, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.0897, 3.28, 0.378, 0.141, 2.65, 9.58, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.0, 0.756, 0.0, 0.0, 0.0, 0.0, 0.623
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.0709, 0.316, 0.112, 0.0393, 0.0, 10.7, 1.76
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.0, 1.87, 0.105, 0.0, 0.0, 38.0, 2.89
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.159, 0.0, 0.545, 0.0, 0.0, 13.5, 0.0
        ],
        'float64/fft': [0.000996, 0.288, 0.0, 1.08, 3.63, 0.0, 0.0, 0.0],
        'float64/forward/direct_nchw/0': [
            0.0, 0.0, 0.0, 0.261, 7.61, 57.7, 0.0
        ],
        'float64/forward/direct_nhwc/0': [
            0.0, 0.0, 0.0, 2.61, 21.6, 0.0, 5700.0
        ],
        'float64/forward/transposed_nchw/0': [
            0.0, 24.7, 0.148, 0.0, 2.77, 311.0, 0.0
        ],
        'float64/forward/transposed_nhwc/0': [
            25.2, 0.0, 1.81, 0.0, 0.0, 876.0, 1110.0
        ],
        'float64/grad_weight/transposed_nchw/0': [
            0.0, 0.0, 0.0, 2.78, 0.0, 0.0, 0.0
        ],
        'float64/grad_weight/transposed_nhwc/0': [
            0.0, 0.0, 0.0, 2.43, 0.0, 0.0, 0.0
        ],
    },
}
