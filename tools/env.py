"""Print what a bug report needs: versions, devices, what runs, and why.

Packages that cannot be imported are listed with their error, and the rest is
still printed.
"""

import argparse
import os
import platform
import sys
from importlib import import_module, metadata
from typing import Callable, Iterator, Tuple

# Import name, and the PyPI names under which it may be installed.
PACKAGES = {
    'torch': ['torch'],
    'torchvision': ['torchvision'],
    'triton': ['triton', 'triton-windows'],
    'mmengine': ['onedl-mmengine', 'mmengine', 'mmengine-lite'],
    'mmcv': ['onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'],
    'mmseg': ['onedl-mmsegmentation', 'mmsegmentation'],
    'mmdet': ['onedl-mmdetection', 'mmdet'],
    'mmpretrain': ['onedl-mmpretrain', 'mmpretrain'],
    'timm': ['timm'],
    'numpy': ['numpy'],
    'cv2': ['opencv-python', 'opencv-python-headless'],
    'onnx': ['onnx'],
    'onnxruntime': ['onnxruntime', 'onnxruntime-gpu'],
    'onnxscript': ['onnxscript'],
    'openvino': ['openvino'],
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser.parse_args()


def versions() -> Iterator[Tuple[str, str]]:
    """Packages, with their name on PyPI if it differs."""
    for name, projects in PACKAGES.items():
        found = []
        for project in projects:
            try:
                found.append((project, metadata.version(project)))
            except metadata.PackageNotFoundError:
                pass
        yield (
            name,
            ' and '.join(
                version if project == name else f'{version} ({project})'
                for project, version in found
            )
            or 'not installed',
        )


def mmrep_itself() -> str:
    import mmrep
    from mmrep.machine import facts

    commit = facts('cpu')['commit']
    return f'{mmrep.__version__} (commit {commit}) in {mmrep.__path__[0]}'


def processor() -> str:
    from mmrep.machine import facts

    found = facts('cpu')
    return (
        f'{found["name"]}, {found["cores"]} cores, PyTorch uses '
        f'{found["threads"]} threads and {found["instructions"]}'
    )


def gpus() -> str:
    import torch

    if not torch.cuda.is_available():
        build = torch.version.cuda or torch.version.hip
        return f'none (PyTorch is built for {build or "only the CPU"})'
    lines = []
    for i in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(i)
        lines.append(
            f'{found.name}, {found.total_memory / 2**30:.0f} GiB, compute '
            f'capability {found.major}.{found.minor}'
        )
    return f'CUDA {torch.version.cuda}: ' + '; '.join(lines)


def backends() -> str:
    from mmrep.ops import backend_report

    return backend_report().partition(': ')[2]


def mmcv_operators() -> str:
    import_module('mmcv._ext')
    from mmrep.compat import report

    return report().partition(': ')[2]


def main() -> None:
    parse_args()
    facts: Tuple[Tuple[str, Callable[[], str]], ...] = (
        ('mmrep', mmrep_itself),
        ('processor', processor),
        ('GPUs', gpus),
        ('large-kernel backends', backends),
        ('mmcv operators', mmcv_operators),
    )
    print(f'system: {platform.platform()}')
    print(f'python: {platform.python_version()} in {sys.prefix}')
    for name, version in versions():
        print(f'{name}: {version}')
    for name in ('OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES'):
        if name in os.environ:
            print(f'{name}: {os.environ[name]}')
    for name, fact in facts:
        try:
            print(f'{name}: {fact()}')
        except Exception as error:  # any error of a broken installation
            print(f'{name}: {type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
