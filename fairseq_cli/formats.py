"""fairseq-formats: the number formats, their values, and their errors side by side.

fairseq-formats list
fairseq-formats values nf4
fairseq-formats values log --num-bits 4
fairseq-formats compare --json formats.json --png formats.png
fairseq-formats compare --checkpoint checkpoint_best.pt --granularity channel
fairseq-formats compare --checkpoint roberta-base/model.safetensors --formats mxfp8 nvfp4 fp8_e4m3
"""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairseq_cli.entry import command
from fairseq_cli.fitting import show


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-formats",
        description="Number formats: what there are, their values, and their errors on the same numbers.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="{list,values,compare}")
    listing = actions.add_parser("list", help="every format: fields, bits, range", allow_abbrev=False)
    values = actions.add_parser(
        "values", help="every value of a format of 8 bits or fewer, in units of its scale", allow_abbrev=False
    )
    values.add_argument("format", help='a name, or settings as JSON: \'{"format": "log", "steps_per_octave": 2}\'')
    compare = actions.add_parser("compare", help="errors of all formats on the same numbers", allow_abbrev=False)
    compare.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights to compare them on, in place of random numbers: a checkpoint, packed or not, a safetensors file, "
        "or a folder of a Hugging Face model",
    )
    compare.add_argument(
        "--formats", nargs="+", metavar="FORMAT", help="names, or settings as JSON, in place of all formats"
    )
    compare.add_argument("--granularity", default="tensor", help="which values share a range (default: %(default)s)")
    compare.add_argument("--png", type=Path, metavar="FILE", help="SQNR over bits per value")
    for part in (values, compare):
        part.add_argument("--num-bits", type=int, metavar="N", help="of formats whose settings do not fix them")
    for part in (listing, values, compare):
        part.add_argument("--json", type=Path, metavar="FILE", help="the same as JSON")
        part.add_argument(
            "--overwrite", action="store_true", help="replace files that are there already, not only PNGs"
        )
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.output_files import check_output, check_picture
    from fairseq.quantization.analysis import format_comparison as formats

    picture = getattr(args, "png", None)
    if args.json is not None:
        check_output(args.json, args.overwrite, "--json")
    if picture is not None:
        check_picture(picture, args.overwrite, "--png")
    data: Any
    if args.action == "list":
        described = formats.descriptions()
        show(formats.table(formats.lines()))
        print(formats.LEGEND, end="")
        data = [asdict(row) for row in described]
    elif args.action == "values":
        data = formats.representable(_spec(args.format), args.num_bits)
        print("\n".join(f"{value:.9g}" for value in data))
    else:
        numbers = formats.random_data() if args.checkpoint is None else _weights(args.checkpoint)
        chosen = None if args.formats is None else [_spec(text) for text in args.formats]
        rows = formats.compare(numbers, chosen, granularity=args.granularity, num_bits=args.num_bits)
        show(formats.table(rows))
        print(formats.unscaled_note(chosen), end="")
        if picture is not None:
            formats.write_plot(rows, picture)
        data = [asdict(row) for row in rows]
    if args.json is not None:
        args.json.write_text(json.dumps(_plain(data), indent=1) + "\n", encoding="utf-8")


def _spec(text: str) -> Any:
    from fairseq.errors import ConfigError

    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"format {text!r} is no JSON: {error}") from None


def _weights(path: str) -> dict[str, Any]:
    from fairseq.checkpoint_tools.matrices import matrices

    return {Path(path).name or path: matrices(path)}


def _plain(value: Any) -> Any:
    """JSON knows no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    cli_main()
