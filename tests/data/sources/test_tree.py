"""The meaning of a tree of names. Every case is an arrangement that people really have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagan.data.sources.names import is_image_name
from sagan.data.sources.tree import Arrangement, arrange
from sagan.errors import SaganError


def labeled(names: list[str], split: str = "train") -> tuple[dict[str, str | None], Arrangement]:
    """The layout, and each used file's class by name."""
    layout = arrange(names, split, "here")
    classes = {
        names[index]: layout.classes[label] if layout.classes else None
        for index, label in layout.files
    }
    return classes, layout


def test_class_folders_are_numbered_by_name_whatever_the_order_of_files() -> None:
    classes, layout = labeled(["dog/1.png", "cat/2.png", "cat/1.png", "dog/deeper/0.png"])
    assert layout.classes == ("cat", "dog")
    assert classes == {
        "cat/1.png": "cat", "cat/2.png": "cat", "dog/1.png": "dog", "dog/deeper/0.png": "dog",
    }  # fmt: skip
    assert list(classes) == sorted(classes)
    assert layout.notes == ()


def test_a_flat_folder_has_no_labels() -> None:
    classes, layout = labeled(["b.png", "a.png"])
    assert list(classes) == ["a.png", "b.png"]
    assert set(classes.values()) == {None}
    assert layout.notes == ()


def test_splits_are_distinguished_from_classes_even_inside_wrapping_folders() -> None:
    names = ["set/x/Train/a/1.png", "set/x/Train/b/1.png", "set/x/test/a/1.png"]
    classes, layout = labeled(names)
    assert classes == {names[0]: "a", names[1]: "b"}
    assert layout.splits == ("test", "train")


def test_a_split_without_class_folders_is_unlabeled() -> None:
    classes, layout = labeled(["train/1.png", "test/2.png"], "test")
    assert classes == {"test/2.png": None}
    assert layout.classes == ()


def test_every_split_numbers_classes_as_train_does() -> None:
    names = ["train/a/1.png", "train/b/1.png", "train/d/1.png"]
    names += ["test/b/1.png", "test/c/1.png", "val/d/1.png"]
    classes, layout = labeled(names, "test")
    assert layout.classes == ("a", "b", "d", "c")
    assert classes == {"test/b/1.png": "b", "test/c/1.png": "c"}
    assert any("c" in note for note in layout.notes)
    # One class folder alone would be no class, were it not one of train's.
    assert labeled(names, "val")[0] == {"val/d/1.png": "d"}


def test_all_splits_together_keep_trains_numbers() -> None:
    names = ["train/a/1.png", "train/b/1.png", "test/b/1.png", "test/c/2.png", "logo.png"]
    classes, layout = labeled(names, "all")
    assert layout.classes == ("a", "b", "c")
    assert classes == {names[0]: "a", names[1]: "b", names[2]: "b", names[3]: "c"}
    assert labeled(["a/1.png", "b/1.png"], "all")[1].classes == ("a", "b")
    assert labeled(["train/1.png", "test/1.png"], "all")[1].classes == ()


def test_the_error_for_a_missing_split_lists_the_splits() -> None:
    with pytest.raises(SaganError, match=r"'val' in 'here': it has test, train;"):
        arrange(["train/a.png", "test/a.png"], "val", "here")
    with pytest.raises(SaganError, match=r"'train' in 'here': it has test"):
        arrange(["test/a.png"], "train", "here")
    with pytest.raises(SaganError, match="no train and test folders"):
        arrange(["a.png"], "test", "here")


def test_a_train_among_cars_is_a_class_and_the_user_learns_of_it() -> None:
    classes, layout = labeled(["car/1.png", "train/1.png"])
    assert classes == {"car/1.png": "car", "train/1.png": "train"}
    assert "'train' is read as a class" in layout.notes[0]


def test_a_single_class_folder_is_not_a_label_and_the_user_learns_of_it() -> None:
    classes, layout = labeled(["cats/1.png", "cats/2.png"])
    assert set(classes.values()) == {None}
    assert "'cats'" in layout.notes[0]


def test_stray_images_beside_class_folders_are_left_out_and_counted() -> None:
    classes, layout = labeled(["preview.png", "a/1.png", "a/2.png", "b/1.png"])
    assert "preview.png" not in classes
    assert layout.classes == ("a", "b")
    assert layout.notes[0].startswith("1 picture without a label, beside")


def test_a_few_sub_folders_beside_many_images_are_not_classes() -> None:
    names = [f"{i}.png" for i in range(9)] + ["edited/1.png", "old/1.png"]
    classes, layout = labeled(names)
    assert len(classes) == 11
    assert layout.classes == ()
    assert "without labels" in layout.notes[0]


def test_images_outside_the_splits_are_left_out_and_counted() -> None:
    classes, layout = labeled(["logo.png", "train/1.png", "test/1.png", "extra/1.png"])
    assert classes == {"train/1.png": None}
    assert layout.notes[0].startswith("2 pictures outside")


def test_a_source_without_images_is_an_error_that_lists_the_extensions() -> None:
    with pytest.raises(SaganError, match=r"no pictures in 'here': .*\.webp"):
        arrange([], "train", "here")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/B.JPEG", True),
        ("x.tar.png", True),
        ("two words 🐱.Tiff", True),
        ("notes.txt", False),
        ("Thumbs.db", False),
        (".DS_Store", False),
        ("a/._1.png", False),
        ("__MACOSX/a/1.png", False),
        (".cache/1.png", False),
        ("png", False),
    ],
)
def test_images_are_known_by_extension_and_system_files_do_not_count(
    name: str, expected: bool
) -> None:
    assert is_image_name(name) is expected


PARTS = st.sampled_from(["a", "b", "train", "test", "Val", "c c"])
NAMES = st.lists(
    st.lists(PARTS, max_size=3).map(lambda parts: "/".join([*parts, "x.png"])),
    min_size=1,
    unique=True,
)


@given(names=NAMES, data=st.data())
def test_any_tree_gives_the_same_meaning_in_any_order_of_listing(
    names: list[str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(names))
    try:
        layout = arrange(names, "train", "here")
    except SaganError:
        with pytest.raises(SaganError):
            arrange(shuffled, "train", "here")
        return
    other = arrange(shuffled, "train", "here")
    assert other.classes == layout.classes
    assert [(shuffled[i], label) for i, label in other.files] == [
        (names[i], label) for i, label in layout.files
    ]
    used = [index for index, _ in layout.files]
    assert len(set(used)) == len(used) > 0
    labels = {label for _, label in layout.files}
    assert labels == (set(range(len(layout.classes))) or {-1})
    # Nothing is left out in silence.
    if len(used) < len(names) and not layout.splits:
        assert layout.notes


def test_class_names_that_differ_only_in_unicode_normalization_are_one_class() -> None:
    names = ["caf\u00e9/1.png", "cafe\u0301/2.png", "tea/1.png"]
    classes, layout = labeled(names)
    assert layout.classes == ("caf\u00e9", "tea")
    assert set(classes) == set(names)


SPLIT_PAIRS = [
    ("training", "testing"),
    ("Training Set", "Test Set"),
    ("train_images", "test_images"),
    ("TRAIN", "EVAL"),
    ("trainset", "testset"),
    ("trn", "tst"),
    ("train2017", "test2017"),
    ("seg_train", "seg_test"),
    ("flowers-train", "flowers-evaluation"),
    ("TrainingData", "TestingData"),
    ("01 Training", "02 Test"),
    ("1_train", "2_test"),
    ("trainval", "test"),
    ("train_val", "test"),
    ("Train (1)", "Test (1)"),
]


@pytest.mark.parametrize(("train", "test"), SPLIT_PAIRS)
@pytest.mark.parametrize("inner", ["", "images/"])
def test_splits_are_known_under_the_names_that_people_give_them(
    train: str, test: str, inner: str
) -> None:
    names = [f"{split}/{inner}{c}/{i}.png" for split in (train, test) for c in "ab" for i in "12"]
    classes, layout = labeled(names)
    assert layout.classes == ("a", "b")
    assert layout.splits == ("test", "train")
    assert set(classes) == set(names[:4])
    for asked in ("test", test):
        assert set(labeled(names, asked)[0]) == set(names[4:])


@pytest.mark.parametrize("name", ["dev", "development", "valid", "Validation", "validation_set"])
def test_val_may_be_spelled_in_any_way_by_folder_and_user(name: str) -> None:
    names = ["train/1.png", f"{name}/2.png"]
    for asked in ("val", "validation", name):
        assert list(labeled(names, asked)[0]) == [names[1]]


def test_splits_inside_the_class_folders_are_splits() -> None:
    names = [f"set/{c}/{split}/{n}.png" for c in ("cat", "dog") for split in ("test", "train")
             for n in (1, 2)]  # fmt: skip
    classes, layout = labeled([*names, "set/dog/extra/1.png"])
    assert classes == {name: name[4:7] for name in names if "train" in name}
    assert layout.splits == ("test", "train")
    assert "inside 'cat' and the like" in layout.notes[0]
    assert any("outside" in note for note in layout.notes)


def test_folders_with_the_classes_of_train_are_splits_too() -> None:
    names = [f"{split}/{c}/1.png" for split in ("extra", "train") for c in "012"]
    assert labeled(names)[1].splits == ("extra", "train")
    assert set(labeled(names)[0]) == set(names[3:])


def test_splits_under_unknown_names_are_noted_and_can_be_chosen() -> None:
    names = [f"{split}/{c}/1.png" for split in ("prueba", "entrenamiento") for c in "ab"]
    _, layout = labeled(names)
    assert layout.classes == ("entrenamiento", "prueba")
    assert "same sub-folders, 'a', 'b'" in layout.notes[0]
    assert labeled(names, "prueba")[0] == {names[0]: "a", names[1]: "b"}


def test_names_that_only_contain_the_word_train_are_classes() -> None:
    names = ["bullet_train/1.png", "crash_test/1.png", "car/1.png"]
    assert labeled(names)[1].classes == ("bullet_train", "car", "crash_test")
    names = ["steam train/1.png", "freight train/1.png"]
    assert labeled(names)[1].classes == ("freight train", "steam train")


def test_two_folders_of_one_split_keep_their_names() -> None:
    names = [f"{split}/1.png" for split in ("trainA", "trainB", "testA", "testB")]
    with pytest.raises(SaganError, match="it has testa, testb, traina, trainb"):
        labeled(names)
    assert list(labeled(names, "trainA")[0]) == ["trainA/1.png"]


@pytest.mark.parametrize(
    "names",
    [
        ["00000/00000.png", "00000/00001.png", "01000/01000.png", "02000/02000.png"],
        ["00000/img00000000.png", "00001/img00000001.png"],
        ["part1/x.png", "part2/x.png"],
        ["set/shard-00/a.png", "set/shard-01/b.png"],
    ],
)
def test_numbered_parts_of_a_set_are_not_classes(names: list[str]) -> None:
    classes, layout = labeled(names)
    assert set(classes) == set(names)
    assert layout.classes == ()
    assert "parts of one set, not classes" in layout.notes[0]


def test_parts_of_a_set_with_class_folders_are_joined() -> None:
    names = [f"part{n}/{c}/{n}.png" for n in (1, 2) for c in ("cat", "dog")]
    assert labeled(names)[1].classes == ("cat", "dog")


@pytest.mark.parametrize(
    "names", [["00001/0.png", "00002/0.png"], ["0/1.png", "1/2.png"], ["2019/1.png", "2020/2.png"]]
)
def test_numbers_of_people_digits_and_years_are_classes(names: list[str]) -> None:
    assert len(labeled(names)[1].classes) == 2


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("train/images", "train/labels"),
        ("JPEGImages", "SegmentationClass"),
        ("train", "train_masks"),
        ("imgs", "GT"),
        ("original", "ground_truth"),
    ],
)
def test_masks_beside_their_images_are_left_out_with_a_note(images: str, masks: str) -> None:
    names = [f"{images}/1.png", f"{images}/2.png", f"{masks}/1.png", f"{masks}/2.png"]
    classes, layout = labeled([*names, "test/images/1.png"] if "train" in images else names)
    assert set(classes) == set(names[:2])
    assert layout.classes == ()
    assert "2 pictures in" in layout.notes[0]
    assert "masks" in layout.notes[0]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}.png", "{}_mask.png"),
        ("{}.jpg", "{}_seg.png"),
        ("{}.jpg", "{}-label.png"),
        ("{}.jpg", "{}_depth.png"),
        ("{}.jpg", "{}.mask.png"),
        ("{}_rgb.png", "{}_depth.png"),
        ("{}-img.png", "{}-gt.png"),
        ("image_{}.png", "mask_{}.png"),
        ("benign ({}).png", "benign ({})_mask_1.png"),
        ("ISIC_{}.jpg", "ISIC_{}_Segmentation.png"),
    ],
)
@pytest.mark.parametrize("folder", ["", "cat/", "train/cat/"])
def test_masks_as_files_beside_images_are_left_out_with_a_note(
    folder: str, image: str, mask: str
) -> None:
    images = [folder + image.format(n) for n in range(4)]
    others = ["dog/1.png", "dog/2.png", "train/dog/1.png"]
    kept = [*images, *(other for other in others if folder and other.startswith(folder[:-4]))]
    classes, layout = labeled([*kept, *(folder + mask.format(n) for n in range(4))])
    assert set(classes) == set(kept)
    assert f"4 pictures such as '{folder}{mask.format(0)}' are masks" in layout.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        ["with_mask_1.jpg", "without_mask_1.jpg", "with_mask_2.jpg"],
        ["mask_1.png", "mask_2.png", "face_1.png"],
        ["alpha.png", "beta.png", "gamma.png"],
        ["image.png", "mask.png", "hat.png"],
        ["1.png", "1_mask.png", "a_label.png", "b_label.png", "c_label.png"],
        ["x_masked.png", "x.png", "unmasked.png"],
    ],
)
def test_a_word_for_masks_that_means_something_else_leaves_nothing_out(names: list[str]) -> None:
    classes, layout = labeled(names)
    assert set(classes) == set(names)
    assert layout.notes == ()


@pytest.mark.parametrize(
    ("images", "masks"),
    [("leftImg8bit/train/{}", "gtFine/train/{}"), ("CUB/{}", "segmentations/{}"),
     ("bottle/{}", "ground_truth/{}"), ("JPEGs/{}", "Annotations/{}")],
)  # fmt: skip
def test_folders_that_can_only_be_masks_need_no_partner(images: str, masks: str) -> None:
    names = [f"{images.format(c)}/{i}.png" for c in "ab" for i in range(2)]
    classes, layout = labeled([*names, *(f"{masks.format(c)}/x{i}.png" for c in "ab" for i in "1")])
    assert set(classes) == set(names)
    assert layout.classes == ("a", "b")
    assert "are masks" in layout.notes[0]


def test_a_few_images_beside_the_one_folder_of_a_set_are_left_out_with_a_note() -> None:
    names = [f"set/{split}/{c}/{i}.png" for split in ("train", "test") for c in "ab" for i in "123"]
    classes, layout = labeled(["logo.png", *names])
    assert set(classes) == set(names[:6])
    assert layout.splits == ("test", "train")
    assert layout.notes[0] == "1 picture beside the folder 'set' left out, such as 'logo.png'"


def test_faces_with_and_without_masks_are_classes() -> None:
    for pair in (["with_mask", "without_mask"], ["mask", "no_mask"], ["masks", "hats"]):
        assert len(labeled([f"{name}/1.png" for name in pair])[1].classes) == 2


# ImageNet and its kin, as found on disk.

IMAGENET = ["n01440764/n01440764_10026.JPEG", "n01440764/n01440764_10027.JPEG",
            "n01443537/n01443537_2.JPEG"]  # fmt: skip
WRAPPINGS = ["", "ILSVRC2012/", "ILSVRC/Data/CLS-LOC/"]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_imagenet_with_val_in_class_folders(wrapping: str) -> None:
    names = [f"{wrapping}train/{name}" for name in IMAGENET]
    names += [f"{wrapping}val/n01443537/ILSVRC2012_val_00000001.JPEG"]
    train, layout = labeled(names)
    assert list(train.values()) == ["n01440764", "n01440764", "n01443537"]
    assert layout.splits == ("train", "val")
    assert labeled(names, "val")[0] == {names[-1]: "n01443537"}
    assert labeled(names, "val")[1].files[0][1] == 1
    assert labeled(names, "val")[1].notes == ()


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_imagenet_with_a_flat_val_has_no_labels_in_it_and_a_note_says_so(wrapping: str) -> None:
    names = [f"{wrapping}train/{name}" for name in IMAGENET]
    names += [f"{wrapping}val/ILSVRC2012_val_0000000{n}.JPEG" for n in (1, 2)]
    assert labeled(names)[1].classes == ("n01440764", "n01443537")
    val, layout = labeled(names, "val")
    assert set(val.values()) == {None}
    assert "'val' has no class folders, as 'train' has" in layout.notes[0]


def test_tiny_imagenet_is_read_although_its_images_are_one_folder_deeper() -> None:
    names = [f"tiny-imagenet-200/train/n0{n}/images/n0{n}_{i}.JPEG" for n in (1, 2) for i in (0, 1)]
    names += ["tiny-imagenet-200/val/images/val_0.JPEG", "tiny-imagenet-200/test/images/t_0.JPEG"]
    train, layout = labeled(names)
    assert list(train.values()) == ["n01", "n01", "n02", "n02"]
    assert layout.splits == ("test", "train", "val")
    val, layout = labeled(names, "val")
    assert val == {names[4]: None}
    assert any("no class folders" in note for note in layout.notes)
