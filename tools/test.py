"""Test a segmentor or detector and print its metrics.

Instead of a checkpoint, you can pass a file written by tools/export.py.
"""

import argparse
import os.path as osp

from mmrep_cli.arguments import (
    add_precision_argument,
    add_run_arguments,
    add_runtime_argument,
    parse_run_arguments,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint, or a whole exported model'
    )
    parser.add_argument(
        '--aug-test',
        '--tta',
        action='store_true',
        help="test with the scales and flips of the config's tta_pipeline",
    )
    parser.add_argument(
        '--show-dir',
        help='draw the prediction for every image into this folder, as '
        'IMAGE.png',
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        help='save the predictions in this folder: label maps as PNG files, '
        'boxes and masks as COCO result files',
    )
    parser.add_argument(
        '--report',
        metavar='DIR',
        help='write report.html to this folder: scores of each class, '
        'confusions, best and worst pictures',
    )
    add_precision_argument(parser)
    add_runtime_argument(parser)
    add_run_arguments(parser)
    return parse_run_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.apis import ShowHook
from mmrep.deploy.runtime import is_exported, use_exported
from mmrep.engine import (
    build_runner,
    check_data,
    check_folder,
    enable_aug_test,
    enable_half_test,
    enable_output,
    load_config,
    set_data_root,
    set_work_dir,
)
from mmrep.engine.cli import check_file_options, run
from mmrep.watching import ReportHook, watched


def main() -> None:
    args = parse_args()
    check_file_options(args.checkpoint, args.runtime, args.amp)
    cfg = load_config(args.config, args.cfg_options)
    set_work_dir(cfg, args.config, args.work_dir)
    if args.data_root:
        set_data_root(cfg, args.data_root, ['test_dataloader'])
    check_data(cfg, 'test_dataloader', launcher=args.launcher)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if is_exported(args.checkpoint):
        use_exported(
            cfg,
            args.checkpoint,
            args.runtime,
            args.trust_checkpoint,
            args.aug_test,
        )
    if args.aug_test:
        enable_aug_test(cfg)
    if args.amp:
        enable_half_test(cfg, args.amp)
    if args.show_dir:
        check_folder('--show-dir', args.show_dir)
    if args.report:
        check_folder('--report', args.report)
    if args.out:
        predictions = enable_output(cfg, osp.abspath(args.out))
    runner = build_runner(cfg, 'test', args.launcher, args.trust_checkpoint)
    if args.show_dir:
        runner.register_hook(ShowHook(cfg, args.show_dir))
    if args.report:
        runner.register_hook(ReportHook(cfg, args.report, args.checkpoint))
    with watched(runner):
        runner.test()
    if args.show_dir:
        runner.logger.info(f'pictures are in {args.show_dir}')
    if args.report:
        runner.logger.info(f'the report is {args.report}/report.html')
    if args.out:
        runner.logger.info(f'{predictions} are in {args.out}')


if __name__ == '__main__':
    run(main)
