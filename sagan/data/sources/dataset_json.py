"""Labels as StyleGAN's tools write them: a dataset.json beside the images."""

import json
from collections.abc import Mapping, Sequence

from sagan.data.sources.tree import ALL_SPLITS, DEFAULT_SPLIT, NO_LABEL, Arrangement, split_names
from sagan.errors import SaganError

DATASET_JSON = "dataset.json"


def arrange_by_json(names: Sequence[str], data: bytes, split: str, where: str) -> Arrangement:
    """Decide the meaning of a tree of images that has its labels in a dataset.json.

    The file contains {"labels": [[name, label], ...]}, a mapping of the same, or {"labels": null},
    which means that there are no labels. Labels are whole numbers; the classes are those that
    occur, named by their numbers. Folders mean nothing.

    Args:
        names: paths of images with forward slashes, relative to the file's folder.
        data: the file's content.
        split: the one that the user asked for; there is only "train".
        where: the source's name in messages.

    Raises:
        SaganError: the file is damaged, has vectors for labels, or names none of the images; or
            another split is asked for.
    """
    if split not in (DEFAULT_SPLIT, ALL_SPLITS):
        raise SaganError(
            f"no split '{split}' in '{where}': its {DATASET_JSON} defines none; leave out --split"
        )
    labels = _labels(data, where)
    parts = list(split_names(names))
    order = sorted(range(len(names)), key=parts.__getitem__)
    if not labels:
        return Arrangement(tuple((index, NO_LABEL) for index in order), (), (), ())

    numbers = sorted({labels[name] for name in names if name in labels})
    if not numbers:
        raise SaganError(f"the labels in {DATASET_JSON} of '{where}' name none of its pictures")
    label_of = {number: label for label, number in enumerate(numbers)}
    files = tuple(
        (index, label_of[labels[names[index]]]) for index in order if names[index] in labels
    )
    notes = []
    if missing := [names[index] for index in order if names[index] not in labels]:
        notes.append(
            f"{len(missing)} pictures have no label in {DATASET_JSON} and are left out, "
            f"such as '{missing[0]}'"
        )
    if len(numbers) == 1:
        files = tuple((index, NO_LABEL) for index, _ in files)
        notes.append(f"{DATASET_JSON} gives all pictures one label: read as a set without labels")
        return Arrangement(files, (), (), tuple(notes))
    return Arrangement(files, tuple(map(str, numbers)), (), tuple(notes))


def _labels(data: bytes, where: str) -> Mapping[str, int]:
    try:
        labels = json.loads(data)["labels"]
        pairs = dict(labels) if labels is not None else {}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SaganError(
            f"{DATASET_JSON} of '{where}' has no usable list of labels ({error})"
        ) from None
    for name, label in pairs.items():
        if type(label) is not int or not isinstance(name, str):
            raise SaganError(
                f"{DATASET_JSON} of '{where}' labels '{name}' with {str(label)[:40]}, but only "
                "whole numbers can be used; remove the file to train without labels"
            )
    return {name.replace("\\", "/"): label for name, label in pairs.items()}
