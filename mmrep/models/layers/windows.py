"""A product of each channel with a matrix, window by window."""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WindowProduct(nn.Module):
    """Each channel of a window times a matrix that depends on the offset.

    It is like a convolution as large as the window that does not look beyond
    it. `WBMM <https://arxiv.org/abs/2607.02097>`_. In training form the input
    is added; in deploy form the table includes it, and there is a bias.

    Args:
        channels (int): Channels of the map.
        window_size (int): Height and width of a window. Defaults to 7.
        deploy (bool): Build the deploy form. Defaults to False.
    """

    def __init__(
        self, channels: int, window_size: int = 7, deploy: bool = False
    ) -> None:
        super().__init__()
        self.window_size = window_size
        offsets = (2 * window_size - 1) ** 2
        table = torch.empty(channels, offsets)
        nn.init.trunc_normal_(table, std=0.02)
        # names and the buffer are those of the released files
        self.relative_position_bias_table = nn.Parameter(table)
        place = torch.arange(window_size)
        offset = place[:, None] - place + window_size - 1
        index = offset[:, None, :, None] * (2 * window_size - 1)
        index = (index + offset[None, :, None, :]).reshape(
            window_size**2, window_size**2
        )
        self.register_buffer('relative_position_index', index)
        self.bias: Optional[nn.Parameter] = None
        if deploy:
            self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; borders are padded with 0."""
        return self.product(x, *self.merge())

    def product(
        self, x: Tensor, table: Tensor, bias: Optional[Tensor]
    ) -> Tensor:
        """The product with another table and bias.

        Args:
            x (Tensor): Shape (N, C, H, W).
            table (Tensor): Factor by offset, shape (C, offsets).
            bias (Tensor, optional): Shape (C, ).

        Returns:
            Tensor: Shape (N, C, H, W), channels_last.
        """
        size = self.window_size
        n, c, height, width = x.shape
        # In this form torch.export needs a second for free sizes; with a
        # remainder, and with reshape, half a minute. ONNX rounds the quotient
        # of a negative number up.
        rows = (height + size - 1) // size
        columns = (width + size - 1) // size
        x = F.pad(x, (0, columns * size - width, 0, rows * size - height))
        x = x.unflatten(3, (columns, size)).unflatten(2, (rows, size))
        # (C, N * windows, places)
        x = x.permute(1, 0, 2, 4, 3, 5).flatten(4).flatten(1, 3)
        index = self.relative_position_index
        matrix = table.index_select(1, index.flatten())
        out = x @ matrix.unflatten(1, index.shape)
        if bias is not None:
            out = out + bias[:, None, None]
        out = out.unflatten(2, (size, size)).unflatten(1, (n, rows, columns))
        out = out.permute(1, 2, 4, 3, 5, 0).flatten(3, 4).flatten(1, 2)
        return out[:, :height, :width].contiguous().permute(0, 3, 1, 2)

    def merge(self) -> Tuple[Tensor, Optional[Tensor]]:
        """Table that includes the input, and bias; they are differentiable."""
        table = self.relative_position_bias_table
        if self.bias is None:
            same = F.one_hot(self.relative_position_index[0, 0], table.size(1))
            table = table + same.to(table.dtype)
        return table, self.bias

    @torch.no_grad()
    def set_merged(self, table: Tensor, bias: Tensor) -> None:
        """Turn into the deploy form with this table and bias."""
        trains = self.relative_position_bias_table.requires_grad
        self.relative_position_bias_table.copy_(table)
        self.bias = nn.Parameter(bias, requires_grad=trains)
