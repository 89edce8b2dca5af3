"""Coefficients of the linear models of the backends' times.

Written by fit_op_dispatch.py, by machine, type and model.
"""

# fmt: off
COEFFICIENTS = {
    'cpu AVX2': {
        'float32/fft': [
            0.0, 0.295, 0.995, 0.112, 0.0621, 0.105, 0.171, 1.13, 1.25
        ],
        'float32/forward/direct_nchw/0': [
            0.0901, 0.112, 0.0335, 0.0, 0.0436, 1.99, 0.602, 0.5, 3.8
        ],
        'float32/forward/direct_nchw/1': [
            0.102, 0.266, 0.0156, 0.0, 0.0, 0.262, 0.553, 0.718, 4.0
        ],
        'float32/forward/direct_nchw/2': [
            0.118, 0.0, 0.227, 0.0821, 1.97, 6.1, 0.418, 0.649, 3.01
        ],
        'float32/forward/direct_nchw/3': [
            0.0876, 0.0, 0.13, 0.156, 2.23, 5.65, 0.594, 1.2, 6.48
        ],
        'float32/forward/direct_nhwc/0': [
            0.0536, 0.0, 0.0369, 0.0, 0.0, 4.84, 0.414, 0.214, 1.41
        ],
        'float32/forward/direct_nhwc/1': [
            0.0589, 0.0, 0.0263, 0.0, 0.0, 2.67, 0.522, 0.804, 1.59
        ],
        'float32/forward/direct_nhwc/2': [
            0.0632, 0.0, 0.026, 0.0, 0.0224, 2.66, 0.48, 0.697, 2.35
        ],
        'float32/forward/direct_nhwc/3': [
            0.0632, 0.0, 0.0248, 0.00287, 0.108, 0.536, 0.367, 2.12, 1.82
        ],
        'float32/forward/transposed_nchw/0': [
            0.109, 0.157, 0.0313, 0.0, 0.00875, 2.09, 0.557, 0.562, 3.88
        ],
        'float32/forward/transposed_nchw/1': [
            0.122, 0.292, 0.0158, 0.0, 0.116, 0.323, 0.583, 0.728, 4.26
        ],
        'float32/forward/transposed_nchw/2': [
            0.133, 0.0, 0.019, 0.0, 0.078, 1.11, 0.684, 0.614, 4.54
        ],
        'float32/forward/transposed_nchw/3': [
            0.121, 0.0, 0.0173, 0.000951, 0.296, 0.0595, 0.691, 0.841, 4.22
        ],
        'float32/forward/transposed_nhwc/0': [
            0.0663, 0.0, 0.0326, 0.0, 0.0, 6.35, 0.417, 0.287, 1.56
        ],
        'float32/forward/transposed_nhwc/1': [
            0.0685, 0.0959, 0.017, 0.00108, 0.06, 2.28, 0.549, 0.857, 1.91
        ],
        'float32/forward/transposed_nhwc/2': [
            0.0602, 0.0, 0.0185, 0.0, 0.225, 2.87, 0.403, 0.761, 2.6
        ],
        'float32/forward/transposed_nhwc/3': [
            0.073, 0.0, 0.0205, 0.00107, 0.415, 0.146, 0.234, 1.72, 1.92
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.0964, 0.319, 0.00236, 0.0, 0.514, 8.62, 0.889, 1.99, 3.09
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.0668, 0.514, 0.339, 0.0387, 1.62, 13.4, 0.9, 1.33, 0.354
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.416, 3.36, 0.167, 0.178, 0.549, 13.9, 2.3, 0.0, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.027, 0.0, 0.231, 0.148, 2.12, 6.72, 1.56, 0.0, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.0825, 0.0, 0.0413, 0.0, 0.0, 1.56, 0.578, 0.967, 0.707
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.0785, 0.781, 0.0119, 0.0931, 0.0, 7.58, 1.12, 1.42, 10.8
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.0, 0.0, 0.00897, 0.0964, 0.0, 0.0, 1.77, 2.95, 11.3
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.0263, 0.0, 0.375, 0.0613, 0.0, 9.59, 0.0, 8.85, 0.0
        ],
        'float64/fft': [0.0, 0.324, 0.692, 1.67, 0.0, 0.0, 0.877, 0.487, 2.37],
        'float64/forward/direct_nchw/0': [
            0.478, 4.83, 0.0, 0.187, 3.37, 45.5, 0.0, 4.02, 3.14
        ],
        'float64/forward/direct_nhwc/0': [
            0.592, 3.58, 0.861, 1.21, 4.21, 58.3, 7.93, 1.16, 0.0
        ],
        'float64/forward/transposed_nchw/0': [
            0.23, 3.72, 0.258, 0.0612, 2.76, 42.1, 0.0, 21.4, 3.91
        ],
        'float64/forward/transposed_nhwc/0': [
            0.728, 13.1, 1.32, 0.403, 0.0, 47.6, 3.14, 6.9, 0.0
        ],
        'float64/grad_weight/transposed_nchw/0': [
            0.35, 14.9, 0.0, 0.0, 16.9, 112.0, 0.0, 0.0, 0.0
        ],
        'float64/grad_weight/transposed_nhwc/0': [
            0.762, 9.34, 0.0, 2.12, 13.1, 80.8, 0.0, 83.3, 0.0
        ],
    },
    'cpu AVX512': {
        'float32/fft': [
            0.0, 0.18, 1.27, 0.0, 0.0344, 0.0627, 0.271, 0.94, 1.17
        ],
        'float32/forward/direct_nchw/0': [
            0.0914, 0.316, 0.015, 0.0, 0.0, 0.0, 0.543, 0.668, 3.37
        ],
        'float32/forward/direct_nchw/1': [
            0.0833, 0.316, 0.0138, 0.0, 0.0, 0.68, 0.492, 1.03, 3.81
        ],
        'float32/forward/direct_nchw/2': [
            0.0805, 0.342, 0.0134, 0.0, 0.0, 0.423, 0.612, 0.808, 3.94
        ],
        'float32/forward/direct_nchw/3': [
            0.0, 0.0, 0.158, 0.122, 3.09, 7.43, 1.46, 1.61, 5.82
        ],
        'float32/forward/direct_nhwc/0': [
            0.0524, 0.244, 0.0, 0.0, 0.0, 1.1, 0.57, 1.07, 1.47
        ],
        'float32/forward/direct_nhwc/1': [
            0.0564, 0.0, 0.015, 0.0, 0.0169, 1.29, 0.48, 0.625, 1.95
        ],
        'float32/forward/direct_nhwc/2': [
            0.0492, 0.0, 0.0263, 0.0, 0.0, 2.03, 0.479, 0.802, 1.23
        ],
        'float32/forward/direct_nhwc/3': [
            0.0581, 0.0, 0.013, 0.000381, 0.0474, 0.502, 0.541, 0.859, 2.32
        ],
        'float32/forward/transposed_nchw/0': [
            0.101, 0.402, 0.00424, 0.0, 0.0, 2.14, 0.582, 0.682, 3.43
        ],
        'float32/forward/transposed_nchw/1': [
            0.102, 0.277, 0.0159, 0.0, 0.0564, 0.926, 0.476, 1.08, 3.8
        ],
        'float32/forward/transposed_nchw/2': [
            0.0974, 0.0493, 0.0162, 0.0, 0.201, 0.521, 0.696, 0.775, 4.08
        ],
        'float32/forward/transposed_nchw/3': [
            0.107, 0.0, 0.0165, 0.000403, 0.318, 0.109, 0.522, 0.882, 3.83
        ],
        'float32/forward/transposed_nhwc/0': [
            0.067, 0.229, 0.00444, 0.0, 0.0, 2.64, 0.585, 1.07, 1.47
        ],
        'float32/forward/transposed_nhwc/1': [
            0.0646, 0.0481, 0.0162, 0.0, 0.104, 1.07, 0.517, 0.691, 1.84
        ],
        'float32/forward/transposed_nhwc/2': [
            0.0659, 0.0973, 0.0145, 0.0, 0.229, 0.967, 0.533, 0.815, 1.88
        ],
        'float32/forward/transposed_nhwc/3': [
            0.0713, 0.0, 0.0156, 0.000375, 0.336, 0.112, 0.585, 0.705, 2.15
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.0879, 0.44, 0.00702, 0.0, 0.0, 0.0, 0.407, 1.68, 1.09
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.0685, 0.325, 0.308, 0.0573, 1.89, 0.0, 0.454, 1.13, 2.1
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.0837, 2.55, 0.31, 0.0514, 2.01, 0.0, 0.0, 0.0, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.118, 0.0, 0.23, 0.16, 1.22, 6.51, 0.0, 0.85, 2.59
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.0748, 0.0, 0.0347, 0.0, 0.0, 0.0, 0.468, 0.566, 0.335
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.0943, 0.764, 0.105, 0.0555, 0.0139, 8.52, 0.303, 1.71, 6.35
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.0, 1.27, 0.144, 0.0, 0.548, 24.8, 0.657, 1.92, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.127, 0.0, 0.317, 0.0455, 0.0, 10.1, 0.0, 22.4, 151.0
        ],
        'float64/fft': [0.0, 0.324, 0.692, 1.67, 0.0, 0.0, 0.877, 0.487, 2.37],
        'float64/forward/direct_nchw/0': [
            0.478, 4.83, 0.0, 0.187, 3.37, 45.5, 0.0, 4.02, 3.14
        ],
        'float64/forward/direct_nhwc/0': [
            0.592, 3.58, 0.861, 1.21, 4.21, 58.3, 7.93, 1.16, 0.0
        ],
        'float64/forward/transposed_nchw/0': [
            0.23, 3.72, 0.258, 0.0612, 2.76, 42.1, 0.0, 21.4, 3.91
        ],
        'float64/forward/transposed_nhwc/0': [
            0.728, 13.1, 1.32, 0.403, 0.0, 47.6, 3.14, 6.9, 0.0
        ],
        'float64/grad_weight/transposed_nchw/0': [
            0.35, 14.9, 0.0, 0.0, 16.9, 112.0, 0.0, 0.0, 0.0
        ],
        'float64/grad_weight/transposed_nhwc/0': [
            0.762, 9.34, 0.0, 2.12, 13.1, 80.8, 0.0, 83.3, 0.0
        ],
    },
}
