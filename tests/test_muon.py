"""Muon: torch's own on matrices, the same on filters and on stacks of matrices."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vidlib import muon
from vidlib.muon import Muon, orthogonalise


def gradients(shape: tuple[int, ...], steps: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(steps)]


def after(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, grads: list[torch.Tensor]) -> torch.Tensor:
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
    return parameter.detach()


def start(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_a_matrix_moves_as_with_torch(shape, monkeypatch):
    monkeypatch.setattr(muon, "cpu_has_bf16", lambda: True)
    ours, theirs = start(*shape), start(*shape)
    options = {"lr": 0.1, "weight_decay": 0.2}
    moved = after(Muon([ours], **options), ours, gradients(shape))
    torch.testing.assert_close(
        moved, after(torch.optim.Muon([theirs], **options), theirs, gradients(shape)), rtol=0.02, atol=2e-3
    )  # both round to bfloat16 within a step, not in the same places
    assert (moved - start(*shape)).abs().max() > 0.05


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_filter_is_a_matrix_of_as_many_rows_as_it_has_outputs(layout):
    filters, matrix = nn.Parameter(start(6, 5, 3, 3).detach().to(memory_format=layout)), start(6, 45)
    grads = gradients((6, 5, 3, 3))
    moved = after(Muon([filters], 0.1), filters, [g.to(memory_format=layout) for g in grads])
    torch.testing.assert_close(moved.flatten(1), after(Muon([matrix], 0.1), matrix, [g.flatten(1) for g in grads]))


def test_the_matrices_of_a_stack_do_not_know_of_each_other():
    stack, grads = start(12, 7), gradients((12, 7))
    moved = after(Muon([{"params": [stack], "stacked": 3}], 0.1), stack, grads)
    for rows in torch.arange(12).split(4):
        alone = nn.Parameter(start(12, 7).detach()[rows])
        expected = after(Muon([alone], 0.1), alone, [g[rows] for g in grads])
        torch.testing.assert_close(moved[rows], expected, rtol=0.02, atol=2e-3)
    together = start(12, 7)
    assert not torch.allclose(moved, after(Muon([together], 0.1), together, grads), atol=0.02)


def test_parameters_of_one_shape_do_not_know_of_each_other():
    """They share their products, no more."""
    shapes = [(6, 20), (20, 6), (6, 20), (6, 5, 2, 2), (6, 20)]
    many = [nn.Parameter(place * start(*shape).detach()) for place, shape in enumerate(shapes, 1)]
    grads = [[place * g.roll(place) for g in gradients(shape)] for place, shape in enumerate(shapes, 1)]
    optimizer = Muon(many, 0.1, weight_decay=0.2)
    for turn in range(3):
        for parameter, own in zip(many, grads, strict=True):
            parameter.grad = own[turn].clone()
        optimizer.step()
    for place, (moved, shape, own) in enumerate(zip(many, shapes, grads, strict=True), 1):
        alone = nn.Parameter(place * start(*shape).detach())
        expected = after(Muon([alone], 0.1, weight_decay=0.2), alone, own)
        torch.testing.assert_close(moved.detach(), expected, rtol=0.02, atol=2e-3)


def test_every_direction_moves_about_equally_far():
    spread = torch.diag(torch.tensor([1.0, 0.3, 0.1, 0.05])) @ torch.linalg.qr(torch.randn(9, 4))[0].mT
    assert torch.linalg.svdvals(spread).tolist() == pytest.approx([1.0, 0.3, 0.1, 0.05], abs=1e-5)
    values = torch.linalg.svdvals(orthogonalise(spread[None])[0].float())
    assert ((values > 0.65) & (values < 1.25)).all()


def test_a_parameter_without_a_gradient_stays():
    used, unused = start(3, 4), start(4, 3)
    optimizer = Muon([used, unused], 0.1, weight_decay=0.5)
    after(optimizer, used, gradients((3, 4)))
    assert torch.equal(unused, start(4, 3)) and not torch.equal(used, start(3, 4))


def test_its_state_goes_into_a_checkpoint():
    whole, first = start(4, 6), start(4, 6)
    grads = gradients((4, 6), steps=4)
    expected = after(Muon([whole], 0.1), whole, grads)
    optimizer = Muon([first], 0.1)
    second = nn.Parameter(after(optimizer, first, grads[:2]).clone())
    again = Muon([second], 0.3)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert torch.equal(after(again, second, grads[2:]), expected)


@pytest.mark.parametrize("shape, stacked", [((5,), 1), ((6, 3), 4)])
def test_what_is_no_matrix_is_one_sentence(shape, stacked):
    with pytest.raises(ValueError, match=rf"a parameter is \({shape[0]},.*\), expected {stacked} stacked matri"):
        Muon([{"params": [start(*shape)], "stacked": stacked}], 0.1)


@pytest.mark.parametrize(
    "params, options",
    [
        (None, {}), (3, {}), ([], {}), ("weights", {}), ([None], {}), ([{"params": [start(2, 3)], "stacked": 0}], {}),
        ([{"params": [start(2, 3)], "stacked": 1.5}], {}), ([{"params": [start(2, 3)], "lr": float("nan")}], {}),
        *(([start(2, 3)], {name: value}) for name in ("lr", "weight_decay", "momentum")
          for value in (None, True, "1", -1.0, float("nan"), float("inf"))),
        ([start(2, 3)], {"momentum": 1.0}),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_sentence(params, options):
    with pytest.raises(ValueError, match="expected") as caught:
        Muon(params, **{"lr": 0.1} | options)
    assert "\n" not in str(caught.value)
