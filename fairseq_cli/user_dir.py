"""`--user-dir` of commands that read a checkpoint: the plugin whose task and model it names."""

import argparse


def add_user_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user-dir", metavar="DIR", help="plugin folder that the checkpoint was trained with")
