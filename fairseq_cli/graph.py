"""fairseq-graph: what a model computes, as a graph of its layers and functions.

fairseq-graph report checkpoint_best.pt
fairseq-graph shapes model.py:build --input input:float32[8,16]
fairseq-graph params bert-folder --json
fairseq-graph diff checkpoint_best.pt int8/checkpoint_best.pt
fairseq-graph draw int8/checkpoint_best.pt --out graph.svg
fairseq-graph profile int8/checkpoint_best.pt --data RTE-bin --match linear --stat range_quantile:quantile=0.97
fairseq-graph passes prune
fairseq-graph transform --config q.toml --load best.ckpt --out q-run
fairseq-graph verify int8/checkpoint_best.pt --data RTE-bin
fairseq-graph flops bert-folder --input input_ids:int64[1,128] --input attention_mask:int64[1,128]
"""

import argparse

from fairseq_cli import graph_passes, graph_profile, graph_transform, graph_verify, graph_views
from fairseq_cli.entry import command
from fairseq_cli.user_dir import add_user_dir

# each has ACTIONS, add_arguments(parser, action) and run(args)
FILES = (graph_views, graph_profile, graph_passes, graph_transform, graph_verify)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-graph",
        description="What a model computes, as a graph of its layers and functions.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for file in FILES:
        for name, text in file.ACTIONS.items():
            action = actions.add_parser(
                name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
            )
            file.add_arguments(action, name)
            add_user_dir(action)
            action.set_defaults(run=file.run)
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.plugins import import_user_module

    import_user_module(args)
    args.run(args)


if __name__ == "__main__":
    cli_main()
