"""fairseq-preprocess: text files -> dictionaries and indexed data sets.

fairseq-preprocess --only-source --trainpref train.bpe --srcdict dict.txt --destdir RTE-bin/input0 --workers 4
"""

from argparse import Namespace

from fairseq_cli.entry import command
from fairseq_cli.train import setup_logging


def main(args: Namespace) -> None:
    """Preprocess as the parsed flags say; the task only matters if it builds its own dictionaries."""
    from fairseq.data.preprocess import preprocess

    setup_logging()
    preprocess(args, _dictionaries_of(args))


def _dictionaries_of(args: Namespace):  # type: ignore[no-untyped-def]
    if args.task in (None, "translation") and not args.user_dir:
        return None
    from fairseq import tasks
    from fairseq.plugins import import_user_module

    import_user_module(args)
    return tasks.get_task(args.task)


@command
def cli_main() -> None:
    from fairseq import options

    parser = options.get_preprocessing_parser()
    parser.add_argument("-h", "--help", action="help", help="show this text and exit")
    main(parser.parse_args())


if __name__ == "__main__":
    cli_main()
