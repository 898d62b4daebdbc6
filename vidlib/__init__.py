"""vidlib: the small package beneath the Flowing MNIST course on video prediction."""

from importlib import import_module

_HOMES = {  # loaded when first used: `python -m vidlib --help` need not wait for torch
    "ConvLSTM": "vidlib.models.convlstm",
    "MovingMNIST": "vidlib.moving_mnist",
    "PerceptualLoss": "vidlib.perceptual",
    "VideoTransformer": "vidlib.models.vit",
    "evaluate": "vidlib.metrics",
    "fit": "vidlib.training",
    "load_pretrained": "vidlib.weights",
    "rollout": "vidlib.iterative",
    "viz": "vidlib",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name == "viz":
        return import_module("vidlib.viz")
    if name not in _HOMES:
        raise AttributeError(f"module 'vidlib' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
