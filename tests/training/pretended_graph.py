"""What a CUDA graph does to a training step, done on the CPU.

As on a GPU, recording runs nothing, a replay repeats the same operations on the same memory with the same
numbers, and what waits for the device can't be recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# The last one makes a tensor of Python's values, which on a GPU is a copy from the host.
WAIT = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::lift_fresh"}


class _Tape(TorchDispatchMode):
    """Runs operations, notes them, and keeps all that was there before as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []
        self.made: set[int] = set()
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        by_mask = func._schema.name.startswith("aten::index") and any(
            isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1])
        )
        if func._schema.name in WAIT or by_mask:  # how many a mask chooses decides the result's size
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage.data_ptr() not in self.made:
                    self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        out = func(*args, **kwargs)
        outs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        for tensor in outs:
            if tensor.untyped_storage().data_ptr() not in self.before:
                self.made.add(tensor.untyped_storage().data_ptr())
        self.calls.append((func, args, kwargs, outs))
        return out


def record(call: Callable[[], None]) -> Callable[[], None]:
    """As `capture.Record`."""
    tape, random = _Tape(), torch.get_rng_state()
    try:
        with tape:
            call()
    finally:
        torch.set_rng_state(random)
        for storage, copy in tape.before.values():
            storage.copy_(copy)

    def replay() -> None:
        with torch.no_grad():
            for func, args, kwargs, outs in tape.calls:
                again = [
                    leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, torch.Tensor)
                ]
                for old, new in zip(outs, again, strict=True):
                    if old.data_ptr() != new.data_ptr():  # neither in place nor a view
                        old.copy_(new)

    return replay
