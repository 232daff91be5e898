"""The house's floors: no circle of imports, lazy ones included, and nothing below that knows what is above it.

Packages count as the modules that they consist of: a package whose `__init__` offers names of its modules is no circle.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def modules(root: Path, package: str) -> dict[str, Path]:
    """Dotted name -> file of every module in `package`."""
    names = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    """What a file imports of `known`, wherever in the file it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            # the package itself is the floor that everything stands on
            found.update(alias.name for alias in node.names if "." in alias.name and alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.update(name for name in (inner if inner in known else node.module,) if name in known)
    return found


def graph_of(root: Path, package: str) -> dict[str, set[str]]:
    known = modules(root, package)
    return {name: imported(path, known) - {name} for name, path in known.items()}


def circles(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Groups of modules that reach each other (strongly connected components; R. Tarjan, 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> Iterator[list[str]]:
        index[name] = lowest[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                yield from visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], index[other])
        if lowest[name] == index[name]:
            position = stack.index(name)
            group = stack[position:]
            del stack[position:]
            if len(group) > 1:
                yield sorted(group)

    for name in graph:
        if name not in index:
            yield from visit(name)


@pytest.mark.parametrize("package", ["fairseq", "fairseq_cli"])
def test_no_circles(package: str) -> None:
    assert list(circles(graph_of(REPOSITORY, package))) == []


def test_circles_are_found(tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    for name, text in {
        "__init__": "from house.a import x",
        "a": "def f():\n    from house.b import g",
        "b": "from house import c",
        "c": "if False:\n    import house.a",
        "d": "import house.a",
    }.items():
        (tmp_path / "house" / f"{name}.py").write_text(text)
    assert list(circles(graph_of(tmp_path, "house"))) == [["house.a", "house.b", "house.c"]]


# floor -> what it may import of fairseq besides itself
FLOORS = {
    "fairseq.errors": (),
    "fairseq.native": ("fairseq.errors",),
    "fairseq.quantization": ("fairseq.errors", "fairseq.native"),
    "fairseq.dataclass": ("fairseq.errors", "fairseq.plugins"),
    "fairseq.plugins": ("fairseq.errors",),
    "fairseq.output_files": ("fairseq.errors",),
    "fairseq.job_progress": (),
    "fairseq.data": (
        "fairseq.errors",
        "fairseq.dataclass",
        "fairseq.file_io",
        "fairseq.file_chunker_utils",
        "fairseq.job_progress",
        "fairseq.orphans",
        "fairseq.output_files",
        "fairseq.plugins",
        "fairseq.registry",
        "fairseq.tokenizer",
        "fairseq.utils",
    ),
}


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("floor", FLOORS)
def test_floors(floor: str) -> None:
    outside = {
        f"{name} -> {other}"
        for name, others in graph_of(REPOSITORY, "fairseq").items()
        if inside(name, floor)
        for other in others
        if not any(inside(other, allowed) for allowed in (floor, *FLOORS[floor]))
    }
    assert outside == set()
