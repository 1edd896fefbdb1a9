"""The small changes that scripts/mutation.py makes to a program."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = '''"""A module."""
WIDTH: int = 3


def rescale(x, size=2, *, exact: bool = False) -> "int":
    """Return x / size."""
    if not exact and x >= 1.5:
        raise ValueError(f"{x + 1} is too large")
    x.clear()
    é = "é" + "a"; y = (x +
        size)
    return -y if x is None else y
'''


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module scripts/mutants.py."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import mutants

    yield mutants
    del sys.modules["mutants"]


def test_every_mutant_changes_one_piece_of_code_and_is_a_program(mutants: Any) -> None:
    source = SOURCE.encode()
    found = mutants.mutants_of(source)
    assert [(mutant.line, mutant.before, mutant.after) for mutant in found] == [
        (2, "3", "4"),
        (5, "2", "3"),
        (5, "False", "True"),
        (7, "not exact and x >= 1.5", "not exact or x >= 1.5"),
        (7, "not exact", "exact"),
        (7, "x >= 1.5", "x > 1.5"),
        (7, "1.5", "3.0"),
        (9, "x.clear()", "pass"),
        (10, "x + size", "x - size"),
        (12, "-y if x is None else y", "-y"),
        (12, "-y if x is None else y", "y"),
        (12, "-y", "y"),
        (12, "x is None", "x is not None"),
    ]
    for mutant in found:
        changed = mutant.apply(source)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
        assert changed.count(b"\n") == source.count(b"\n")
