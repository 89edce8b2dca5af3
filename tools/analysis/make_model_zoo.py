"""Write docs/model_zoo.md from configs/metafile.yml and the configs.

Parameters and FLOPs are counted as in tools/get_flops.py, in deploy form. With
--check nothing is written, and the exit status says whether the file is
current.
"""

import argparse
import json
from pathlib import Path
from typing import Dict, List, Tuple


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='only check that the page is current',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import yaml
from mmengine.config import Config

from mmrep.analysis import count
from mmrep.deploy import build_model, fuse_conv_bn
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import write_text

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/model_zoo.md'
PROSE = ROOT / 'docs/model_zoo.in.md'
DRIVE = 'https://drive.google.com/file/d/{}/view'
TASKS = {
    'classifier': ('ImageNet-1K', 'top-1'),
    'upernet': ('Semantic segmentation', 'mIoU, single- / multi-scale'),
    'fcos': ('Object detection', 'AP, box / mask'),
    'cascade-mask-rcnn': ('Object detection', 'AP, box / mask'),
    'mask-rcnn': ('Object detection', 'AP, box / mask'),
}


def measure(model_cfg: Config, shape: Tuple[int, int]) -> Dict[str, int]:
    """Parameters in deploy form and with BN folded, and multiply-adds."""
    model = build_model(model_cfg, meta=True)
    model.backbone.switch_to_deploy()
    found = count(model, shape)
    fuse_conv_bn(model)
    folded = sum(p.numel() for p in model.parameters())
    idle = {n: getattr(model, n) for n in found.idle}
    folded -= sum(p.numel() for m in idle.values() for p in m.parameters())
    return dict(params=found.params, folded=folded, flops=found.flops)


def measure_all(metafile: dict) -> Dict[str, Dict[str, int]]:
    """:func:`measure` for each config; equal models are measured once."""
    known: Dict[str, Dict[str, int]] = {}
    results = {}
    for family in metafile['Families']:
        for row in family['Models']:
            cfg = Config.fromfile(ROOT / 'configs' / f'{row["Config"]}.py')
            backbone = cfg.model.backbone
            for key in ('init_cfg', 'drop_path_rate', 'with_cp'):
                backbone.pop(key, None)
            for key in ('data_preprocessor', 'train_cfg', 'test_cfg'):
                if cfg.default_scope != 'mmdet':
                    cfg.model.pop(key, None)
            key = json.dumps([cfg.model.to_dict(), row['Shape']], default=str)
            if key not in known:
                known[key] = measure(cfg, tuple(row['Shape']))
            results[row['Config']] = known[key]
    return results


def model_table(family: dict, counts: Dict[str, Dict[str, int]]) -> List[str]:
    lines: List[str] = []
    title = None
    for row in family['Models']:
        name = row['Config']
        task, score = TASKS[name.split('_')[0]]
        if task != title:
            title = task
            lines += [
                '',
                f'### {task}',
                '',
                f'| config | pretraining | {score} | parameters (M): deploy '
                '| BN folded | paper | FLOPs (G) | paper | at H×W '
                '| starts from | trained |',
                '| --- | --- ' + '| --- ' * 9 + '|',
            ]
        found = counts[name]
        files = [
            f'[{row[k]}](#{anchor(family, row[k])})' if row.get(k) else ''
            for k in ('Start', 'File')
        ]
        flops = f'{found["flops"] / 1e9:.1f}'
        lines.append(
            f'| [{name}](../configs/{name}.py) | {row["Pretraining"]} '
            f'| {row["Score"]} | {found["params"] / 1e6:.2f} '
            f'| {found["folded"] / 1e6:.2f} | {row.get("Params", "–")} '
            f'| {flops} | {row.get("FLOPs", "–")} '
            f'| {row["Shape"][0]}×{row["Shape"][1]} '
            f'| {files[0]} | {files[1]} |'
        )
    return lines


def anchor(family: dict, file: str) -> str:
    return f'{family["Name"].lower()}-{file}'


def file_table(family: dict) -> List[str]:
    """A row for each released file: where it is, its name, its checksum."""
    lines = [
        '',
        f'### {family["Name"]} files',
        '',
        f'Source page: <{family["Weights"]}>.',
        '',
        '| file | source | name in `pretrained/` | SHA-256 begins with |',
        '| --- | --- | --- | --- |',
    ]
    expected = {}
    for row in family['Models']:
        if row.get('Start'):
            path = ROOT / 'configs' / f'{row["Config"]}.py'
            init = Config.fromfile(path).model.backbone.init_cfg
            if '://' not in init.checkpoint:
                expected[row['Start']] = Path(init.checkpoint).name
    for key, file in family['Files'].items():
        sources = []
        if 'Drive' in file:
            url = DRIVE.format(file['Drive'])
            sources.append((f'[Google Drive]({url})', file.get('Name'), ''))
        if 'URL' in file:
            name = file['URL'].rpartition('/')[2]
            digest = name.rpartition('-')[2].split('.')[0]
            label = file.get('Label', 'MMPretrain')
            known = digest if len(digest) == 8 else file.get('SHA256', '')
            sources.append((f'[{label}]({file["URL"]})', name, known))
        mark = f'<a id="{anchor(family, key)}"></a>{key}'
        for i, (source, name, digest) in enumerate(sources):
            name = expected.get(key, name) if i == 0 else name
            lines.append(
                f'| {mark if i == 0 else ""} | {source} '
                f'| {f"`{name}`" if name else "any"} '
                f'| {f"`{digest}`" if digest else "not known"} |'
            )
    return lines


def render(metafile: dict, counts: Dict[str, Dict[str, int]]) -> str:
    """The page: the text, with tables inserted at its marks."""
    tables: List[str] = []
    files: List[str] = []
    for family in metafile['Families']:
        tables += ['', f'## {family["Name"]}', '']
        tables.append(f'[Paper]({family["Paper"]}), [code]({family["Code"]}).')
        tables += model_table(family, counts)
        files += file_table(family)
    text = PROSE.read_text()
    for mark, lines in (('models', tables), ('files', files)):
        text = text.replace(f'<!-- {mark} -->', '\n'.join(lines).strip())
    return text


def load_metafile() -> dict:
    return yaml.safe_load((ROOT / 'configs/metafile.yml').read_text())


def main() -> None:
    args = parse_args()
    metafile = load_metafile()
    text = render(metafile, measure_all(metafile))
    if not args.check:
        write_text(PAGE, text)
    elif not PAGE.is_file() or PAGE.read_text() != text:
        raise UsageError(
            'docs/model_zoo.md is out of date; run '
            'tools/analysis/make_model_zoo.py.'
        )


if __name__ == '__main__':
    run(main)
