"""What the propagation engine promises, whatever its weights: a person's work stays, each slice comes out once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction, Status
from CardiacSegLib.engines import load_engine, propagation
from CardiacSegLib.engines.plan import Place
from CardiacSegLib.engines.propagation import PropagationEngine
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.cstm import CSTM, SIZES
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.weights import WEIGHTS_FOLDER

FRAMES, SLICES = 6, 4


BATCH = propagation.BATCH


@pytest.fixture(scope="module", autouse=True)
def one_at_a_time() -> Iterator[None]:
    """A slice found alone is the same to the last bit whatever else is found, so that runs can be compared exactly.

    Among others its sums are rounded otherwise, and random weights can turn that into another choice of patches.
    """
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(propagation, "BATCH", 1)
        yield


@pytest.fixture(scope="module")
def engine() -> PropagationEngine:
    """Random weights, always the same, at a coarse pixel size: what they find is nonsense, found quickly."""
    torch.manual_seed(0)
    return PropagationEngine(CSTM(dataclasses.replace(SIZES["small"], spacing_mm=2.8)), torch.device("cpu"))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return beating_heart(3, frames=FRAMES, slices=SLICES, size=64, spacing=(2.6, 2.6, 10.0))


def annotate(phantom: Phantom, *places: tuple[object, object], status: Status = Status.ANNOTATED) -> Segmentation:
    """The truth in these places and nothing elsewhere."""
    marks = np.zeros(phantom.cine.shape[:2], np.uint8)
    for place in places:
        marks[place] = status
    labels = np.where(marks[..., None, None] > 0, phantom.truth.labels, 0).astype(np.uint8)
    return Segmentation(labels, marks, phantom.cine.affine)


ALL = slice(None)


def complete(annotation: Segmentation, found: list[SlicePrediction]) -> Segmentation:
    """The annotation with what was found filled in, as a caller keeps it."""
    labels, status = annotation.labels.copy(), annotation.status.copy()
    for prediction in found:
        labels[prediction.frame, prediction.slice] = prediction.labels
        status[prediction.frame, prediction.slice] = Status.PREDICTED
    return Segmentation(labels, status, annotation.affine, annotation.structures)


def places(found: list[SlicePrediction]) -> list[Place]:
    return [(prediction.frame, prediction.slice) for prediction in found]


@pytest.fixture(scope="module")
def mid(engine: PropagationEngine, phantom: Phantom) -> Segmentation:
    """A slice in the middle of the first frame is annotated, all others are found from it."""
    annotation = annotate(phantom, (0, 1))
    return complete(annotation, list(engine.segment(phantom.cine, annotation)))


@pytest.fixture(scope="module")
def stack(engine: PropagationEngine, phantom: Phantom) -> Segmentation:
    """The first frame is annotated, all others are found from it."""
    annotation = annotate(phantom, (0, ALL))
    return complete(annotation, list(engine.segment(phantom.cine, annotation)))


# What comes out -------------------------------------------------------------------------------------------------------


def test_every_slice_that_nobody_fixed_comes_out_once_on_the_cines_grid(
    engine: PropagationEngine, phantom: Phantom
) -> None:
    annotation = annotate(phantom, (0, 1), (3, 2))
    found = list(engine.segment(phantom.cine, annotation))
    expected = set(itertools.product(range(FRAMES), range(SLICES))) - {(0, 1), (3, 2)}
    assert sorted(places(found)) == sorted(expected)
    for prediction in found:
        assert prediction.labels.shape == (64, 64) and prediction.labels.dtype == np.uint8
        assert set(np.unique(prediction.labels)) <= {0, 1, 2, 3}
        assert isinstance(prediction.confidence, float) and 0 <= prediction.confidence <= 1


@pytest.mark.parametrize("status", [Status.ANNOTATED, Status.CORRECTED, Status.REVIEWED])
def test_a_slice_of_a_person_is_never_found_again(
    status: Status, engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    marks = stack.status.copy()
    marks[2:5, 1:] = status
    found = places(list(engine.segment(phantom.cine, dataclasses.replace(stack, status=marks))))
    assert sorted(found) == [(int(t), int(z)) for t, z in np.argwhere(marks <= Status.PREDICTED)]


def test_nothing_that_goes_in_is_changed(engine: PropagationEngine, phantom: Phantom, stack: Segmentation) -> None:
    known = corrected(stack, (0, 2), np.roll(stack.labels[0, 2], 1, axis=0))
    inputs = (phantom.cine.frames, phantom.cine.affine, stack.labels, stack.status, known.labels, known.status)
    copies = [array.copy() for array in inputs]
    assert list(engine.segment(phantom.cine, known, start=(2, 2), previous=stack))
    for array, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_caller_may_do_what_it_likes_with_what_came_out(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    for prediction in engine.segment(phantom.cine, annotate(phantom, (0, ALL))):
        np.testing.assert_array_equal(prediction.labels, stack.labels[prediction.frame, prediction.slice])
        prediction.labels[:] = 9


def test_nothing_is_left_to_find_where_everything_is_fixed(engine: PropagationEngine, phantom: Phantom) -> None:
    assert list(engine.segment(phantom.cine, phantom.truth)) == []


def test_masks_that_an_engine_made_earlier_do_not_count(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    again = complete(stack, list(engine.segment(phantom.cine, stack)))
    np.testing.assert_array_equal(again.labels, stack.labels)


# Structures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(1,), (4, 7), (1, 2, 3, 4, 7, 255)])
def test_any_structures_are_carried_with_their_own_values(
    values: tuple[int, ...], engine: PropagationEngine, phantom: Phantom
) -> None:
    annotation = annotate(phantom, (0, ALL))
    for index, value in enumerate(values):
        annotation.labels[0, :, 28 + 2 * index : 30 + 2 * index, 20:44] = value
    annotation.labels[~np.isin(annotation.labels, values)] = 0
    found = np.stack([prediction.labels for prediction in engine.segment(phantom.cine, annotation)])
    assert set(np.unique(found)) <= {0, *values} and found.any()


def test_other_values_for_the_same_masks_give_the_same_masks(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    table = np.array([0, 4, 7, 200], np.uint8)
    annotation = annotate(phantom, (0, ALL))
    renamed = dataclasses.replace(annotation, labels=table[annotation.labels])
    found = complete(renamed, list(engine.segment(phantom.cine, renamed)))
    np.testing.assert_array_equal(found.labels, table[stack.labels])


def test_an_empty_annotated_slice_is_memory_like_any_other(
    engine: PropagationEngine, phantom: Phantom, mid: Segmentation
) -> None:
    annotation = annotate(phantom, (0, 1), (3, 1), (0, 0))
    annotation.labels[3, 1] = annotation.labels[0, 0] = 0
    found = complete(annotation, list(engine.segment(phantom.cine, annotation)))
    assert not found.labels[3, 1].any() and not found.labels[0, 0].any()
    assert (found.labels[2, 1] != mid.labels[2, 1]).any(), "that nothing is here says something about the frame before"


def test_structures_that_vanish_and_come_back_are_no_error(engine: PropagationEngine) -> None:
    heart = beating_heart(5, frames=6, slices=6, size=64, spacing=(2.6, 2.6, 14.0))
    cut = heart.truth.labels.copy()
    cut[2:4, 0] = 0
    phantom = dataclasses.replace(heart, truth=dataclasses.replace(heart.truth, labels=cut))
    found = list(engine.segment(heart.cine, annotate(phantom, (ALL, 0), (0, ALL))))
    assert len(found) == 5 * 5


# Bad input ------------------------------------------------------------------------------------------------------------


def test_without_an_annotated_slice_there_is_one_sentence(engine: PropagationEngine, phantom: Phantom) -> None:
    for annotation in (None, annotate(phantom), annotate(phantom, (0, ALL), status=Status.PREDICTED)):
        with pytest.raises(CardiacSegError, match="phantom 3 is annotated; annotate"):
            engine.segment(phantom.cine, annotation)


def test_an_annotation_without_a_voxel_is_refused(engine: PropagationEngine, phantom: Phantom) -> None:
    annotation = annotate(phantom, (0, ALL))
    annotation.labels[:] = 0
    with pytest.raises(CardiacSegError, match="all empty; draw"):
        engine.segment(phantom.cine, annotation)


@pytest.mark.parametrize("cut", [np.s_[:5], np.s_[:, :3], np.s_[:, :, :60], np.s_[:, :, :, 1:]])
def test_an_annotation_of_another_shape_is_refused(
    cut: tuple[slice, ...] | slice, engine: PropagationEngine, phantom: Phantom
) -> None:
    labels = phantom.truth.labels[cut]
    wrong = Segmentation(labels, np.full(labels.shape[:2], 2, np.uint8), phantom.cine.affine)
    with pytest.raises(CardiacSegError, match="shape"):
        engine.segment(phantom.cine, wrong)


@pytest.mark.parametrize("start", [(FRAMES, 0), (0, SLICES), (-1, 0), (0, -1)])
def test_a_start_outside_the_cine_is_refused(start: Place, engine: PropagationEngine, phantom: Phantom) -> None:
    with pytest.raises(CardiacSegError, match="counted from 0"):
        engine.segment(phantom.cine, annotate(phantom, (0, 1)), start=start)


# Start and cancelling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [(3, 3), (5, 0), (0, 1), (0, 2)])
def test_what_is_found_does_not_depend_on_the_start(
    start: Place, engine: PropagationEngine, phantom: Phantom, mid: Segmentation
) -> None:
    annotation = annotate(phantom, (0, 1))
    found = complete(annotation, list(engine.segment(phantom.cine, annotation, start=start)))
    np.testing.assert_array_equal(found.labels, mid.labels)


def test_in_an_annotated_stack_the_slice_of_the_start_comes_first(engine: PropagationEngine, phantom: Phantom) -> None:
    found = places(list(itertools.islice(engine.segment(phantom.cine, annotate(phantom, (0, ALL)), start=(1, 2)), 1)))
    assert found == [(1, 2)]
    found = places(list(itertools.islice(engine.segment(phantom.cine, annotate(phantom, (0, ALL)), start=(2, 0)), 2)))
    assert found == [(2, 0), (1, 0)]


def test_a_start_far_from_the_annotation_is_reached_slice_by_slice(engine: PropagationEngine, phantom: Phantom) -> None:
    found = places(list(engine.segment(phantom.cine, annotate(phantom, (0, 1)), start=(0, 3))))
    assert found[:2] == [(0, 2), (0, 3)], "at the annotated frame"
    found = places(list(engine.segment(phantom.cine, annotate(phantom, (0, 1)), start=(3, 3))))
    before = found[: found.index((3, 3))]
    assert {z for _, z in before} == {1, 2, 3} and len(before) <= 5 and {(0, 2), (0, 3)} <= set(before)
    assert {z for _, z in found[-FRAMES:]} == {0}, "what the start does not need comes last"


def test_who_stops_asking_stops_the_work(
    engine: PropagationEngine, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propagation, "BATCH", BATCH)
    decoded = []
    decode = engine.network.decode
    monkeypatch.setattr(
        engine.network, "decode", lambda query, *rest: (decoded.append(len(query[0])), decode(query, *rest))[1]
    )
    predictions = engine.segment(phantom.cine, annotate(phantom, (0, ALL)))
    assert not decoded, "nothing is done before the first slice is asked for"
    next(predictions)
    predictions.close()
    assert sum(decoded) <= 8 < FRAMES * SLICES - SLICES, "one batch at most"


def test_slices_found_together_are_found_as_each_of_them_alone(
    engine: PropagationEngine, phantom: Phantom, mid: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propagation, "BATCH", BATCH)
    annotation = annotate(phantom, (0, 1))
    found = complete(annotation, list(engine.segment(phantom.cine, annotation)))
    assert (found.labels == mid.labels).mean() > 0.99


# Corrections ----------------------------------------------------------------------------------------------------------


def corrected(known: Segmentation, place: Place, labels: np.ndarray | int) -> Segmentation:
    """A person replaces the mask of a slice."""
    status, masks = known.status.copy(), known.labels.copy()
    status[place], masks[place] = Status.CORRECTED, labels
    return dataclasses.replace(known, labels=masks, status=status)


def given_up(known: Segmentation, place: Place) -> Segmentation:
    """A person takes the mask of a slice back."""
    status, masks = known.status.copy(), known.labels.copy()
    status[place], masks[place] = Status.EMPTY, 0
    return dataclasses.replace(known, labels=masks, status=status)


def from_scratch(engine: PropagationEngine, cine: Cine, known: Segmentation) -> Segmentation:
    """All slices found again from the fixed ones."""
    fixed = known.fixed[..., None, None]
    bare = dataclasses.replace(
        known, labels=known.labels * fixed, status=np.where(known.fixed, known.status, Status.EMPTY).astype(np.uint8)
    )
    return complete(bare, list(engine.segment(cine, bare)))


def found_again(engine: PropagationEngine, phantom: Phantom, known: Segmentation, previous: Segmentation) -> set[Place]:
    """What is found again after a change; with the rest it is, voxel by voxel, what finding everything gives."""
    found = list(engine.segment(phantom.cine, known, previous=previous))
    assert len(set(places(found))) == len(found) and not any(known.fixed[place] for place in places(found))
    now = complete(known, found)
    assert (now.status != Status.EMPTY).all()
    np.testing.assert_array_equal(now.labels, from_scratch(engine, phantom.cine, known).labels)
    return set(places(found))


def not_fixed(known: Segmentation) -> set[Place]:
    return {(int(t), int(z)) for t, z in np.argwhere(~known.fixed)}


def test_a_correction_finds_again_only_what_it_can_change(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    found = found_again(engine, phantom, corrected(stack, (3, 3), phantom.truth.labels[3, 3]), stack)
    assert {(2, 3), (4, 3)} <= found
    assert {z for _, z in found} <= {2, 3}, "slices 0 and 1 have no reason to change"


def test_a_correction_far_from_the_annotated_slice_leaves_the_nearer_ones(
    engine: PropagationEngine, phantom: Phantom, mid: Segmentation
) -> None:
    known = corrected(mid, (3, 3), phantom.truth.labels[3, 3] * (phantom.truth.labels[0, 1] > 0))
    found = found_again(engine, phantom, known, mid)
    assert (2, 3) in found and {z for _, z in found} <= {2, 3}


def test_a_base_corrected_to_be_empty_in_systole_changes_nothing_beyond_the_next_slice(
    engine: PropagationEngine, phantom: Phantom
) -> None:
    annotation = annotate(phantom, (0, 2))
    known = complete(annotation, list(engine.segment(phantom.cine, annotation)))
    found = found_again(engine, phantom, corrected(known, (3, 0), 0), known)
    assert {(2, 0), (4, 0)} <= found and {z for _, z in found} <= {0, 1}


def test_a_corrected_annotation_is_carried_as_the_first_one_was(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    labels = stack.labels[0, 2].copy()
    labels[labels == 3] = 0
    known = corrected(stack, (0, 2), labels)
    assert {z for _, z in found_again(engine, phantom, known, stack)} == {1, 2, 3}


@pytest.mark.parametrize("change", ["smaller", "larger"])
def test_an_edited_mask_in_the_same_view_counts_where_it_is_read(
    change: str, engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    labels = stack.labels[0, 3].copy()
    rows, columns = np.nonzero(labels)
    if change == "smaller":
        labels[rows.max() - 1 :] = 0
    else:
        labels[rows.max() + 1, columns.min() : columns.max()] = 2
    found = found_again(engine, phantom, corrected(stack, (0, 3), labels), stack)
    assert found and {z for _, z in found} == {2, 3}


@pytest.mark.parametrize("change", ["larger", "smaller"])
def test_an_edited_mask_that_moves_the_view_counts_everywhere(
    change: str, engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    """Larger: a piece is drawn at the border of the picture; smaller: it was there before, and is rubbed out."""
    wide = stack.labels[0, 3].copy()
    wide[:2, 30:34] = 2
    reaching = corrected(stack, (0, 3), wide)
    if change == "larger":
        assert found_again(engine, phantom, reaching, stack) == not_fixed(stack)
    else:
        before = from_scratch(engine, phantom.cine, reaching)
        assert found_again(engine, phantom, corrected(before, (0, 3), stack.labels[0, 3]), before) == not_fixed(stack)


def test_a_correction_outside_the_view_of_the_first_annotation_counts_everywhere(
    engine: PropagationEngine, phantom: Phantom, mid: Segmentation
) -> None:
    known = corrected(mid, (2, 1), np.roll(phantom.truth.labels[2, 1], 8, axis=0))
    assert found_again(engine, phantom, known, mid) == not_fixed(known)


def test_a_structure_that_is_new_in_a_correction_counts_everywhere(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    labels = stack.labels[0, 3].copy()
    labels[labels == 2] = 9
    known = corrected(stack, (0, 3), labels)
    assert found_again(engine, phantom, known, stack) == not_fixed(known)


def test_a_structure_that_is_nowhere_any_more_is_forgotten_everywhere(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    labels = stack.labels[0, 3].copy()
    labels[labels == 2] = 9
    before = from_scratch(engine, phantom.cine, corrected(stack, (0, 3), labels))
    known = corrected(before, (0, 3), stack.labels[0, 3])
    assert found_again(engine, phantom, known, before) == not_fixed(known)
    assert 9 not in complete(known, list(engine.segment(phantom.cine, known, previous=before))).labels


def test_an_annotation_that_is_given_up_is_forgotten(engine: PropagationEngine, phantom: Phantom) -> None:
    annotation = annotate(phantom, (0, ALL), (3, 3))
    before = complete(annotation, list(engine.segment(phantom.cine, annotation)))
    found = found_again(engine, phantom, given_up(before, (3, 3)), before)
    assert (3, 3) in found and {z for _, z in found} <= {2, 3}


def test_several_changes_at_once_count_together(engine: PropagationEngine, phantom: Phantom) -> None:
    annotation = annotate(phantom, (0, ALL), (3, 3))
    before = complete(annotation, list(engine.segment(phantom.cine, annotation)))
    labels = before.labels[0, 3].copy()
    labels[labels == 1] = 2
    known = corrected(given_up(before, (3, 3)), (0, 3), labels)
    known = corrected(known, (4, 2), phantom.truth.labels[4, 2])
    found = found_again(engine, phantom, known, before)
    assert {(3, 3), (5, 2), (3, 2)} <= found and not {z for _, z in found} & {0}


def test_a_prediction_that_a_person_accepts_becomes_memory_like_a_correction(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    status = stack.status.copy()
    status[2, 1] = Status.REVIEWED
    found = found_again(engine, phantom, dataclasses.replace(stack, status=status), stack)
    assert {(1, 1), (3, 1)} <= found and (2, 1) not in found


def test_another_word_for_a_person_s_work_is_no_change(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    status = np.where(stack.fixed, Status.REVIEWED, stack.status).astype(np.uint8)
    assert not found_again(engine, phantom, dataclasses.replace(stack, status=status), stack)


def test_without_a_change_nothing_is_found_again(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    assert list(engine.segment(phantom.cine, stack, previous=stack)) == []


@pytest.mark.parametrize("labels", ["nothing fixed", "all empty"])
def test_a_previous_annotation_that_could_not_be_carried_leaves_everything_to_be_found(
    labels: str, engine: PropagationEngine, phantom: Phantom, mid: Segmentation
) -> None:
    previous = annotate(phantom) if labels == "nothing fixed" else corrected(annotate(phantom), (0, 0), 0)
    assert found_again(engine, phantom, mid, previous) == not_fixed(mid)


@pytest.mark.parametrize("count", [1, 9])
def test_what_a_cancelled_run_left_empty_is_found_later(
    count: int, engine: PropagationEngine, phantom: Phantom, mid: Segmentation
) -> None:
    annotation = annotate(phantom, (0, 1))
    some = list(itertools.islice(engine.segment(phantom.cine, annotation, start=(3, 3)), count))
    known = complete(annotation, some)
    rest = list(engine.segment(phantom.cine, known, previous=annotation))
    assert sorted(places(rest)) == sorted(not_fixed(known) - set(places(some)))
    np.testing.assert_array_equal(complete(known, rest).labels, mid.labels)


def test_a_correction_in_the_middle_of_the_work_completes_it(engine: PropagationEngine, phantom: Phantom) -> None:
    annotation = annotate(phantom, (0, ALL))
    half = complete(annotation, list(itertools.islice(engine.segment(phantom.cine, annotation, start=(3, 3)), 9)))
    known = corrected(half, (1, 3), phantom.truth.labels[1, 3])
    assert found_again(engine, phantom, known, annotation) < not_fixed(known), "what is known and right stays"


# Any cine -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "slices", "size", "spacing"),
    [
        (2, 3, 64, (2.6, 2.6, 10.0)),
        (5, 1, 64, (2.6, 2.6, 10.0)),
        (2, 1, 40, (4.0, 4.0, 10.0)),
        (3, 2, 96, (2.4, 1.2, 8.0)),
    ],
)
def test_any_shape_of_cine_is_segmented(
    frames: int, slices: int, size: int, spacing: tuple[float, float, float], engine: PropagationEngine
) -> None:
    phantom = beating_heart(1, frames=frames, slices=slices, size=size, spacing=spacing)
    found = list(engine.segment(phantom.cine, annotate(phantom, (0, slices // 2))))
    assert len(found) == frames * slices - 1
    assert all(prediction.labels.shape == (size, size) for prediction in found)


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.dtype(">i2")])
def test_the_type_of_the_voxels_does_not_matter(
    kind: type, engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    cine = dataclasses.replace(phantom.cine, frames=phantom.cine.frames.astype(kind))
    annotation = annotate(phantom, (0, ALL))
    np.testing.assert_array_equal(complete(annotation, list(engine.segment(cine, annotation))).labels, stack.labels)


def test_the_scale_of_the_intensities_does_not_matter(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    cine = dataclasses.replace(phantom.cine, frames=phantom.cine.frames.astype(np.float32) * 8 - 1024)
    annotation = annotate(phantom, (0, ALL))
    found = complete(annotation, list(engine.segment(cine, annotation)))
    assert (found.labels == stack.labels).mean() > 0.999


def test_arrays_that_cannot_be_written_or_run_backwards_are_read_all_the_same(
    engine: PropagationEngine, phantom: Phantom, stack: Segmentation
) -> None:
    frames = np.ascontiguousarray(phantom.cine.frames[:, :, ::-1])[:, :, ::-1]
    annotation = annotate(phantom, (0, ALL))
    frames.setflags(write=False)
    annotation.labels.setflags(write=False)
    cine = dataclasses.replace(phantom.cine, frames=frames)
    np.testing.assert_array_equal(complete(annotation, list(engine.segment(cine, annotation))).labels, stack.labels)


def test_a_picture_without_contrast_is_no_error(engine: PropagationEngine, phantom: Phantom) -> None:
    cine = dataclasses.replace(phantom.cine, frames=np.zeros_like(phantom.cine.frames))
    for prediction in engine.segment(cine, annotate(phantom, (0, ALL))):
        assert 0 <= prediction.confidence <= 1


@pytest.mark.parametrize("matching", ["patch", "dense"])
def test_the_network_of_the_paper_sees_the_whole_picture(matching: str, phantom: Phantom) -> None:
    torch.manual_seed(0)
    network = CSTM(dataclasses.replace(SIZES["small"], shorter_side=64, spacing_mm=0.0, stride=8, matching=matching))
    found = list(PropagationEngine(network, torch.device("cpu")).segment(phantom.cine, annotate(phantom, (0, ALL))))
    assert len(found) == FRAMES * SLICES - SLICES


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not (WEIGHTS_FOLDER / "cstm-small.safetensors").is_file(), reason="the weights cstm-small are not installed"
)
def test_the_trained_network_follows_a_beating_heart() -> None:
    phantom = beating_heart(11, frames=10, slices=6, size=112)
    annotation = annotate(phantom, (0, ALL))
    engine = load_engine("cstm", WEIGHTS_FOLDER / "cstm-small.safetensors", device="cpu")
    found = list(engine.segment(phantom.cine, annotation))
    masks, truth = complete(annotation, found).labels[1:], phantom.truth.labels[1:]
    dice = {v: 2 * ((masks == v) & (truth == v)).sum() / ((masks == v).sum() + (truth == v).sum()) for v in (1, 2, 3)}
    assert np.mean(list(dice.values())) > 0.8, dice
    assert 0.5 < np.mean([prediction.confidence for prediction in found]) <= 1
