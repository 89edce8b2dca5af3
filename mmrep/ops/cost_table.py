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
        'float32/fft': [0.0, 0.169, 0.0838, 0.959, 0.105, 0.0, 0.442, 0.952],
        'float32/forward/direct_nchw/0': [
            0.0904, 0.141, 0.0333, 0.0, 0.0, 2.69, 0.589, 0.483
        ],
        'float32/forward/direct_nchw/1': [
            0.0957, 0.256, 0.016, 0.000499, 0.0, 0.184, 0.552, 0.584
        ],
        'float32/forward/direct_nchw/2': [
            0.0985, 1.94, 0.256, 0.0522, 1.98, 6.22, 0.0661, 0.245
        ],
        'float32/forward/direct_nchw/3': [
            0.09, 0.646, 0.117, 0.167, 2.23, 4.85, 0.497, 2.02
        ],
        'float32/forward/direct_nhwc/0': [
            0.0531, 0.0, 0.0441, 0.0, 0.0, 2.5, 0.393, 0.274
        ],
        'float32/forward/direct_nhwc/1': [
            0.049, 0.00998, 0.0271, 0.0, 0.00634, 2.73, 0.511, 0.977
        ],
        'float32/forward/direct_nhwc/2': [
            0.0672, 0.178, 0.0271, 0.0, 0.0, 2.69, 0.348, 1.09
        ],
        'float32/forward/direct_nhwc/3': [
            0.062, 0.0, 0.0254, 0.00289, 0.0817, 0.434, 0.426, 2.33
        ],
        'float32/forward/transposed_nchw/0': [
            0.104, 0.26, 0.0229, 0.0, 0.0, 3.44, 0.515, 0.558
        ],
        'float32/forward/transposed_nchw/1': [
            0.118, 0.281, 0.0162, 0.000399, 0.121, 0.291, 0.577, 0.611
        ],
        'float32/forward/transposed_nchw/2': [
            0.127, 0.0, 0.0219, 0.0, 0.0385, 1.18, 0.714, 0.719
        ],
        'float32/forward/transposed_nchw/3': [
            0.116, 0.0, 0.0188, 0.000639, 0.292, 0.0941, 0.542, 1.09
        ],
        'float32/forward/transposed_nhwc/0': [
            0.0635, 0.0, 0.042, 0.0, 0.0, 2.97, 0.377, 0.414
        ],
        'float32/forward/transposed_nhwc/1': [
            0.0588, 0.119, 0.0186, 0.0, 0.0532, 3.11, 0.523, 1.09
        ],
        'float32/forward/transposed_nhwc/2': [
            0.0571, 0.565, 0.0168, 0.0, 0.172, 3.19, 0.28, 1.21
        ],
        'float32/forward/transposed_nhwc/3': [
            0.0707, 0.0, 0.0216, 0.000894, 0.386, 0.11, 0.173, 1.95
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.0953, 0.386, 0.0111, 0.0, 0.0, 7.69, 0.854, 3.32
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.065, 0.448, 0.321, 0.0455, 2.22, 12.1, 0.759, 1.95
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.521, 0.0, 0.212, 0.191, 0.0, 14.0, 0.516, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.117, 0.0, 0.22, 0.178, 1.48, 4.27, 1.43, 0.0
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.0794, 0.0, 0.0464, 0.0, 0.0, 0.0, 0.454, 1.0
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.0876, 0.0, 0.0675, 0.0635, 0.0, 6.93, 1.11, 1.66
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.0, 0.0, 0.0, 0.0892, 0.389, 0.0, 1.81, 2.49
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.0978, 0.0, 0.397, 0.0818, 0.0, 6.92, 0.0, 1.71
        ],
        'float64/fft': [0.0, 0.236, 0.0, 2.0, 0.00482, 0.0944, 0.502, 0.0835],
        'float64/forward/direct_nchw/0': [
            0.481, 0.0, 0.109, 0.212, 2.66, 48.2, 1.35, 16.5
        ],
        'float64/forward/direct_nhwc/0': [
            0.523, 0.0, 0.786, 1.97, 0.0, 32.9, 29.5, 0.0
        ],
        'float64/forward/transposed_nchw/0': [
            0.215, 0.0, 0.405, 0.044, 3.01, 49.7, 0.0, 69.0
        ],
        'float64/forward/transposed_nhwc/0': [
            0.588, 6.0, 1.35, 0.907, 0.0, 27.9, 34.0, 0.0
        ],
        'float64/grad_weight/transposed_nchw/0': [
            1.2, 0.0, 2.69, 0.777, 0.0, 0.0, 0.0, 0.0
        ],
        'float64/grad_weight/transposed_nhwc/0': [
            2.19, 0.0, 2.44, 2.23, 0.0, 26.7, 0.0, 0.0
        ],
    },
    'cpu AVX512': {
        'float32/fft': [
            0.0, 0.156, 0.153, 0.874, 0.0921, 0.0351, 0.635, 0.875
        ],
        'float32/forward/direct_nchw/0': [
            0.0887, 0.339, 0.0165, 0.0, 0.0, 0.0, 0.502, 0.609
        ],
        'float32/forward/direct_nchw/1': [
            0.0832, 0.309, 0.0144, 0.0, 0.0, 0.434, 0.507, 0.988
        ],
        'float32/forward/direct_nchw/2': [
            0.0784, 0.333, 0.0135, 0.0, 0.0, 0.427, 0.582, 0.745
        ],
        'float32/forward/direct_nchw/3': [
            0.0, 0.0, 0.151, 0.128, 3.14, 6.78, 1.52, 2.41
        ],
        'float32/forward/direct_nhwc/0': [
            0.0497, 0.273, 0.0, 0.0, 0.0331, 1.0, 0.548, 1.19
        ],
        'float32/forward/direct_nhwc/1': [
            0.0545, 0.0, 0.0169, 0.0, 0.0, 1.13, 0.455, 0.453
        ],
        'float32/forward/direct_nhwc/2': [
            0.0473, 0.0, 0.027, 0.0, 0.0, 2.24, 0.437, 0.695
        ],
        'float32/forward/direct_nhwc/3': [
            0.0563, 0.0116, 0.0134, 0.000356, 0.0384, 0.495, 0.521, 0.869
        ],
        'float32/forward/transposed_nchw/0': [
            0.1, 0.33, 0.0149, 0.0, 0.0, 0.824, 0.527, 0.632
        ],
        'float32/forward/transposed_nchw/1': [
            0.0987, 0.294, 0.0161, 0.0, 0.0495, 0.824, 0.48, 1.05
        ],
        'float32/forward/transposed_nchw/2': [
            0.092, 0.0649, 0.0162, 0.0, 0.21, 0.481, 0.619, 0.779
        ],
        'float32/forward/transposed_nchw/3': [
            0.104, 0.0, 0.0179, 0.000406, 0.293, 0.132, 0.449, 0.775
        ],
        'float32/forward/transposed_nhwc/0': [
            0.0618, 0.309, 0.0, 0.0, 0.0168, 3.39, 0.56, 1.17
        ],
        'float32/forward/transposed_nhwc/1': [
            0.0608, 0.0506, 0.0186, 0.0, 0.0583, 1.1, 0.491, 0.564
        ],
        'float32/forward/transposed_nhwc/2': [
            0.0595, 0.113, 0.0149, 0.0, 0.22, 1.1, 0.523, 0.722
        ],
        'float32/forward/transposed_nhwc/3': [
            0.0702, 0.0, 0.0167, 0.000364, 0.306, 0.128, 0.563, 0.688
        ],
        'float32/grad_weight/transposed_nchw/0': [
            0.0849, 0.553, 0.0, 0.0, 0.0, 0.0, 0.374, 1.95
        ],
        'float32/grad_weight/transposed_nchw/1': [
            0.0633, 0.783, 0.35, 0.00421, 2.47, 0.0, 0.163, 1.35
        ],
        'float32/grad_weight/transposed_nchw/2': [
            0.0906, 3.38, 0.365, 0.0, 2.1, 0.0, 0.0, 0.0
        ],
        'float32/grad_weight/transposed_nchw/3': [
            0.0774, 0.0, 0.24, 0.155, 1.17, 7.46, 0.0, 2.51
        ],
        'float32/grad_weight/transposed_nhwc/0': [
            0.072, 0.0, 0.0376, 0.0, 0.0, 0.0, 0.458, 0.362
        ],
        'float32/grad_weight/transposed_nhwc/1': [
            0.101, 1.08, 0.0759, 0.0794, 0.0, 6.46, 0.226, 2.09
        ],
        'float32/grad_weight/transposed_nhwc/2': [
            0.00438, 1.28, 0.145, 0.0, 0.575, 24.1, 0.0, 2.76
        ],
        'float32/grad_weight/transposed_nhwc/3': [
            0.107, 0.0, 0.271, 0.0468, 0.0, 11.0, 0.0, 20.4
        ],
        'float64/fft': [0.0, 0.236, 0.0, 2.0, 0.00482, 0.0944, 0.502, 0.0835],
        'float64/forward/direct_nchw/0': [
            0.481, 0.0, 0.109, 0.212, 2.66, 48.2, 1.35, 16.5
        ],
        'float64/forward/direct_nhwc/0': [
            0.523, 0.0, 0.786, 1.97, 0.0, 32.9, 29.5, 0.0
        ],
        'float64/forward/transposed_nchw/0': [
            0.215, 0.0, 0.405, 0.044, 3.01, 49.7, 0.0, 69.0
        ],
        'float64/forward/transposed_nhwc/0': [
            0.588, 6.0, 1.35, 0.907, 0.0, 27.9, 34.0, 0.0
        ],
        'float64/grad_weight/transposed_nchw/0': [
            1.2, 0.0, 2.69, 0.777, 0.0, 0.0, 0.0, 0.0
        ],
        'float64/grad_weight/transposed_nhwc/0': [
            2.19, 0.0, 2.44, 2.23, 0.0, 26.7, 0.0, 0.0
        ],
    },
}
