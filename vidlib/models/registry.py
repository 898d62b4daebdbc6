"""Every model of the course, by name: a new one is its file and one line here.

It then trains, is published, rolls out, scores, draws and sweeps like the others, at the constructor's default sizes
until :mod:`vidlib.recipes` has better ones. A model is an ``nn.Module`` with

- ``past``, ``horizon`` and ``forward(past) -> future``, as :class:`vidlib.video.Model` says;
- ``config``, a dictionary of its constructor's keyword arguments, all plain JSON values;
- ``SMALLEST``, arguments that make it so small that a test takes a moment;
- ``OF_THE_PAINTER``, optional: which numbers of ``config`` are of its ``paint`` alone: a training can start from
  weights with another painter;
- ``matrices()``, optional: what :class:`vidlib.muon.Muon` trains, see :func:`vidlib.training.muon_matrices`.
"""

from __future__ import annotations

from torch import nn

from vidlib.models.convlstm import ConvLSTM
from vidlib.models.flow_convlstm import FlowConvLSTM
from vidlib.models.vit import VideoTransformer

MODELS: dict[str, type[nn.Module]] = {
    "convlstm": ConvLSTM,
    "flow-convlstm": FlowConvLSTM,
    "video-transformer": VideoTransformer,
}
