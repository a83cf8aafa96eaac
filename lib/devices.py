"""Where a model computes: device, number format, one process or several.

Woven from chapters/appendix_d_training.ipynb. Edit the chapter, then run `make
lib`.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from lib.gpt import GPT
from lib.settings import RunConfig


def pick_device(wanted: str) -> torch.device:
    """Choose where to compute; auto: the accelerator, if there is one."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if wanted == "auto":
        wanted = found.type if found else "cpu"
    elif wanted != "cpu" and (found is None or found.type != wanted):
        raise ValueError(
            f"run.device is {wanted!r}, but this machine has "
            f"{found.type if found else 'no accelerator'}"
        )
    local = os.environ.get("LOCAL_RANK", "0")
    return torch.device(f"cuda:{local}" if wanted == "cuda" else wanted)


class InHalf(nn.Module):
    """A model whose matrix products are computed in bfloat16."""

    def __init__(self, model: nn.Module, device_type: str) -> None:
        super().__init__()
        self.model, self.device_type = model, device_type

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids (B, T) to logits (B, T, V), in float32 again."""
        with torch.autocast(self.device_type, torch.bfloat16):
            return self.model(ids).float()


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the other processes that torchrun started, if it did."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """Return this process's number and how many there are."""
    if not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def make_learner(
    model: GPT, config: RunConfig, device: torch.device
) -> nn.Module:
    """Wrap a model as the settings ask: parted or copied, halved, compiled.

    The weights stay the model's own, so its checkpoints do not change.
    """
    learner: nn.Module = model
    is_parted = dist.is_initialized() and config.parallel == "fsdp"
    if is_parted:
        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
    if config.precision == "bfloat16":
        learner = InHalf(learner, device.type)
    if dist.is_initialized() and not is_parted:
        where = [device] if device.type == "cuda" else None
        learner = DistributedDataParallel(learner, device_ids=where)
    if config.compile:
        learner = cast(nn.Module, torch.compile(learner))
    return learner
