"""The stand-in application: it runs a scripted module as Slicer would, and offers no more than Slicer does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SAMPLE = Path(__file__).resolve().parent / "SlicerHost" / "sample" / "HostSample.py"


def add_volume(name: str = "volume"):
    """A volume of ten thick slices, dark with a bright square."""
    import slicer

    voxels = np.full((10, 64, 64), 20, np.int16)
    voxels[:, 20:44, 20:44] = 200
    volume = slicer.util.addVolumeFromArray(voxels, name=name)
    volume.SetSpacing(1.5, 1.5, 8.0)
    volume.CreateDefaultDisplayNodes()
    return volume


def test_a_panel_is_shown_clicked_and_typed_into(host) -> None:
    widget = host.load(SAMPLE)
    parameters = widget._parameterNode
    assert (parameters.opacity, parameters.outline, parameters.comment, parameters.count) == (0.5, True, "none", 3)
    host.click(widget.ui.outlineBox)
    host.type(widget.ui.commentEdit, "basal")
    widget.ui.opacitySlider.value = 0.75
    assert (parameters.opacity, parameters.outline, parameters.comment) == (0.75, False, "basal")
    parameters.count = 7
    assert widget.ui.countBox.value == 7
    assert host.picture(widget.parent).std() > 10


def test_painting_with_the_mouse_marks_one_slice(host) -> None:
    import slicer

    widget = host.load(SAMPLE)
    volume = add_volume()
    widget.ui.volumeSelector.setCurrentNode(volume)
    host.click(widget.ui.runButton)
    editor = widget.ui.editor
    editor.setCurrentSegmentID("B")
    editor.setActiveEffectByName("Paint")
    middle = [0.0] * 6
    volume.GetRASBounds(middle)
    r, a, s = ((middle[i] + middle[i + 1]) / 2 for i in (0, 2, 4))
    host.drag([(r, a, s), (r + 10, a, s), (r + 20, a, s)])
    painted = slicer.util.arrayFromSegmentBinaryLabelmap(editor.segmentationNode(), "B", volume)
    assert painted.any(axis=(1, 2)).sum() == 1
    assert painted.sum() > 20
    editor.undo()
    assert not slicer.util.arrayFromSegmentBinaryLabelmap(editor.segmentationNode(), "B", volume).any()
