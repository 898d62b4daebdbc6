"""The what-if lab: set the physics of a clip, draw its digits, watch the models predict. ``lab()`` opens it."""

from importlib import import_module

__all__ = ["lab"]


def __getattr__(name: str):
    if name != "lab":
        raise AttributeError(f"module 'vidlib.lab' has no attribute {name!r}")
    return import_module("vidlib.lab.widget").lab
