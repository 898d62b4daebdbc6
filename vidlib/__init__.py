"""vidlib: the small package beneath the Flowing MNIST course on video prediction."""

from vidlib import viz
from vidlib.convlstm import ConvLSTM
from vidlib.metrics import evaluate
from vidlib.moving_mnist import MovingMNIST
from vidlib.perceptual import PerceptualLoss
from vidlib.rollout import rollout
from vidlib.training import fit
from vidlib.vit import VideoTransformer
from vidlib.weights import load_pretrained

__all__ = [
    "ConvLSTM",
    "MovingMNIST",
    "PerceptualLoss",
    "VideoTransformer",
    "evaluate",
    "fit",
    "load_pretrained",
    "rollout",
    "viz",
]
