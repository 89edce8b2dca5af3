"""Compare UniRepLKNet with its published implementation.

The published form keeps maps in (N, C, H, W), moves the channels to the last
dimension and back in each block, and runs each dilated branch with
``nn.Conv2d``. Both have the same weights and are timed in turn. The results
are written as JSON and shown as a table.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Callable, List

from mmrep_cli.arguments import positive


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--arch', default='T', help='A to XL (T)')
    parser.add_argument(
        '--cases',
        nargs='+',
        default=['2x512', '64x224'],
        metavar='BATCHxSIZE',
        help='images of SIZE x SIZE (2x512 64x224)',
    )
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=['train', 'eval', 'deploy'],
        default=['train', 'eval', 'deploy'],
        help='a training step, inference in training form, inference in '
        'deploy form',
    )
    parser.add_argument('--repeats', type=positive, default=3, help='(3)')
    parser.add_argument('--device', help='default: the GPU if there is one')
    parser.add_argument('--out', help='JSON file to which cases are added')
    args = parser.parse_args()
    try:
        args.cases = [tuple(map(int, c.split('x'))) for c in args.cases]
        if any(len(c) != 2 or min(c) < 1 for c in args.cases):
            raise ValueError
    except ValueError:
        parser.error('--cases must be like 2x512')
    return args


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch
import torch.nn.functional as F
from mmengine.utils import track_iter_progress
from torch import Tensor, nn

from mmrep.files import write_json
from mmrep.machine import facts
from mmrep.models import UniRepLKNet
from mmrep.models.initialise import randomise
from mmrep.ops.timing import time_in_turn


class Published(nn.Module):
    """The forward of the published code with the parameters of a backbone."""

    def __init__(self, backbone: UniRepLKNet) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> List[Tensor]:
        """Images (N, C, H, W) to a map for each stage."""
        model = self.backbone
        outs = []
        for i, (down, stage) in enumerate(
            zip(model.downsample_layers, model.stages, strict=True)
        ):
            for layer in down:
                norm = isinstance(layer, nn.LayerNorm)
                x = layer_norm(layer, x) if norm else layer(x)
            for block in stage:
                x = x + published_block(block, x)
            outs.append(layer_norm(getattr(model, f'norm{i}'), x))
        return outs


def layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm over the channels of (N, C, H, W), by definition."""
    mean = x.mean(1, keepdim=True)
    var = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / torch.sqrt(var + norm.eps)
    return norm.weight[:, None, None] * x + norm.bias[:, None, None]


def plain(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with only PyTorch."""
    return F.conv2d(
        x,
        conv.weight,
        conv.bias,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
    )


def published_block(block: nn.Module, x: Tensor) -> Tensor:
    """The residual of a block, without its input."""
    if not hasattr(block.dwconv, 'lk_origin'):
        x = plain(block.dwconv, x)
    elif block.deploy:
        x = plain(block.dwconv.lk_origin, x)
    else:
        dwconv = block.dwconv
        out = dwconv.origin_bn(plain(dwconv.lk_origin, x))
        for k, r in dwconv.branches:
            conv = getattr(dwconv, f'dil_conv_k{k}_{r}')
            out = out + getattr(dwconv, f'dil_bn_k{k}_{r}')(plain(conv, x))
        x = out
    x = block.norm(x)
    gate = F.adaptive_avg_pool2d(x, 1)
    x = x * torch.sigmoid(block.se.up(F.relu(block.se.down(gate))))
    linear = block.pwconv1[1]
    x = F.gelu(F.linear(x.permute(0, 2, 3, 1), linear.weight, linear.bias))
    norms = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
    norms = norms / (norms.mean(-1, keepdim=True) + 1e-6)
    grn, linear = block.act[1], block.pwconv2[0]
    x = (grn.gamma * norms + 1) * x
    if not block.deploy:
        x = x + grn.beta
    x = F.linear(x, linear.weight, linear.bias).permute(0, 3, 1, 2)
    if block.deploy:
        return x
    return block.gamma.view(1, -1, 1, 1) * block.pwconv2[2](x)


def step(model: nn.Module, x: Tensor) -> Callable[[], List[Tensor]]:
    """A forward and a backward pass."""

    def run() -> List[Tensor]:
        model.zero_grad()
        outs = model(x)
        sum(out.mean() for out in outs).backward()
        return [out.detach() for out in outs]

    return run


def predict(model: nn.Module, x: Tensor) -> Callable[[], List[Tensor]]:
    """A forward pass without gradients."""

    def run() -> List[Tensor]:
        with torch.no_grad():
            return model(x)

    return run


def measure(
    arch: str, mode: str, batch: int, size: int, repeats: int, device: str
) -> dict:
    """Measure a case: times of both forms and difference of outputs."""
    torch.manual_seed(0)
    with torch.device(device):
        model = UniRepLKNet(arch)
        randomise(model)
        x = torch.randn(batch, 3, size, size)
    model.train(mode == 'train')
    if mode == 'deploy':
        model.switch_to_deploy()
    form = step if mode == 'train' else predict
    runs = dict(published=form(Published(model), x), mmrep=form(model, x))
    pairs = zip(runs['published'](), runs['mmrep'](), strict=True)
    difference = max(float((b - a).norm() / a.norm()) for a, b in pairs)
    median = time_in_turn(runs, device, 0, least=repeats)
    return dict(
        arch=arch,
        mode=mode,
        batch=batch,
        size=size,
        milliseconds=median,
        faster_by=median['published'] / median['mmrep'],
        relative_difference=difference,
    )


def main() -> None:
    args = parse_args()
    if args.arch not in UniRepLKNet.arch_settings:
        sys.exit(
            f'error: --arch must be one of {[*UniRepLKNet.arch_settings]}'
        )
    if args.device is None:
        args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    cases = [(m, *case) for case in args.cases for m in args.modes]
    results = [
        measure(args.arch, *case, args.repeats, args.device)
        for case in track_iter_progress(cases, file=sys.stderr)
    ]
    print('\n| arch | mode | images | published ms | mmrep ms | faster by |')
    print('| --- | --- | --- | --- | --- | --- |')
    for r in results:
        ms = r['milliseconds']
        print(
            f'| {r["arch"]} | {r["mode"]} | {r["batch"]} x {r["size"]} | '
            f'{ms["published"]:.0f} | {ms["mmrep"]:.0f} | '
            f'{r["faster_by"]:.2f} |'
        )
    if args.out:
        path = Path(args.out)
        known = (
            json.loads(path.read_text())['results'] if path.exists() else []
        )
        keys = {(r['arch'], r['mode'], r['batch'], r['size']) for r in results}
        known = [
            r
            for r in known
            if (r['arch'], r['mode'], r['batch'], r['size']) not in keys
        ]
        report = {**facts(args.device), 'results': known + results}
        write_json(path, report)


if __name__ == '__main__':
    main()
