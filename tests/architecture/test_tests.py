"""What all tests have in common."""

import re
from pathlib import Path

from hypothesis import settings

TESTS = Path(__file__).parents[1]


def test_one_profile_frees_all_property_tests_from_deadlines() -> None:
    """On a busy machine an example may take any time, so no test sets a deadline of its own."""
    assert settings.default is not None
    assert settings.default.deadline is None
    property_tests = [
        path
        for path in TESTS.rglob("test_*.py")
        if "from hypothesis import" in path.read_text(encoding="utf-8") and path != Path(__file__)
    ]
    assert len(property_tests) > 10
    own = [
        str(path.relative_to(TESTS))
        for path in property_tests
        if re.search(r"settings\([^)]*deadline", path.read_text(encoding="utf-8"))
    ]
    assert own == []
