"""bfloat16 where the hardware computes it by itself, full precision elsewhere."""

from __future__ import annotations

import torch


def autocast(device: str | torch.device) -> torch.autocast:
    """The context in which networks run on this device: bfloat16 if it computes that by itself."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=has_bfloat16(kind))


def has_bfloat16(kind: str) -> bool:
    """Whether devices of this kind (cpu, cuda) compute in bfloat16 without emulating it."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
