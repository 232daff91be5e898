"""`fairseq-quant-report --sensitivity`: its flags, its tables, its plan file.

    fairseq-quant-report checkpoint_best.pt --sensitivity --quantization int8 --data RTE-bin --png sensitivity.png
    fairseq-quant-report checkpoint_best.pt --sensitivity --quantization int8 --data RTE-bin --subset train \\
        --bits 2,3,4,6,8 --budget 4 --plan mixed.yaml --score-subset valid
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from fairseq.errors import ConfigError
from fairseq_cli.fitting import show

if TYPE_CHECKING:
    from fairseq.checkpoint_tools.sensitivity import Measured
    from fairseq.quantization.analysis.mixed_plan import MixedPlan

MEASURES = {
    "drop": "loss of {metric}",
    "loss": "rise of the loss",
    "change": "change of the outputs, %",
}
BITS, BITS_OF_PLAN = "4", "2,3,4,6,8"


def add_sensitivity(parser: argparse.ArgumentParser) -> None:
    """The flags of `--sensitivity`."""
    group = parser.add_argument_group("what is lost when one product runs at few bits (--data: default its own)")
    group.add_argument(
        "--sensitivity", action="store_true", help="measure it; --num-bits is for the rest (0: full precision)"
    )
    group.add_argument(
        "--bits",
        metavar="LIST",
        help=f"bits or formats to try: 3,4,8 or fp4_e2m1,fixed_point:6 (default: {BITS}; with --budget {BITS_OF_PLAN})",
    )
    group.add_argument("--examples", type=int, metavar="N", help="of --subset, drawn at random (default: 256)")
    group.add_argument(
        "--metric", metavar="NAME", help="what is lost (default: the metric that chose the best checkpoint)"
    )
    group.add_argument(
        "--measure", choices=MEASURES, default="drop", help="what table and heat map show (default: drop)"
    )
    group.add_argument(
        "--budget", type=float, metavar="BITS", help="choose a mixed plan of so many bits on the average"
    )
    group.add_argument(
        "--weigh",
        choices=("multiplications", "parameters"),
        default="multiplications",
        help="what a product counts for in the average (default: %(default)s)",
    )
    group.add_argument(
        "--by",
        choices=("change", "loss", "drop"),
        default="change",
        help="the measure whose sum is least (default: change)",
    )
    group.add_argument("--plan", type=Path, metavar="FILE.yaml", help="write the plan, for quantization=FILE.yaml")
    group.add_argument("--score-subset", metavar="SUBSET", help="score plan and uniform plans on all of this subset")


def check_sensitivity(args: argparse.Namespace) -> None:
    """Raise ConfigError where flags contradict each other."""
    from fairseq.output_files import check_output

    alone = ("bits", "examples", "metric", "budget", "plan", "score_subset")
    given = [name for name in alone if getattr(args, name) is not None]
    if not args.sensitivity:
        if given:
            raise ConfigError(f"--{given[0].replace('_', '-')} has no effect without --sensitivity")
        return
    if args.examples is not None and args.examples < 1:
        raise ConfigError(f"--examples must be at least 1, got {args.examples}")
    for name in ("plan", "score_subset"):
        if args.budget is None and getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} needs --budget, the bits of the plan on the average")
    if args.plan is not None:
        if args.plan.suffix not in (".yaml", ".yml"):
            raise ConfigError(f"--plan {args.plan}: the name of a plan ends in .yaml")
        check_output(args.plan, args.overwrite, "--plan")


def report_sensitivity(args: argparse.Namespace) -> None:
    """Measure, print, write what was asked for."""
    from fairseq.checkpoint_tools.sensitivity import Settings, measure_sensitivity
    from fairseq.quantization.analysis.mixed_plan import choose

    words = (args.bits or (BITS if args.budget is None else BITS_OF_PLAN)).split(",")
    settings = Settings(
        data=args.data,
        preset=args.quantization,
        candidates=list(dict.fromkeys(word.strip() for word in words)),
        rest=args.num_bits,
        subset=args.subset,
        examples=args.examples or 256,
        batch_size=args.batch_size,
        metric=args.metric,
    )
    measured = measure_sensitivity(args.checkpoint, settings, _progress)
    rest = "their own bits" if measured.trained and args.num_bits is None else f"{args.num_bits or 'full'} precision"
    rest = f"{args.num_bits} bits" if args.num_bits else rest
    print(
        f"{measured.data.examples} examples of {args.subset!r}; {measured.data.metric} "
        f"{measured.data.sign * measured.before.score:.4g}, loss {measured.before.loss:.4g}, "
        f"the other products at {rest}"
    )
    label = MEASURES[args.measure].format(metric=measured.data.metric)
    grids = _grids(measured, args.measure)
    for title, grid in grids:
        show(f"\n{label}, one product at {title}\n{_table(grid)}")
    if args.png:
        from fairseq.quantization.analysis.heatmap import write_grids

        write_grids([(f"one product at {title}", grid) for title, grid in grids], args.png, label, "{:.2g}")
        print(f"\n{args.png}: {label}")
    plan = None
    if args.budget is not None:
        plan = choose(measured.rows, args.budget, args.weigh, args.by)
        _tell_plan(measured, plan, args)
    if args.json:
        args.json.write_text(json.dumps(_as_json(measured, plan), indent=2) + "\n", encoding="utf-8")


def _progress(total: int) -> Callable[[], None]:
    from fairseq.job_progress import JobProgress

    if not sys.stderr.isatty():
        print(f"{total} measurements", flush=True)
    return JobProgress("sensitivity", total, "product").advance


def _grids(measured: "Measured", measure: str) -> list[tuple[str, Any]]:
    """One per candidate: layers by kinds of product."""
    from fairseq.quantization.analysis.sensitivity import split_path

    grids = []
    for candidate in dict.fromkeys(row.candidate for row in measured.rows):
        cells: dict[tuple[str, str], Optional[float]] = {}
        for row in measured.rows:
            if row.candidate == candidate:
                value = getattr(row, measure)
                cells[split_path(row.product)] = 100 * value if measure == "change" and value is not None else value
        layers, kinds = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
        values = [[cells.get((layer, kind)) for kind in kinds] for layer in layers]
        title = f"{candidate.bits} bits" if candidate.format is None else f"{candidate.format}, {candidate.bits} bits"
        grids.append((title, (layers, kinds, values)))
    return grids


def _table(grid: Any) -> str:
    """Aligned text, with the mean of each layer and of each kind."""
    from fairseq.quantization.plan.table import align

    layers, kinds, values = grid

    def line(name: str, cells: list[Optional[float]]) -> dict[str, str]:
        shown = dict(zip(kinds, cells, strict=True))
        return {"layer": name, **{kind: _number(cell) for kind, cell in shown.items()}, "mean": _number(_mean(cells))}

    means = [_mean([row[column] for row in values]) for column in range(len(kinds))]
    rows = [*(line(layer, row) for layer, row in zip(layers, values, strict=True)), line("mean", means)]
    return align(rows)


def _mean(cells: list[Optional[float]]) -> Optional[float]:
    known = [cell for cell in cells if cell is not None]
    return sum(known) / len(known) if known else None


def _number(cell: Optional[float]) -> str:
    return "-" if cell is None else f"{cell:.3g}"


def _tell_plan(measured: "Measured", plan: "MixedPlan", args: argparse.Namespace) -> None:
    """Print the plan, and how it and uniform ones score; write it."""
    from fairseq.quantization.analysis.mixed_plan import uniform

    print(f"\nmixed plan, {args.budget:g} bits by {args.weigh}, least sum of {args.by!r} (dynamic programming)")
    show(_table_of_plan(plan))
    print(
        f"average {plan.average_bits:.3f} bits; BitOPs of these products in the forward pass "
        f"{100 * plan.bitops:.3g} % of full precision's"
    )
    group = measured.fragment(plan.rules())
    if args.plan is not None:
        _write_plan(args, measured, plan, group)
        print(f"{args.plan}: for quantization={args.plan} or --quantization {args.plan}")
    if args.score_subset is None:
        return
    names: list[tuple[str, Any, float]] = [("as it is", None, float("nan")), ("mixed plan", group, plan.average_bits)]
    for candidate in dict.fromkeys(row.candidate for row in measured.rows):
        same = uniform(measured.rows, candidate)
        names.append((f"all at {candidate.name}", measured.fragment(same.rules()), candidate.bits_per_value))
    print(f"\n{measured.data.metric} on all of {args.score_subset!r}")
    for name, each, bits in names:
        score, count = measured.score(each, args.score_subset)
        average = "" if bits != bits else f", {bits:.3f} bits"
        print(f"  {name}: {score:.4g} ({count} examples{average})", flush=True)


def _table_of_plan(plan: "MixedPlan") -> str:
    from fairseq.quantization.analysis.sensitivity import split_path
    from fairseq.quantization.plan.table import align

    cells = {split_path(path): row.candidate.name for path, row in plan.choices.items()}
    layers, kinds = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    return align([{"layer": layer, **{kind: cells.get((layer, kind), "-") for kind in kinds}} for layer in layers])


def _write_plan(args: argparse.Namespace, measured: "Measured", plan: "MixedPlan", group: dict[str, Any]) -> None:
    import yaml

    from fairseq.checkpoint.writing import atomic

    head = (
        f"# A mixed plan of {plan.average_bits:.3f} bits on the average (budget {args.budget:g}, by {args.weigh}), "
        f"chosen by\n# `fairseq-quant-report --sensitivity` for {args.checkpoint}\n"
        f"# on {measured.data.examples} examples of {args.subset!r}: least sum of {args.by!r}.\n"
    )
    text = yaml.safe_dump(group, sort_keys=False, width=120, default_flow_style=None, allow_unicode=True)
    with atomic(str(args.plan)) as file:
        file.write((head + text).encode())


def _as_json(measured: "Measured", plan: Optional["MixedPlan"]) -> dict[str, Any]:
    rows = [
        {
            "product": row.product,
            "candidate": row.candidate.name,
            "bits": row.candidate.bits,
            "parameters": row.parameters,
            "macs": row.macs,
            "drop": row.drop,
            "loss": row.loss,
            "change": row.change,
        }
        for row in measured.rows
    ]
    data = measured.data
    found = {
        "metric": data.metric,
        "before": {data.metric: data.sign * measured.before.score, "loss": measured.before.loss},
        "subset": measured.settings.subset,
        "examples": data.examples,
        "rows": rows,
    }
    if plan is not None:
        found["plan"] = {
            "average_bits": plan.average_bits,
            "bitops": plan.bitops,
            "products": {path: row.candidate.name for path, row in plan.choices.items()},
        }
    return found
