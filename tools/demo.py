"""Open a page to drop pictures on, to try a segmentor or detector.

The page shows the prediction over the picture, a legend, and the seconds it
took. It needs Gradio (pip install gradio) but no network, and only this
machine can open it unless --host is given. Ctrl-C ends it.
"""

import argparse

from mmrep_cli.arguments import (
    add_checkpoint_arguments,
    add_runtime_argument,
    parse_arguments,
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
        '--host',
        default='127.0.0.1',
        help='address to listen on, such as 0.0.0.0 for everyone who can '
        'reach this machine (default: 127.0.0.1, only this machine)',
    )
    parser.add_argument(
        '--port', type=int, help='default: the first free port from 7860'
    )
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:1 (default: the GPU if there is one)',
    )
    add_runtime_argument(parser)
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from pathlib import Path

from mmrep.apis import Inferencer
from mmrep.engine import load_config
from mmrep.engine.cli import check_file_options, run
from mmrep.watching import import_gradio, serve


def main() -> None:
    args = parse_args()
    import_gradio()
    check_file_options(args.checkpoint, args.runtime, None)
    inferencer = Inferencer(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        device=args.device,
        trust_checkpoint=args.trust_checkpoint,
        runtime=args.runtime,
    )
    serve(
        inferencer,
        Path(args.config).stem,
        args.host,
        args.port,
        lambda url: print(f'The page is {url} (Ctrl-C ends it)', flush=True),
    )


if __name__ == '__main__':
    run(main)
