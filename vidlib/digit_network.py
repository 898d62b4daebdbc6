"""How the digit network is trained whose features :class:`vidlib.perceptual.PerceptualLoss` can compare.

An ImageNet classifier is half a gigabyte to download. This one has 72,000 numbers, knows strokes because it learned
to tell digits apart, and is shipped with the package.
"""

from __future__ import annotations

import datetime
import inspect
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from vidlib.backbones import DigitNetwork, load_digit_network
from vidlib.checks import check_counts, check_flags, check_numbers
from vidlib.digits import Digits, describe, load_digits
from vidlib.files import atomic_write, sha256, user_path
from vidlib.machine import hardware

NAME = "digit-network"

_SHIFT = 4  # pixels; MNIST leaves a margin of about four around the strokes, so that a shifted digit stays whole
_RAREST = 0.05  # of the mean: dividing by less would make noise of a filter that hardly ever answers


def train_digit_network(
    out: str | Path,
    *,
    digits: str | Path = "mnist",
    epochs: int = 4,
    batch_size: int = 128,
    lr: float = 3e-3,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a :class:`DigitNetwork` on the CPU, write it with its model card, and return the card.

    The epoch with the best validation accuracy is kept; the test digits are looked at once, with the stored file.
    The same seed, thread count and torch version give the same file.

    Args:
        out: the folder for ``digit-network.safetensors`` and ``digit-network.md``.
        digits: as in :func:`vidlib.digits.load_digits`; they must be labelled.
        epochs: passes over the training digits, each moved by up to four pixels at random.
        batch_size: digits in one step.
        lr: the highest learning rate of the one-cycle schedule.
        seed: of the first weights, the order and the moves.
        progress: whether to show a bar.

    Raises:
        ValueError: digits without labels or fewer than one batch of them, or a setting out of range.
        RuntimeError: the loss became NaN or infinite.
        OSError: the files could not be written.
    """
    out = user_path(out)
    check_counts(epochs=epochs, batch_size=batch_size)
    check_counts(0, highest=2**64 - 1, seed=seed)
    check_numbers(0, open=True, lr=lr)
    check_flags(progress=progress)
    train, validation, test = (load_digits(digits, split) for split in ("train", "validation", "test"))
    if min(train.labels.min(), validation.labels.min(), test.labels.min()) < 0:
        raise ValueError(f"the digits of {train.source} have no labels: train this network on 'mnist' or 'builtin'.")
    if batch_size > len(train):
        raise ValueError(f"batch_size is {batch_size}, expected at most the {len(train):,} training digits.")
    started = time.perf_counter()
    network, epoch = _fit(train, validation, epochs, batch_size, lr, seed, progress)
    balance_filters(network, _as_float(torch.from_numpy(train.images[:2_000])))
    seconds = time.perf_counter() - started

    path = out / f"{NAME}.safetensors"
    with atomic_write(path) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}))
    stored = load_digit_network(path)
    card = {
        "command": f"python -m vidlib train {NAME} --out DIR",
        "recipe": f"{epochs} epoch(s) (best on validation: epoch {epoch}), batch {batch_size}, AdamW, one-cycle "
        f"learning rate up to {lr:g}, digits moved by up to {_SHIFT} pixels, seed {seed}",
        "data": f"{describe(train)}; SHA-256 of the pixels {train.sha256}",
        "accuracy": f"{accuracy(stored, test):.2%} on {describe(test)}; "
        f"{accuracy(stored, validation):.2%} on {describe(validation)}",
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}, float32",
        "hardware": f"{hardware()}, {seconds:.0f} s",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "sha256": sha256(path),
    }
    with atomic_write(path.with_suffix(".md")) as temporary:
        temporary.write_text(_page(card), encoding="utf-8")
    return card


SETTINGS = tuple(  # names that a command line may set
    name for name in inspect.signature(train_digit_network).parameters if name not in ("out", "digits", "progress")
)


def _fit(
    train: Digits, validation: Digits, epochs: int, batch_size: int, lr: float, seed: int, progress: bool
) -> tuple[DigitNetwork, int]:
    """The network of the best epoch, and which one that was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitNetwork().to(memory_format=torch.channels_last)  # 1.7 times as fast here
    random = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    steps = len(train) // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps)
    best, best_epoch, best_state = -1.0, 0, {}
    with tqdm(total=epochs * steps, desc="digit network", unit="step", disable=not progress) as bar:
        for epoch in range(1, epochs + 1):
            for batch in torch.randperm(len(train), generator=random)[: steps * batch_size].split(batch_size):
                loss = F.cross_entropy(network(_shifted(images[batch], random)), labels[batch])
                if not loss.isfinite():
                    raise RuntimeError(f"the loss is {loss.item()} in epoch {epoch}: train with an lr below {lr:g}.")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
            score = accuracy(network, validation)
            bar.set_postfix_str(f"epoch {epoch}/{epochs}, validation accuracy {score:.2%}")
            if score > best:
                best, best_epoch = score, epoch
                best_state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(best_state)
    return network, best_epoch


def _shifted(images: Tensor, random: torch.Generator) -> Tensor:
    """``(N, 28, 28)`` uint8 to ``(N, 1, 28, 28)`` floats, each image moved by up to four pixels along both axes."""
    count, height, width = images.shape
    padded = F.pad(images, (_SHIFT,) * 4)
    top, left = torch.randint(0, 2 * _SHIFT + 1, (2, count, 1), generator=random)
    rows = (top + torch.arange(height))[:, :, None]  # (N, 28, 1)
    columns = (left + torch.arange(width))[:, None, :]  # (N, 1, 28)
    return _as_float(padded[torch.arange(count)[:, None, None], rows, columns])


def _as_float(images: Tensor) -> Tensor:
    return images[:, None].float() / 255  # (N, 1, 28, 28)


@torch.no_grad()
def balance_filters(network: DigitNetwork, images: Tensor) -> None:
    """Rescale every filter in place so that its mean activation over ``images (N, 1, H, W)`` is 1.

    The logits stay as they are, because ReLU and max pooling commute with a positive factor and the next layer
    takes it out again. The loss of one layer can then be compared with that of another, and none drowns the rest
    (Gatys, Ecker and Bethge 2016, arXiv 1508.06576, did so with VGG19).
    """
    x, previous = images, torch.ones(1)
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            layer.weight.mul_(previous[:, None, None])  # what its inputs were divided by
            mean = layer(x).relu().mean(dim=(0, 2, 3))
            previous = mean.clamp(min=_RAREST * float(mean.mean()))
            layer.weight.div_(previous[:, None, None, None])
            layer.bias.div_(previous)
        x = layer(x)
    network.classifier.weight.mul_(previous)


@torch.no_grad()
def accuracy(network: nn.Module, digits: Digits, *, batch_size: int = 500) -> float:
    """The share of ``digits`` that the network names rightly, from 0 to 1.

    Raises:
        ValueError: something else than digits with labels.
    """
    check_counts(batch_size=batch_size)
    if not isinstance(digits, Digits) or digits.labels.min() < 0:
        raise ValueError(f"digits are {type(digits).__name__} without labels, expected labelled Digits.")
    right = 0
    for start in range(0, len(digits), batch_size):
        part = slice(start, start + batch_size)
        logits = network(_as_float(torch.from_numpy(digits.images[part])))  # (n, 10)
        right += int((logits.argmax(dim=1) == torch.from_numpy(digits.labels[part])).sum())
    return right / len(digits)


def _page(card: dict[str, Any]) -> str:
    facts = [f"- **{_TITLES.get(key, key.capitalize())}**: {value}" for key, value in card.items()]
    return "\n".join([f"# {NAME}", "", _SUMMARY, "", *facts, ""])


_TITLES = {"torch": "torch", "sha256": "SHA-256 of the file"}
_SUMMARY = """\
A small VGG-style classifier of handwritten digits: three blocks of two 3×3 convolutions, then a linear layer.
`vidlib.perceptual.PerceptualLoss("digits")` compares its features. Each filter is rescaled to mean activation 1."""
