"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for filters as well as matrices.

``torch.optim.Muon`` refuses everything that is not a matrix. The filters of a convolution ``(out, in, k, k)`` are one,
of ``out`` rows, and learn several times as much per clip when they are treated so.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from vidlib.checks import check_counts, check_numbers
from vidlib.machine import cpu_has_bf16


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is an orthogonal matrix: all directions of a weight matrix move equally far.

    The same as ``torch.optim.Muon`` where the parameters are matrices.

    Args:
        params: parameters of two or more dimensions, or groups of them. A group may say ``stacked=n``: each of its
            parameters is n matrices on top of each other, such as the four gates of an LSTM, and each is treated alone.
        lr: how far a step goes; the root mean square of an entry's step is about ``lr / sqrt(larger side)``.
        weight_decay: share of ``lr`` by which a parameter shrinks in a step.
        momentum: decay of the average of the gradients.

    Raises:
        ValueError: a parameter that is no matrix, or whose rows do not divide into the matrices of its stack.
    """

    def __init__(self, params, lr: float, *, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        check_numbers(0, lr=lr, weight_decay=weight_decay)
        check_numbers(0, 1, momentum=momentum)
        if momentum == 1:
            raise ValueError("momentum is 1, expected a number below 1: nothing would ever move.")
        try:
            super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "stacked": 1})
        except (TypeError, ValueError) as error:
            raise ValueError(f"params are no parameters, expected those of a model, or groups: {error}.") from error
        for group in self.param_groups:
            check_counts(stacked=group["stacked"])
            check_numbers(0, lr=group["lr"], weight_decay=group["weight_decay"])
            for parameter in group["params"]:
                if parameter.ndim < 2 or len(parameter) % group["stacked"]:
                    raise ValueError(
                        f"a parameter is {tuple(parameter.shape)}, expected {group['stacked']} stacked matrices: "
                        "give vectors to another optimizer."
                    )

    @torch.no_grad()
    def step(self, closure=None):
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike = defaultdict(list)  # many small products cost more than one large: matrices of a shape go together
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(state["momentum"], group["momentum"])  # Nesterov's look ahead
                matrices = ahead.reshape(group["stacked"], len(ahead) // group["stacked"], -1)  # (stacked, rows, cols)
                alike[matrices.shape, matrices.device].append((parameter, matrices))
            for ((_, rows, columns), _), same in alike.items():
                steps = orthogonalise(torch.cat([matrices for _, matrices in same]))  # (parameters·stacked, rows, cols)
                for (parameter, _), step in zip(same, steps.split(group["stacked"]), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(step.reshape(parameter.shape), alpha=-group["lr"] * max(1, rows / columns) ** 0.5)
        return loss


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """About the nearest matrices whose singular values are all 1: ``(number, rows, columns)`` to the same shape.

    In bf16, but in float32 on a CPU that would have to emulate it.

    Newton–Schulz iteration with the coefficients of Jordan et al.: products only, so it runs where a singular value
    decomposition would not, and rough on purpose (singular values end between 0.7 and 1.2).
    """
    emulated = matrices.device.type == "cpu" and not cpu_has_bf16()
    x = matrices.float() if emulated else matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):  # x ← 3.4445·x + (-4.775·g + 2.0315·g²)·x with g = x·xᵀ, each sum inside its product
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x
