"""Sources become a Manifest, images become pixels. Loads only what is asked for: workers need no pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# named like its module: bound now, or an import of the module would take the name
from labelscrub.data.thumbnails import each_thumbnail, thumbnails

if TYPE_CHECKING:
    from labelscrub.data.brought import brought_probabilities
    from labelscrub.data.checks import data_fingerprint, require_present, require_trainable
    from labelscrub.data.images import ImageShape, hash_images, image_shape, load_images
    from labelscrub.data.parquet import read_embedded
    from labelscrub.data.pred_labels import read_labels
    from labelscrub.data.pred_probs import read_pred_probs
    from labelscrub.data.source import read_source

__all__ = [
    "ImageShape",
    "brought_probabilities",
    "data_fingerprint",
    "each_thumbnail",
    "hash_images",
    "image_shape",
    "load_images",
    "read_embedded",
    "read_labels",
    "read_pred_probs",
    "read_source",
    "require_present",
    "require_trainable",
    "thumbnails",
]

_MODULES = {
    "brought": ("brought_probabilities",),
    "checks": ("data_fingerprint", "require_present", "require_trainable"),
    "images": ("ImageShape", "hash_images", "image_shape", "load_images"),
    "parquet": ("read_embedded",),
    "pred_labels": ("read_labels",),
    "pred_probs": ("read_pred_probs",),
    "source": ("read_source",),
}


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _MODULES.items():
        if name in names:
            found = getattr(importlib.import_module(f"labelscrub.data.{module}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'labelscrub.data' has no attribute {name!r}")
