"""The second long-axis view of a study: which other masks of the scene it can be, and which was chosen."""

from __future__ import annotations

from .cines import is_long_axis, scene_to_cine
from .study import SECOND_VIEW, Study, image_of, open_study


def other_views(study: Study) -> dict[str, str]:
    """ID of the masks -> name of their cine, of all other long-axis cines in the scene that have masks.

    None of a study that is not itself of one slice along the heart.
    """
    if not is_long_axis(study.image):
        return {}
    scene = study.image.GetScene()
    sequences = [
        scene.GetNthNodeByClass(index, "vtkMRMLSequenceNode")
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode"))
    ]
    pairs = [(masks, image_of(masks)) for masks in sequences if masks is not study.masks]
    return {masks.GetID(): image.GetName() for masks, image in pairs if image is not None and is_long_axis(image)}


def chosen_view(study: Study) -> str:
    """The ID of the masks that were chosen, as `other_views` has them; empty where there are none."""
    masks = study.masks.GetNodeReference(SECOND_VIEW)
    return masks.GetID() if masks is not None and masks.GetID() in other_views(study) else ""


def choose_view(study: Study, masks_id: str) -> None:
    """Remember the second view with the study, also in a saved scene; empty: none."""
    study.masks.SetNodeReferenceID(SECOND_VIEW, masks_id or None)


def open_chosen_view(study: Study) -> Study | None:
    """The study of the chosen view, whose masks stay out of sight; None where none is chosen.

    Raises CardiacSegError as `open_study` does.
    """
    masks_id = chosen_view(study)
    if not masks_id:
        return None
    image = image_of(study.image.GetScene().GetNodeByID(masks_id))
    second = open_study(scene_to_cine(image), image)
    second.segmentation.GetDisplayNode().SetVisibility(False)
    return second
