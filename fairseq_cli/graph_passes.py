"""The action of fairseq-graph that lists what transform can do: passes."""

import argparse
import json

from fairseq_cli.fitting import show

ACTIONS = {
    "passes": "passes of transform and what each does; with a NAME its options, their meaning and defaults",
}


def add_arguments(action: argparse.ArgumentParser, name: str) -> None:
    action.add_argument("name", nargs="?", metavar="NAME", help="a pass, by its own name or MASE's")
    action.add_argument("--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> None:
    from fairseq.graph import pass_descriptions as passes
    from fairseq.graph.config.pass_names import ALIASES
    from fairseq.graph.passes.registry import PASSES
    from fairseq.text_table import text_table

    if args.name is None:
        rows = passes.pass_rows()
        listed = f"{text_table(rows)}\n\n{passes.ALWAYS}\nOptions of one: fairseq-graph passes NAME"
        print(json.dumps({"passes": rows}, indent=1)) if args.json else show(listed)
        return
    name = PASSES.canonical(ALIASES.get(args.name, args.name))
    options = passes.option_rows(name)
    does, more = passes.text(name)
    others = passes.other_names(name)
    if args.json:
        print(json.dumps({"pass": name, "also called": others, "does": does, "options": options}, indent=1))
        return
    head = f"[passes.{name}]" + (f"  also called {', '.join(others)}" if others else "")
    told = [f"{head}\n{does}", more, text_table(options) if options else "It has no options."]
    show("\n\n".join(filter(None, told)))
