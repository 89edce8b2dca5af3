"""One module for each way to compute the convolution."""
