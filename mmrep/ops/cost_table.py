"""Coefficients of cost.py, written by tools/fit_op_dispatch.py."""

# fmt: off
COEFFICIENTS = {
    'cuda': {
        'float32/fft': [0.15, 0.05, 0.01, 0.0, 0.008, 0.004],
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
        'float32/fft': [0.0, 0.204, 0.584, 0.0, 0.925, 1.69],
        'float32/forward/direct_nchw/0': [
            0.103, 0.0, 0.0, 0.0556, 0.0, 0.0, 0.963
        ],
        'float32/forward/direct_nchw/1': [
            0.119, 0.357, 0.0172, 0.0, 0.0, 0.0, 0.817
        ],
        'float32/forward/direct_nchw/2': [
            0.00968, 0.0, 0.301, 0.172, 0.0, 19.8, 2.09
        ],
        'float32/forward/direct_nchw/3': [
            0.161, 0.0, 0.295, 0.175, 1.58, 11.6, 0.0
        ],
        'float32/forward/direct_nhwc/0': [
            0.0676, 0.0, 0.0256, 0.0, 0.338, 0.0, 0.908
        ],
        'float32/forward/direct_nhwc/1': [
            0.0801, 0.0, 0.0421, 0.0, 0.0, 0.751, 0.93
        ],
        'float32/forward/direct_nhwc/2': [
            0.0479, 0.86, 0.0355, 0.0, 0.0, 3.03, 0.838
        ],
        'float32/forward/direct_nhwc/3': [
            0.0271, 0.0, 0.0446, 0.00026, 0.168, 0.909, 0.876
        ],
        'float32/forward/transposed_nchw/0': [
            0.12, 0.123, 0.0, 0.0571, 0.0, 0.0, 1.25
        ],
        'float32/forward/transposed_nchw/1': [
            0.133, 0.475, 0.0225, 0.0, 0.0242, 0.104, 0.806
        ],
        'float32/forward/transposed_nchw/2': [
            0.147, 0.0, 0.0258, 0.0, 0.0539, 1.34, 1.2
        ],
        'float32/forward/transposed_nchw/3': [
            0.122, 0.0, 0.0293, 0.000388, 0.309, 0.3, 0.859
        ],
        'float32/forward/transposed_nhwc/0': [
            0.0884, 0.0, 0.0264, 0.0, 0.336, 0.0, 0.906
        ],
        'float32/forward/transposed_nhwc/1': [
            0.0997, 0.18, 0.0297, 0.0, 0.0, 0.34, 0.943
        ],
        'float32/forward/transposed_nhwc/2': [
            0.048, 1.53, 0.0182, 0.0, 0.0125, 3.58, 1.28
        ],
        'float32/forward/transposed_nhwc/3': [
            0.0489, 0.0, 0.0344, 0.0, 0.469, 0.393, 0.949
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.0864, 0.0, 0.0655, 0.0, 0.0, 0.0, 1.54
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.65, 0.0, 0.45, 0.0, 1.63, 10.3, 3.12
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.398, 0.0, 0.6, 0.0, 0.0, 0.0, 0.517
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.0, 0.0, 0.359, 0.162, 3.52, 8.23, 10.4
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.0958, 0.0, 0.0, 0.0364, 0.0417, 1.5, 0.44
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.215, 0.0, 0.151, 0.0351, 0.595, 0.0, 0.383
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.0, 5.33, 0.102, 0.0, 0.0, 0.0, 1.9
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.0, 0.0, 0.521, 0.055, 0.0, 13.4, 0.0
        ],
        'float64/fft': [0.0, 0.812, 1.05, 0.0, 2.26, 0.0],
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
