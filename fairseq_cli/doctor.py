"""fairseq-doctor: versions, processor, compiler, kernels, GPUs, caches, and what is missing for which feature.

fairseq-doctor
"""

import argparse
import json
import sys

from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-doctor",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Say on one screen what this machine and environment have: versions, features
of the processor, compiler, kernels, GPUs, caches, and which packages are
missing for which feature. Changes nothing, unless --compile is given.""",
        epilog="""\
examples:
  fairseq-doctor                # also what to send along with a question
  fairseq-doctor --compile      # compile all kernels now, not at first use
  fairseq-doctor --json | jq .problems

exit status: 0 no problems, 1 something keeps the project from working""",
        allow_abbrev=False,
    )
    parser.add_argument("--compile", action="store_true", help="compile every kernel that is not in the cache yet")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    try:
        from fairseq import doctor
    except Exception as error:  # a torch that is missing, broken or too old fails in many ways
        sys.exit(_without_torch(error))
    if args.compile:
        failed = [name for name, works in doctor.compile_kernels() if not works]
        if failed:
            print(f"not compiled: {', '.join(failed)}", file=sys.stderr)
    found = doctor.examine()
    print(json.dumps(doctor.as_json(found), indent=1) if args.json else found.text())
    if found.problems:
        sys.exit(1)


def _without_torch(error: Exception) -> int:
    """Say what can be said where the project cannot be imported; returns the exit status."""
    try:
        from fairseq import required

        problems = required.problems(list(required.requirements()))
    except ImportError as missing:
        problems = [f"{missing.name} is missing: pip install -c constraints.txt ."]
    for problem in problems or [f"the project cannot be imported: {' '.join(str(error).split())[:300]}"]:
        print(f"PROBLEM     {problem}")
    return 1


if __name__ == "__main__":
    cli_main()
