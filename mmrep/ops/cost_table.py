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
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/forward/direct_nchw/1': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/forward/direct_nchw/2': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/forward/direct_nchw/3': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/forward/direct_nhwc/0': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/forward/direct_nhwc/1': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/forward/direct_nhwc/2': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/forward/direct_nhwc/3': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nchw/0': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nchw/1': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nchw/2': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nchw/3': [
            0.01, 0.003, 0.0, 0.001, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nhwc/0': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nhwc/1': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nhwc/2': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_input/transposed_nhwc/3': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.01, 0.003, 0.0, 0.002, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.01, 0.003, 0.0, 0.004, 0.0, 0.0, 0.003, 0.0
        ],
    },
    'cpu AVX2': {
        'float32/fft': [0.0, 0.297, 0.636, 0.432, 0.0772, 0.113, 0.196, 1.11],
        'float32/forward/direct_nchw/0': [
            0.0899, 0.09, 0.037, 0.0, 0.0239, 2.12, 0.602, 0.484
        ],
        'float32/forward/direct_nchw/1': [
            0.101, 0.252, 0.0162, 0.0, 0.0, 0.241, 0.55, 0.731
        ],
        'float32/forward/direct_nchw/2': [
            0.117, 1.92, 0.231, 0.0688, 1.87, 6.26, 0.297, 0.659
        ],
        'float32/forward/direct_nchw/3': [
            0.0879, 0.0, 0.13, 0.156, 2.21, 5.65, 0.616, 2.41
        ],
        'float32/forward/direct_nhwc/0': [
            0.053, 0.0, 0.0389, 0.0, 0.0, 4.17, 0.409, 0.204
        ],
        'float32/forward/direct_nhwc/1': [
            0.0571, 0.0, 0.0272, 0.0, 0.0, 2.64, 0.511, 0.813
        ],
        'float32/forward/direct_nhwc/2': [
            0.0615, 0.0, 0.028, 0.0, 0.0, 2.66, 0.421, 0.761
        ],
        'float32/forward/direct_nhwc/3': [
            0.0637, 0.0, 0.0258, 0.00286, 0.0921, 0.547, 0.327, 2.42
        ],
        'float32/forward/transposed_nchw/0': [
            0.109, 0.143, 0.0339, 0.0, 0.0, 2.05, 0.556, 0.546
        ],
        'float32/forward/transposed_nchw/1': [
            0.122, 0.279, 0.0167, 0.0, 0.104, 0.326, 0.579, 0.743
        ],
        'float32/forward/transposed_nchw/2': [
            0.132, 0.0, 0.0203, 0.0, 0.0576, 1.09, 0.662, 0.609
        ],
        'float32/forward/transposed_nchw/3': [
            0.121, 0.0, 0.0188, 0.000931, 0.281, 0.0685, 0.608, 0.924
        ],
        'float32/forward/transposed_nhwc/0': [
            0.0647, 0.0, 0.035, 0.0, 0.0, 5.69, 0.412, 0.274
        ],
        'float32/forward/transposed_nhwc/1': [
            0.0671, 0.111, 0.0183, 0.000733, 0.0383, 2.4, 0.54, 0.861
        ],
        'float32/forward/transposed_nhwc/2': [
            0.0593, 0.0, 0.0207, 0.0, 0.182, 2.94, 0.344, 0.797
        ],
        'float32/forward/transposed_nhwc/3': [
            0.0733, 0.0, 0.0214, 0.00106, 0.403, 0.149, 0.173, 1.95
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.0975, 0.355, 0.0037, 0.0, 0.376, 8.12, 0.895, 3.32
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.0668, 0.52, 0.339, 0.0386, 1.61, 13.4, 0.895, 1.4
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.416, 3.36, 0.167, 0.178, 0.549, 13.9, 2.3, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.027, 0.0, 0.231, 0.148, 2.12, 6.72, 1.56, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.0823, 0.0, 0.0445, 0.0, 0.0, 1.0, 0.566, 0.961
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.0792, 0.685, 0.0172, 0.0908, 0.0, 7.55, 1.12, 2.02
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.0, 0.0, 0.038, 0.0738, 0.0, 0.0, 1.66, 2.79
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.0263, 0.0, 0.375, 0.0613, 0.0, 9.59, 0.0, 8.85
        ],
        'float64/fft': [0.0, 0.322, 0.0, 2.35, 0.022, 0.0, 1.19, 0.488],
        'float64/forward/direct_nchw/0': [
            0.453, 6.12, 0.0, 0.177, 3.42, 47.0, 0.0, 4.97
        ],
        'float64/forward/direct_nhwc/0': [
            0.592, 3.58, 0.861, 1.21, 4.21, 58.3, 7.93, 1.16
        ],
        'float64/forward/transposed_nchw/0': [
            0.106, 6.57, 0.224, 0.0652, 2.85, 44.1, 0.0, 22.0
        ],
        'float64/forward/transposed_nhwc/0': [
            0.728, 13.1, 1.32, 0.403, 0.0, 47.6, 3.14, 6.9
        ],
        'float64/grad_weight/transposed_nchw/0': [
            0.35, 14.9, 0.0, 0.0, 16.9, 112.0, 0.0, 0.0
        ],
        'float64/grad_weight/transposed_nhwc/0': [
            0.762, 9.34, 0.0, 2.12, 13.1, 80.8, 0.0, 83.3
        ],
    },
    'cpu AVX512': {
        'float32/fft': [0.0, 0.18, 1.14, 0.12, 0.0344, 0.0849, 0.328, 0.934],
        'float32/forward/direct_nchw/0': [
            0.0904, 0.314, 0.0165, 0.0, 0.0, 0.0, 0.54, 0.652
        ],
        'float32/forward/direct_nchw/1': [
            0.0825, 0.318, 0.0141, 0.0, 0.0, 0.661, 0.487, 1.03
        ],
        'float32/forward/direct_nchw/2': [
            0.0803, 0.323, 0.0138, 0.0, 0.0, 0.414, 0.604, 0.805
        ],
        'float32/forward/direct_nchw/3': [
            0.0, 0.0, 0.159, 0.122, 3.08, 7.44, 1.45, 1.94
        ],
        'float32/forward/direct_nhwc/0': [
            0.052, 0.249, 1.74e-05, 0.0, 0.0, 1.03, 0.568, 1.18
        ],
        'float32/forward/direct_nhwc/1': [
            0.056, 0.0, 0.0156, 0.0, 0.00659, 1.31, 0.477, 0.615
        ],
        'float32/forward/direct_nhwc/2': [
            0.0487, 0.0, 0.0268, 0.0, 0.0, 2.0, 0.462, 0.81
        ],
        'float32/forward/direct_nhwc/3': [
            0.0577, 0.0103, 0.0135, 0.000334, 0.0403, 0.514, 0.518, 0.889
        ],
        'float32/forward/transposed_nchw/0': [
            0.101, 0.387, 0.00755, 0.0, 0.0, 1.66, 0.578, 0.668
        ],
        'float32/forward/transposed_nchw/1': [
            0.101, 0.28, 0.0165, 0.0, 0.0463, 0.952, 0.47, 1.1
        ],
        'float32/forward/transposed_nchw/2': [
            0.0973, 0.0243, 0.0169, 0.0, 0.192, 0.551, 0.684, 0.775
        ],
        'float32/forward/transposed_nchw/3': [
            0.107, 0.0, 0.0177, 0.000331, 0.306, 0.122, 0.462, 0.934
        ],
        'float32/forward/transposed_nhwc/0': [
            0.0663, 0.227, 0.00552, 0.0, 0.0, 2.54, 0.583, 1.18
        ],
        'float32/forward/transposed_nhwc/1': [
            0.064, 0.0418, 0.0173, 0.0, 0.087, 1.11, 0.512, 0.687
        ],
        'float32/forward/transposed_nhwc/2': [
            0.0652, 0.117, 0.015, 0.0, 0.218, 0.992, 0.521, 0.817
        ],
        'float32/forward/transposed_nhwc/3': [
            0.0712, 0.0, 0.0165, 0.000312, 0.326, 0.125, 0.553, 0.736
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.0857, 0.444, 0.0105, 0.0, 0.0, 0.0, 0.396, 1.69
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.0682, 0.351, 0.315, 0.0542, 1.87, 0.0, 0.412, 1.25
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.0837, 2.55, 0.31, 0.0514, 2.01, 0.0, 0.0, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.118, 0.0, 0.229, 0.16, 1.23, 6.5, 0.0, 1.69
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.0695, 0.0, 0.0449, 0.0, 0.0, 0.0, 0.443, 0.546
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.0952, 0.695, 0.116, 0.05, 0.0, 8.37, 0.261, 2.22
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.0, 1.27, 0.144, 0.0, 0.548, 24.8, 0.657, 1.92
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.126, 0.0, 0.321, 0.0445, 0.0, 10.1, 0.0, 22.3
        ],
        'float64/fft': [0.0, 0.322, 0.0, 2.35, 0.022, 0.0, 1.19, 0.488],
        'float64/forward/direct_nchw/0': [
            0.453, 6.12, 0.0, 0.177, 3.42, 47.0, 0.0, 4.97
        ],
        'float64/forward/direct_nhwc/0': [
            0.592, 3.58, 0.861, 1.21, 4.21, 58.3, 7.93, 1.16
        ],
        'float64/forward/transposed_nchw/0': [
            0.106, 6.57, 0.224, 0.0652, 2.85, 44.1, 0.0, 22.0
        ],
        'float64/forward/transposed_nhwc/0': [
            0.728, 13.1, 1.32, 0.403, 0.0, 47.6, 3.14, 6.9
        ],
        'float64/grad_weight/transposed_nchw/0': [
            0.35, 14.9, 0.0, 0.0, 16.9, 112.0, 0.0, 0.0
        ],
        'float64/grad_weight/transposed_nhwc/0': [
            0.762, 9.34, 0.0, 2.12, 13.1, 80.8, 0.0, 83.3
        ],
    },
}
