"""Samples and loss of the 4D CNN: stretches of cines with few labelled frames, and stills set in motion."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.cnn4d import CNN4D, SIZES_3D, SIZES_4D
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.training.command import train
from CardiacSegLib.training.loop import Settings
from CardiacSegLib.training.memory import memory_batches
from CardiacSegLib.training.sequences import (
    FOREGROUND,
    SequenceBatch,
    SequenceLoss,
    change_over_time,
    draw_centre,
    draw_crop,
    is_cine,
    sequence_batches,
    sparse_cross_entropy,
    sparse_dice,
)
from CardiacSegLib.training.slices import slice_batches
from CardiacSegLib.training.sources import PHANTOMS, read_acdc, read_acdc_cines
from CardiacSegLib.training.subjects import LabelledVolume, Subject, compact, load_subjects, save_subjects
from CardiacSegLib.weights import find_weights, load_weights, read_card, read_weights

FRAMES, LABELLED = 12, (0, 5)
WINDOW = (6, 4, 16, 16)
CONFIG = dataclasses.replace(SIZES_4D["sax"], window=WINDOW, blocks=(1, 1, 1))
TWIN = dataclasses.replace(SIZES_3D["sax"], window=WINDOW, blocks=(1, 1, 1, 1))


def told_apart(frames: int = FRAMES, labelled: tuple[int, ...] = LABELLED, slices: int = 5) -> Subject:
    """A cine whose pixels say their frame, 10 + 10 * frame, with a heart in the labelled frames."""
    volumes = []
    for t in range(frames):
        labels = np.zeros((slices, 30, 30), np.uint8)
        if t in labelled:
            labels[1:4, 8:16, 8:14], labels[1:4, 8:16, 14:16], labels[1:4, 16:22, 8:14] = 1, 2, 3
        image = np.full(labels.shape, 10 + 10 * t, np.uint8)
        known = (1, 2, 3) if t in labelled else ()
        volumes.append(LabelledVolume(image, labels, (2.0, 2.0), f"frame {t}", known))
    return Subject("told apart", tuple(volumes))


def stills() -> Subject:
    return told_apart(frames=2, labelled=(0, 1))


def frames_of(images: np.ndarray) -> list[int]:
    return [int(image.max()) // 10 - 1 for image in images]


# Samples --------------------------------------------------------------------------------------------------------------


def test_a_stretch_of_a_cine_is_frames_in_order_round_the_cycle_wherever_it_begins() -> None:
    rng, firsts = np.random.default_rng(0), set()
    for _ in range(300):
        crop = draw_crop(told_apart(), WINDOW, rng)
        frames = frames_of(crop.images)
        assert all((b - a) % FRAMES == 1 for a, b in pairwise(frames))
        assert crop.labelled.tolist() == [[t in LABELLED] * 3 for t in frames]
        assert crop.labels.any(axis=(1, 2, 3)).tolist() <= [t in LABELLED for t in frames]
        firsts.add(frames[0])
    assert firsts == set(range(FRAMES))


def test_six_crops_in_ten_are_centred_on_a_structure_and_the_others_on_what_is_not_known_to_be_one() -> None:
    rng, subject = np.random.default_rng(0), told_apart()
    drawn = [draw_centre(subject, True, rng) for _ in range(2000)]
    on_structure = np.array([bool(volume.labels[tuple(voxel)]) for volume, voxel in drawn])
    assert on_structure.mean() == pytest.approx(FOREGROUND, abs=0.035) and FOREGROUND == 0.6
    elsewhere = {volume.phase for (volume, _), on in zip(drawn, on_structure, strict=True) if not on}
    assert len(elsewhere) == FRAMES


def test_black_margins_are_never_the_centre() -> None:
    subject, rng = told_apart(), np.random.default_rng(0)
    for volume in subject.volumes:
        volume.image[:, :, 25:] = 0
    assert all(draw_centre(subject, True, rng)[1][2] < 25 for _ in range(200))


def test_subjects_of_single_frames_are_stills_that_are_labelled_throughout() -> None:
    rng = np.random.default_rng(0)
    assert is_cine(told_apart()) and not is_cine(stills())
    for _ in range(20):
        crop = draw_crop(stills(), WINDOW, rng)
        assert crop.still and len(crop.images) == WINDOW[0] and crop.labelled.all()
        assert all(np.array_equal(image, crop.images[0]) for image in crop.images)


def test_a_still_moves_and_its_masks_with_it() -> None:
    batch = sequence_batches([([stills()], 1.0)], 1, CONFIG, 0)
    areas = np.array([[(frame > 0).sum() for frame in batch(n).target[0]] for n in range(12)])
    assert (np.ptp(areas, axis=1) > 0).sum() >= 9


def test_the_twin_draws_labelled_frames_only_and_one_at_a_time() -> None:
    rng, window = np.random.default_rng(0), (1, *WINDOW[1:])
    crops = [draw_crop(told_apart(), window, rng) for _ in range(60)]
    assert {frames_of(c.images)[0] for c in crops} == set(LABELLED)
    batch = sequence_batches([([told_apart()], 1.0)], 3, TWIN, 0)(0)
    assert batch.pictures.shape == (3, 1, 4, 16, 16) and batch.labelled.all()


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    sources = [([told_apart()], 0.5), ([stills()], 0.5)]
    first, again = (sequence_batches(sources, 2, CONFIG, 3) for _ in range(2))
    first(0)
    for a, b in zip(first(7), again(7), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first(8).pictures, first(7).pictures)
    assert not torch.equal(sequence_batches(sources, 2, CONFIG, 4)(7).pictures, first(7).pictures)


def test_samples_of_one_batch_have_as_many_slices_as_the_smallest() -> None:
    sources = [([told_apart(slices=3)], 0.5), ([told_apart(slices=6)], 0.5)]
    draw = sequence_batches(sources, 4, CONFIG, 0)
    shapes = {tuple(draw(n).pictures.shape) for n in range(12)}
    assert shapes <= {(4, 6, 3, 16, 16), (4, 6, 4, 16, 16)} and (4, 6, 3, 16, 16) in shapes


def test_pictures_of_mr_lie_about_0_to_1_and_those_of_ct_in_minus_1_to_1() -> None:
    sources = [([told_apart()], 1.0)]
    mr, ct = (
        torch.stack([sequence_batches(sources, 1, dataclasses.replace(CONFIG, modality=m), 0)(n)[0] for n in range(8)])
        for m in ("MR", "CT")
    )
    assert mr.min() >= -0.3 and mr.max() <= 1.5
    assert ct.min() == -1 and ct.max() <= 1 and ct.mean() < mr.mean()


def test_the_samplers_of_slices_never_see_a_frame_without_labels() -> None:
    subject = told_apart()
    noise = np.random.default_rng(0)
    for t, volume in enumerate(subject.volumes):
        volume.image[:] = noise.integers(100, 250, volume.image.shape) if t in LABELLED else 0
    for n in range(6):
        assert memory_batches([([subject], 1.0)], 2, 20, 0)(n).pictures.amax(dim=(-1, -2)).min() > 0.2
        assert slice_batches([([subject], 1.0)], 2, 20, 0)(n).pictures.amax(dim=(-1, -2)).min() > 0.2


# The loss -------------------------------------------------------------------------------------------------------------


def drawn(frames: int = 5, labelled: tuple[int, ...] = (1, 3)) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, target and labelled of one sample."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, frames, 4, 2, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 4, (1, frames, 2, 5, 6), generator=generator)
    known = torch.tensor([[[t in labelled] * 3 for t in range(frames)]])
    return logits.requires_grad_(), target, known


def test_dice_is_the_mean_over_labelled_frames_and_structures_of_the_definition() -> None:
    logits, target, known = drawn()
    chances = logits.softmax(2)
    scores = []
    for t in (1, 3):
        for structure in (1, 2, 3):
            p, y = chances[0, t, structure], (target[0, t] == structure).double()
            scores.append(1 - (2 * (p * y).sum() + 1) / ((p * p).sum() + (y * y).sum() + 1))
    assert sparse_dice(chances, target, known).item() == pytest.approx(torch.stack(scores).mean().item(), abs=1e-12)


def test_cross_entropy_is_the_mean_over_the_voxels_of_labelled_frames() -> None:
    logits, target, known = drawn()
    logs = logits.log_softmax(2)
    voxels = [-logs[0, t, target[0, t, z, y, x], z, y, x] for t in (1, 3) for z, y, x in np.ndindex(2, 5, 6)]
    expected = torch.stack(voxels).mean().item()
    assert sparse_cross_entropy(logits, target, known).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", [lambda a, b, c: sparse_dice(a.softmax(2), b, c), sparse_cross_entropy])
def test_frames_without_labels_have_no_part_in_it(loss) -> None:
    logits, target, known = drawn()
    gradient = torch.autograd.grad(loss(logits, target, known), logits)[0]
    assert gradient[0].abs().sum(dim=(1, 2, 3, 4)).gt(0).tolist() == [False, True, False, True, False]
    other = target.clone()
    other[:, [0, 2, 4]] = 0
    assert loss(logits, other, known) == loss(logits, target, known)


def test_a_structure_that_nobody_labelled_in_a_frame_has_no_part_in_dice() -> None:
    logits, target, known = drawn()
    known[0, 1, 2] = False
    other = target.clone()
    other[0, 1][target[0, 1] == 3] = 0
    assert sparse_dice(logits.softmax(2), other, known) == sparse_dice(logits.softmax(2), target, known)


@pytest.mark.parametrize("cyclic", [False, True])
def test_the_change_over_time_is_that_of_the_definition(cyclic: bool) -> None:
    chances = drawn()[0].detach().softmax(2)
    pairs = [(t, t + 1) for t in range(4)] + ([(4, 0)] if cyclic else [])
    expected = np.mean([float((chances[0, b] - chances[0, a]).square().sum(dim=0).mean()) for a, b in pairs])
    assert change_over_time(chances, cyclic).item() == pytest.approx(expected, abs=1e-12)
    assert change_over_time(chances[:, :1]) == 0


class Fixed(nn.Module):
    """A network that answers with its only parameter."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach().float())

    def forward(self, pictures: Tensor) -> Tensor:
        return self.logits


def test_the_whole_loss_is_dice_and_cross_entropy_and_for_4d_the_change() -> None:
    logits, target, known = drawn()
    batch, network = SequenceBatch(torch.zeros(1, 5, 2, 5, 6), target, known), Fixed(logits)
    chances = network.logits.softmax(2)
    still = sparse_dice(chances, target, known) + sparse_cross_entropy(network.logits, target, known)
    assert SequenceLoss(temporal=False)(network, batch, 0.5).item() == pytest.approx(still.item())
    expected = (still + change_over_time(chances)).item()
    assert SequenceLoss()(network, batch, 0.5).item() == pytest.approx(expected)
    assert SequenceLoss(cyclic=True)(network, batch, 0.5).item() != pytest.approx(expected)


def test_a_crop_without_any_labelled_frame_teaches_to_stand_still_and_nothing_else() -> None:
    logits, target, known = drawn(labelled=())
    batch, network = SequenceBatch(torch.zeros(1, 5, 2, 5, 6), target, known), Fixed(logits)
    value = SequenceLoss()(network, batch, 0.5)
    assert value.item() == pytest.approx(change_over_time(network.logits.softmax(2)).item())
    value.backward()
    assert network.logits.grad.isfinite().all() and network.logits.grad.abs().sum() > 0


@pytest.mark.parametrize("config", [CONFIG, TWIN])
def test_a_few_steps_on_a_cine_lower_the_loss(config) -> None:
    subject = told_apart()
    for volume in subject.volumes:
        volume.image[1:4, 8:16, 8:14] = 250
    batch = sequence_batches([([subject], 1.0)], 2, config, 1)(0)
    torch.manual_seed(0)
    network, loss, values = CNN4D(config), SequenceLoss(config.temporal), []
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(8):
        value = loss(network, batch, 0.0)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.isfinite(values).all() and values[-1] < 0.7 * values[0]


# Where cines come from ------------------------------------------------------------------------------------------------


def write_cine(root: Path, frames: int = 6, es: int = 4, mask_slices: int = 3) -> None:
    folder = root / "patient001"
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(f"ED: 1\nES: {es}\n")
    pixels = np.arange(frames)[None, None, None] + np.zeros((8, 7, 3, 1))
    header = np.diag([1.5, 1.25, 10.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(pixels.astype(np.int16), header), folder / "patient001_4d.nii.gz")
    labels = np.zeros((8, 7, mask_slices), np.uint8)
    labels[2, 3, 1], labels[4, 3, 1] = 3, 1
    for frame in (1, es):
        nibabel.save(nibabel.Nifti1Image(labels, header), folder / f"patient001_frame{frame:02d}_gt.nii.gz")


def test_a_cine_on_disk_becomes_all_frames_in_order_with_masks_at_ed_and_es(tmp_path: Path) -> None:
    write_cine(tmp_path)
    (subject,) = read_acdc_cines(tmp_path)
    assert [int(v.image.max()) for v in subject.volumes] == list(range(6))
    assert [v.labelled for v in subject.volumes] == [(1, 2, 3), (), (), (1, 2, 3), (), ()]
    ed, es = subject.volumes[0], subject.volumes[3]
    assert (ed.phase, es.phase) == ("ED", "ES") and ed.pixel_mm == (1.5, 1.25)
    # ACDC's 3 is the left ventricle, the product's is 1.
    assert es.labels[1, 3, 2] == 1 and es.labels[1, 3, 4] == 3 and not subject.volumes[1].labels.any()


@pytest.mark.parametrize("wrong", [{"frames": 3}, {"mask_slices": 2}])
def test_cines_that_do_not_fit_their_masks_are_refused_by_name(tmp_path: Path, wrong: dict[str, int]) -> None:
    write_cine(tmp_path, **wrong)
    with pytest.raises(CardiacSegError, match=r"patient001_.*download"):
        list(read_acdc_cines(tmp_path))


def test_unlabelled_frames_stay_unlabelled_when_subjects_are_made_compact_and_saved(tmp_path: Path) -> None:
    save_subjects(tmp_path / "s.npz", [compact(told_apart(), 2.0, 24)])
    (subject,) = load_subjects(tmp_path / "s.npz")
    assert [bool(v.labelled) for v in subject.volumes] == [t in LABELLED for t in range(FRAMES)] and is_cine(subject)


def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phantoms of few slices and pixels, which are quick to draw."""

    def small(seed: int, **options) -> Phantom:
        return beating_heart(seed, **(options | {"slices": 6, "size": 40}))

    monkeypatch.setattr("CardiacSegLib.phantom.beating_heart", small)


def test_phantom_cines_are_whole_cycles_with_four_labelled_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    few_pixels(monkeypatch)
    subject, same = (next(PHANTOMS["phantom-cine"](1, 0)) for _ in range(2))
    assert 16 <= len(subject.volumes) <= 30 and sum(bool(v.labelled) for v in subject.volumes) == 4
    assert all(bool(v.labelled) == bool(v.labels.any()) for v in subject.volumes)
    assert {"ED", "ES"} < {v.phase for v in subject.volumes if v.labelled} and subject.volumes[0].phase == "ED"
    assert all(np.array_equal(a.image, b.image) for a, b in zip(subject.volumes, same.volumes, strict=True))


def test_the_real_cines_are_read_whole_and_show_what_the_native_volumes_show(data: Path) -> None:
    cines = {s.name: s for s in read_acdc_cines(data / "acdc" / "cine")}
    assert len(cines) == 22 and all(sum(bool(v.labelled) for v in s.volumes) == 2 for s in cines.values())
    native = next(s for s in read_acdc(data / "acdc" / "training") if s.name == "patient001")
    for phase in ("ED", "ES"):
        small, large = ({v.phase: v for v in s.volumes}[phase] for s in (cines["patient001"], native))
        counts = [np.bincount(v.labels.ravel(), minlength=4)[1:] for v in (small, large)]
        assert (counts[0] > 0.6 * counts[1]).all() and (counts[0] <= counts[1]).all()


def test_the_4d_network_is_trained_from_the_twin_s_weights_by_the_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_pixels(monkeypatch)
    once = Settings(steps=1)
    twin = train("cnn3d", ["phantom-cine=1"], tmp_path / "3d", size="sax", settings=once, batch=1)
    whole = train("cnn4d", ["phantom-cine=1"], tmp_path / "4d", size="sax", settings=once, batch=1, start=twin)
    card = find_weights(whole, "cnn4d")
    assert (card.name, card.size, card.data) == ("cnn4d-sax", "sax", ("phantom-cine (1 subjects)",))
    assert card.licence.startswith("CC0")
    load_weights(CNN4D(SIZES_4D["sax"]), card)
    # After one step of 1e-5, the first of the warm-up, the middle taps are still the twin's.
    taps = read_weights(card)["encoder.0.0.conv1.weight"]
    assert torch.allclose(taps[:, 1], read_weights(read_card(twin))["encoder.0.0.conv1.weight"][:, 0], atol=1e-3)


# CT -------------------------------------------------------------------------------------------------------------------


def ramp_ct() -> Subject:
    """Six slices of 3 mm whose Hounsfield units rise by 300 a slice, with a heart in the lower four."""
    image = np.zeros((6, 20, 20), np.int16) + (-800 + 300 * np.arange(6, dtype=np.int16))[:, None, None]
    labels = np.zeros(image.shape, np.uint8)
    labels[2:, 5:15, 5:15] = 1
    return Subject("ct", (LabelledVolume(image, labels, (1.0, 1.0), "ED", slice_mm=3.0),))


def test_ct_becomes_isotropic_and_keeps_fixed_hounsfield_units() -> None:
    (volume,) = compact(ramp_ct(), 1.5, 12, ct=True).volumes
    assert volume.image.shape == (12, 12, 12) and volume.slice_mm == 1.5
    # Slice z lies at (z + 0.5) / 2 - 0.5 slices of the file.
    for z in range(1, 11):
        units = -800 + 300 * ((z + 0.5) / 2 - 0.5)
        assert volume.image[z, 6, 6] == pytest.approx((units + 1024) / 2048 * 255, abs=0.51)
    assert volume.labels[:, 6, 6].tolist() == [0] * 4 + [1] * 8


def test_outside_of_a_ct_there_is_air() -> None:
    (volume,) = compact(ramp_ct(), 1.5, 40, ct=True).volumes
    assert volume.image[:, 0].max() == 0 and volume.image[5, 20, 20] > 0


def test_ct_without_a_known_distance_of_slices_is_refused() -> None:
    volume = dataclasses.replace(ramp_ct().volumes[0], slice_mm=0.0)
    with pytest.raises(CardiacSegError, match="distance of slices"):
        compact(Subject("ct", (volume,)), 1.5, 12, ct=True)


def test_phantoms_in_ct_contrast_have_hounsfield_units_and_a_known_distance_of_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_pixels(monkeypatch)
    subject = next(PHANTOMS["phantom-ct"](1, 0))
    first = subject.volumes[0]
    assert len(subject.volumes) == 10 and sum(bool(v.labelled) for v in subject.volumes) == 4
    assert first.slice_mm == pytest.approx(2.0) and first.phase == "ED"
    assert first.image.min() < -700 and 250 < first.image[first.labels == 1].mean() < 450
