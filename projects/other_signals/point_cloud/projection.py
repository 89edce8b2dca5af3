"""The map of a point cloud: projections of it from several sides.

Source: Point/models/{p2p_adaptor_lk,layers/encoder,layers/fusion}.py of
AILab-CVC/UniRepLKNet@b5677d8, which come from `Meta-Transformer
<https://arxiv.org/abs/2307.10802>`_ and `P2P
<https://arxiv.org/abs/2208.02812>`_.
"""

import math
from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Angles about x and y, in units of pi, after a quarter turn about z. The first
# four are the published ones; the other six are alternatives.
VIEWS = (
    (0, 0),
    (1 / 2, 0),
    (1, 0),
    (3 / 2, 0),
    (5 / 4, -1 / 4),
    (5 / 4, 1 / 4),
    (7 / 4, -1 / 4),
    (7 / 4, 1 / 4),
    (0, -1 / 2),
    (0, 1 / 2),
)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def view_rotations(num_views: int) -> Tensor:
    """Rotation matrices (V, 3, 3) of the first views, about z, y, then x."""
    rotations = []
    for about_x, about_y in VIEWS[:num_views]:
        cx, sx = math.cos(math.pi * about_x), math.sin(math.pi * about_x)
        cy, sy = math.cos(math.pi * about_y), math.sin(math.pi * about_y)
        x = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]).double()
        y = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]).double()
        z = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
        rotations.append(x @ y @ z)
    return torch.stack(rotations).float()


def nearest(points: Tensor, k: int) -> Tensor:
    """Indices (B, N, k) of the nearest points (B, N, 3), including itself."""
    square = points.square().sum(-1)
    products = points @ points.transpose(1, 2)
    distance = square[:, :, None] + square[:, None] - 2 * products
    return distance.topk(k, largest=False, sorted=False).indices


def cells(points: Tensor, size: int) -> Tensor:
    """Cells of points in a map whose border stays free.

    The longer side of the cloud fills the map; the shorter one is centred.

    Args:
        points (Tensor): Shape (B, N, 3); x becomes the row, y the column.
        size (int): Height and width of the map.

    Returns:
        Tensor: Rows and columns from 1 to size - 2, shape (B, N, 2).
    """
    plane = points[..., :2]
    low = plane.amin(1, keepdim=True)
    extent = plane.amax(1, keepdim=True) - low
    cell = ((plane - low) / (extent.amax(-1, True) / (size - 3))).floor()
    middle = ((cell.amax(1, keepdim=True) + 2) / 2).floor()
    return (cell + size // 2 - middle).long()


def splat(features: Tensor, cell: Tensor, size: int) -> Tensor:
    """Add each point's features to the 3x3 cells around it.

    Points are added to their own cells, and each cell of the map is then the
    sum over nine of these.

    Args:
        features (Tensor): Shape (B, N, C).
        cell (Tensor): Rows and columns from 1 to size - 2, (B, N, 2).
        size (int): Height and width of the map.

    Returns:
        Tensor: Shape (B, C, size, size).
    """
    clouds, _, channels = features.shape
    first = torch.arange(clouds, device=cell.device)[:, None] * size**2
    index = (first + cell[..., 0] * size + cell[..., 1]).flatten()
    out = features.new_zeros(clouds * size**2, channels)
    out = out.index_add(0, index, features.flatten(0, 1))
    maps = out.reshape(clouds, size, size, channels).permute(0, 3, 1, 2)
    return 9 * F.avg_pool2d(maps, 3, stride=1, padding=1)


class GraphFeature(nn.Module):
    """A feature of each point, from its nearest neighbours.

    Args:
        channels (int): Channels of the feature.
        hidden_channels (int): Channels that a point starts with.
        neighbours (int): Neighbours of each point, including itself.
    """

    def __init__(
        self, channels: int, hidden_channels: int, neighbours: int
    ) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.embed = nn.Linear(3, hidden_channels)
        self.edge = nn.Conv2d(2 * hidden_channels, channels, 1, bias=False)
        self.norm = nn.GroupNorm(4, channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, points: Tensor) -> Tensor:
        """Map (B, N, 3) to (B, N, channels)."""
        x = self.embed(points)
        with torch.no_grad():
            index = nearest(points, self.neighbours)
        clouds = torch.arange(len(x), device=x.device)[:, None, None]
        own = x[:, :, None].expand(-1, -1, self.neighbours, -1)
        edges = torch.cat([x[clouds, index] - own, own], -1)
        edges = self.norm(self.edge(edges.permute(0, 3, 1, 2)))
        edges = F.leaky_relu(edges, 0.2)
        return self.project(edges.amax(-1).transpose(1, 2))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, ResNet's basic block.

    Args:
        channels (int): Channels of the input and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return (x + self.body(x)).relu()


class SelfAttention(nn.Module):
    """A pre-norm transformer layer.

    Args:
        channels (int): Channels of the tokens.
        heads (int): Number of heads.
        head_channels (int): Channels of a head.
        ffn_channels (int): Channels within the feed-forward net.
    """

    def __init__(
        self, channels: int, heads: int, head_channels: int, ffn_channels: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * heads * head_channels, bias=False)
        self.out = nn.Linear(heads * head_channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.ffn = nn.Sequential(
            nn.Linear(channels, ffn_channels),
            nn.GELU(),
            nn.Linear(ffn_channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, tokens, C) to the same shape."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        # each (B, heads, tokens, head_channels)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(out.transpose(1, 2).flatten(2))
        return x + self.ffn(self.norm2(x))


class ViewFusion(nn.Module):
    """Attention between the views of a cloud, in patches of 7x7.

    Args:
        channels (int): Channels of the maps.
        num_views (int): Views of a cloud.
        token_channels (int): Channels of a patch.
        heads (int): Heads of the attention, each of ``token_channels``.
    """

    patch = 7

    def __init__(
        self, channels: int, num_views: int, token_channels: int, heads: int
    ) -> None:
        super().__init__()
        self.num_views = num_views
        self.patches = nn.Conv2d(
            channels, token_channels, self.patch, self.patch, bias=False
        )
        self.attention = SelfAttention(
            token_channels, heads, token_channels, 2 * token_channels
        )
        self.smooth = nn.Sequential(
            nn.Conv2d(token_channels, channels, 3, padding=1), nn.GELU()
        )
        self.merge = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1), nn.GELU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B * views, C, H, W) to the same shape."""
        tokens = self.patches(x)
        side = tokens.shape[-2:]
        # (B, views * patches, token_channels)
        tokens = tokens.flatten(2).transpose(1, 2)
        shape = tokens.shape
        tokens = self.attention(
            tokens.reshape(-1, self.num_views * shape[1], shape[2])
        )
        tokens = tokens.reshape(shape).transpose(1, 2).unflatten(2, side)
        tokens = F.interpolate(tokens, scale_factor=float(self.patch))
        return self.merge(torch.cat([self.smooth(tokens), x], 1))


class CloudProjection(nn.Module):
    """Images of a point cloud, made by a network.

    Args:
        size (int): Height and width of an image, a multiple of 7. Defaults
            to 224.
        num_views (int): Number of views of a cloud, at most 10. Defaults to 4.
        neighbours (int): See :class:`GraphFeature`. Defaults to 32.
        hidden_channels (int): See :class:`GraphFeature`. Defaults to 8.
        channels (int): Channels of a point's feature, a multiple of 4.
            Defaults to 64.
        token_channels (int): See :class:`ViewFusion`. Defaults to 128.
        heads (int): See :class:`ViewFusion`. Defaults to 8.
        mean (Sequence[float]): Mean to subtract from the three channels, which
            are from 0 to 1. Defaults to ImageNet's.
        std (Sequence[float]): Divisor after that. Defaults to ImageNet's.
    """

    def __init__(
        self,
        size: int = 224,
        num_views: int = 4,
        neighbours: int = 32,
        hidden_channels: int = 8,
        channels: int = 64,
        token_channels: int = 128,
        heads: int = 8,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if not 1 <= num_views <= len(VIEWS):
            raise ValueError(
                f'num_views must be from 1 to {len(VIEWS)}, got {num_views}.'
            )
        if size < ViewFusion.patch or size % ViewFusion.patch:
            raise ValueError(f'size must be a multiple of 7, got {size}.')
        self.size = size
        self.num_views = num_views
        self.feature = GraphFeature(channels, hidden_channels, neighbours)
        self.image_block = nn.Sequential(
            ResidualBlock(channels), nn.Conv2d(channels, channels, 1)
        )
        self.fusion = ViewFusion(channels, num_views, token_channels, heads)
        self.image = nn.Conv2d(channels, 3, 1)
        self.register_buffer('rotations', view_rotations(num_views), False)
        for name, values in (('mean', mean), ('std', std)):
            values = torch.tensor(values)[:, None, None]
            self.register_buffer(name, values, persistent=False)

    def project(self, turned: Tensor, features: Tensor) -> Tensor:
        """Points (B, N, 3) and their features to maps (B * views, C, ..)."""
        views = torch.einsum('bnc,vdc->bvnd', turned, self.rotations)
        cell = cells(views.flatten(0, 1), self.size)
        features = features.repeat_interleave(self.num_views, 0)
        return splat(features, cell, self.size)

    def forward(
        self, points: Tensor, turned: Optional[Tensor] = None
    ) -> Tensor:
        """Make images.

        Args:
            points (Tensor): Points for the features, shape (B, N, 3).
            turned (Tensor, optional): The same points, turned and scaled for
                the projection. Defaults to None, ``points``.

        Returns:
            Tensor: Shape (B * num_views, 3, size, size), with the views of
                each cloud one after another.
        """
        if points.size(1) < self.feature.neighbours:
            raise ValueError(
                f'a cloud must have {self.feature.neighbours} points, got '
                f'{points.size(1)}.'
            )
        turned = points if turned is None else turned
        maps = self.project(turned, self.feature(points))
        maps = self.fusion(self.image_block(maps))
        return (self.image(maps).sigmoid() - self.mean) / self.std
