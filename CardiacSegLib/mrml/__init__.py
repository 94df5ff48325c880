"""Cines, masks and numbers in a scene of 3D Slicer: the only room of the library that knows MRML."""

from __future__ import annotations

from .cines import browser_of, cine_to_scene, files_of, scene_to_cine, set_files
from .export import export_study
from .origin import Origin, load_cine, move_origin, origin_in, origin_of
from .overlay import SegmentOverlay
from .results import remove_results, result_node, update_results
from .sample import load_sample
from .second_view import choose_view, chosen_view, open_chosen_view, other_views
from .study import Place, Study, image_of, open_study
from .views import editor_node, face_stack, set_up_editor, show_curve, show_slice, show_stack, slice_in_view

__all__ = [
    "Origin", "Place", "SegmentOverlay", "Study", "browser_of", "choose_view", "chosen_view", "cine_to_scene",
    "editor_node", "export_study", "face_stack", "files_of", "image_of", "load_cine", "load_sample", "move_origin",
    "open_chosen_view", "open_study", "origin_in", "origin_of", "other_views", "remove_results", "result_node",
    "scene_to_cine", "set_files", "set_up_editor", "show_curve", "show_slice", "show_stack", "slice_in_view",
    "update_results",
]  # fmt: skip
