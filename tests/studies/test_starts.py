"""What the study of the discriminator starts from: enough labels, and D's own initial weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.studies.definitions.discriminator import _LEARNERS, check_labels
from sagan.studies.measure.supervised import _start
from sagan.studies.run import Data, Run, Watch


def test_too_few_pictures_of_a_class_are_said_to_be_before_anything_is_trained(labeled) -> None:
    data = Data({"train": labeled, "test": labeled})
    with pytest.raises(SaganError, match="has 3, the smallest of 4"):
        check_labels(data)


def test_the_untrained_and_the_supervised_network_are_d_before_its_first_step(
    labeled: PackedDataset, start_training: Callable[..., Any], tmp_path: Path
) -> None:
    training = start_training(labeled, conditional=False, seed=3)
    config = training.config
    expected = training.adversaries.discriminator.features(labeled.images)
    run = Run("discriminator", "untrained", config, "smoke", tmp_path)
    look, _ = _LEARNERS["untrained"](run, Data({"train": labeled}), Watch(None, print))
    supervised, _ = _start(config, labeled, torch.device("cpu"))
    for features in (look(labeled.images), supervised.features(labeled.images)):
        assert np.array_equal(features, expected)
