"""The study of the discriminator starts with enough labels and with D's own initial weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.studies.definitions.discriminator import _TRAINERS, check_classes
from sagan.studies.measure.supervised import _initial_networks
from sagan.studies.run import RunObserver, StudyData, StudyRun


def test_too_few_images_of_a_class_are_refused_before_training(labeled) -> None:
    data = StudyData({"train": labeled, "test": labeled})
    with pytest.raises(SaganError, match="has 3 classes, the smallest with 4"):
        check_classes(data)


def test_the_untrained_and_the_supervised_network_are_d_before_its_first_step(
    labeled: PackedDataset, start_training: Callable[..., Any], tmp_path: Path
) -> None:
    training = start_training(labeled, conditional=False, seed=3)
    config = training.config
    expected = training.adversaries.discriminator.features(labeled.images)
    run = StudyRun("discriminator", "untrained", config, "smoke", tmp_path)
    extractor, _ = _TRAINERS["untrained"](
        run, StudyData({"train": labeled}), RunObserver(None, print)
    )
    supervised, _ = _initial_networks(config, labeled, torch.device("cpu"))
    for features in (extractor(labeled.images), supervised.features(labeled.images)):
        assert np.array_equal(features, expected)
