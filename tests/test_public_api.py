"""`import sagan` offers these names, and imports torch only when one of them needs it."""

import subprocess
import sys

import sagan

NAMES = {
    "PRESETS",
    "AttentionSpec",
    "Config",
    "Discriminator",
    "Generator",
    "SaganError",
    "SelfAttention2d",
    "SpectralSpec",
    "__version__",
    "evaluate",
    "load_discriminator",
    "load_generator",
}


def test_the_public_names_are_these_and_all_exist() -> None:
    assert set(sagan.__all__) == NAMES
    for name in NAMES:
        assert getattr(sagan, name) is not None


def test_every_public_function_and_class_is_documented() -> None:
    for name in set(sagan.__all__) - {"PRESETS", "__version__"}:
        assert getattr(sagan, name).__doc__, name


def test_importing_sagan_does_not_import_torch() -> None:
    code = "import sys, sagan; assert 'torch' not in sys.modules; sagan.SaganError"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(sagan, "Generators")
