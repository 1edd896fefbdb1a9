"""Each extra names the libraries that pyproject.toml installs by it."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from sagan.runtime.extras import HEIC, HUB, METRICS, ONNX, Extra


@pytest.mark.parametrize("extra", [HEIC, HUB, METRICS, ONNX], ids=lambda extra: extra.name)
def test_an_extra_has_the_libraries_that_its_name_installs(extra: Extra) -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"^{extra.name} = \[(.*?)\]$", project, re.MULTILINE | re.DOTALL)
    assert found is not None
    distributions = set(re.findall(r'"([\w-]+)', found[1]))
    installed_by = metadata.packages_distributions()
    names = {installed_by[name][0].replace("_", "-") for name in extra.libraries}
    assert names == distributions
