"""Train a segmentor, detector or classifier."""

import argparse

from mmrep_cli.arguments import add_run_arguments, parse_run_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='resume from the newest checkpoint in the work dir, or from PATH',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=['fp16', 'bf16', 'auto'],
        help='train in mixed precision; --amp without a type uses the '
        "config's, or else fp16 on a GPU and bf16 on the CPU",
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from the batch size that the config '
        'assumes to the actual one',
    )
    parser.add_argument(
        '--skip-corrupt',
        action='store_true',
        help='skip samples whose image or label map cannot be read, and '
        'name each in the log; otherwise the first one ends the run',
    )
    parser.add_argument(
        '--log-to',
        choices=['tensorboard', 'wandb'],
        help='also log to this service; needs the package of this name',
    )
    add_run_arguments(parser)
    return parse_run_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.deploy.deploy_form import is_deploy_config
from mmrep.engine import (
    build_runner,
    check_data,
    enable_amp,
    load_config,
    set_data_root,
    set_work_dir,
)
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.runner import enable_resume
from mmrep.watching import log_to, watched


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if is_deploy_config(cfg):
        raise UsageError(
            f'the model of {args.config} must be in training form, but is in '
            'deploy form, which has no branches and norms to train; give the '
            'config of the training form.'
        )
    set_work_dir(cfg, args.config, args.work_dir)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    if args.amp:
        enable_amp(cfg, None if args.amp == 'auto' else args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UsageError(
                '--auto-scale-lr needs '
                'auto_scale_lr.base_batch_size in the config.'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume:
        enable_resume(cfg, args.resume)
    if args.log_to:
        log_to(cfg, args.log_to)
    check_data(
        cfg,
        'train_dataloader',
        *(['val_dataloader'] if cfg.get('val_dataloader') else []),
        launcher=args.launcher,
    )
    runner = build_runner(
        cfg, 'train', args.launcher, args.trust_checkpoint, args.skip_corrupt
    )
    with watched(runner):
        runner.train()


if __name__ == '__main__':
    run(main)
