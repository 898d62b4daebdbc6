"""What is compared must be the same thing done differently; how fast it is, is no test's business."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks import ablation, data_speed, results, training_speed
from benchmarks.reference import ReferenceConvLSTM, reference_transformer
from vidlib import recipes
from vidlib.convlstm import ConvLSTM
from vidlib.moving_mnist import MovingMNIST
from vidlib.vit import VideoTransformer

CPU = torch.device("cpu")


def tiny(**changes) -> ConvLSTM:
    torch.manual_seed(0)
    return ConvLSTM(**({"hidden": [4, 3, 2], "kernel": 3} | changes))


@pytest.mark.parametrize("zeros", [False, True])
def test_the_reference_computes_what_the_package_computes(zeros):
    model = tiny().double()
    reference = ReferenceConvLSTM(model, zeros)
    past = torch.rand(2, 10, 1, 64, 64, dtype=torch.float64)
    ours, theirs = model(past), reference(past)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    ours.square().sum().backward(retain_graph=True)
    gradient = model.encoder[0].from_input.weight.grad
    theirs.square().sum().backward()
    shared = reference.encoder[0].gates.weight.grad[:, :16]
    torch.testing.assert_close(gradient, shared, rtol=1e-8, atol=1e-10)


def test_a_cell_with_peepholes_has_no_reference():
    with pytest.raises(ValueError, match="has peepholes, expected one without"):
        ReferenceConvLSTM(tiny(peephole=True))


def small(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return tiny() if name == "convlstm" else VideoTransformer(dim=16, heads=2, layers=2, decoder=8)


def test_the_reference_transformer_computes_what_the_package_computes():
    model = small("video-transformer").double()
    past = torch.rand(2, 10, 1, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(model(past), reference_transformer(model)(past), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", training_speed.ROWS)
def test_every_row_computes_the_same(name):
    """What the table compares is one computation, whatever the layout."""
    model, outputs = small(name), []
    for row in training_speed.rows(name, CPU):
        if row.render != "loop":
            step = training_speed.Step(row, model, 2, CPU)
            with torch.no_grad():
                outputs.append(step.run(step.batch[:, :10]))
    assert len(outputs) >= 3
    for other in outputs[1:]:
        torch.testing.assert_close(outputs[0], other, rtol=1e-4, atol=1e-5)


def test_a_row_that_renders_takes_fresh_clips_in_every_step():
    for row in training_speed.rows("convlstm", CPU):
        step = training_speed.Step(row, tiny(), 2, CPU)
        first, second = step.video(), step.video()
        assert first.shape == (2, 20, 1, 64, 64) and first.dtype == torch.float32
        assert not torch.equal(first, second)


@pytest.mark.parametrize("name", training_speed.ROWS)
def test_the_table_has_a_line_for_every_row(monkeypatch, name):
    monkeypatch.setattr(training_speed, "STEPS", 1)
    monkeypatch.setattr(training_speed, "ROUNDS", 1)
    monkeypatch.setattr(training_speed, "peak_memory", lambda *_: math.nan)
    table = training_speed.compare(name, small(name), 1, CPU)
    assert [line["row"] for line in table] == [row.name for row in training_speed.rows(name, CPU)]
    assert table[0]["ratio"] == 1
    assert all(line["clips_per_second"] > 0 and line["share"] > 0 for line in table)


def test_flops_are_counted_forwards_and_backwards():
    step = training_speed.Step(training_speed.ROWS["convlstm"][0], tiny(hidden=[2]), 1, CPU)
    # 20 steps of a 3×3 convolution to 8 gates on 16×16 maps: from 16 + 2 channels in the encoder, from 2 after it
    encoder, forecaster = (2 * 9 * channels * 8 * 256 * 10 for channels in (18, 2))
    paint = 2 * 2 * 16 * 256 * 10
    forward = encoder + forecaster + paint
    # backwards: the gradient of the weights and of the input, the latter not for what no weight lies under
    assert 2 * forward < training_speed.step_flops(step) <= 3 * forward


@pytest.mark.parametrize("model", ablation.VARIANTS)
def test_every_variant_changes_one_thing_at_the_same_budget(model):
    base, *others = (ablation.variant(model, name, 60, 4) for name in ablation.VARIANTS[model])
    assert base.epochs * base.clips_per_epoch == 60
    for other in others:
        assert other != base
        assert (other.epochs, other.clips_per_epoch, other.seed) == (base.epochs, base.clips_per_epoch, base.seed)
        recipes.build(other)


def test_an_ablation_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "VARIANTS", {"convlstm": {"base": {}, "5×5 filters": {"kernel": 5}}})
    monkeypatch.setattr(ablation, "BASES", {"convlstm": {"hidden": [2], "kernel": 3, "batch_size": 2}})
    trained = []
    train = recipes.train

    def counted(recipe, folder, **options):
        trained.append(recipe.config["kernel"])
        return train(recipe, folder, progress=False, **options)

    monkeypatch.setattr(recipes, "train", counted)
    arguments = ("convlstm", 12, 2, tmp_path, "builtin", "cpu")
    first = next(ablation.run(*arguments))  # interrupted after the first line
    assert trained == [3] and list(first) == ["base"]
    *_, finished = ablation.run(*arguments)
    assert trained == [3, 5] and list(finished) == ["base", "5×5 filters"]
    text = ablation.table("convlstm", 12, 2, finished)
    base, other = (history[-1]["validation_mse"] for _, history, _, _ in finished.values())
    assert f"| base | {finished['base'][0]:,} | {base:.2f} | +0.00 |" in text
    assert f"| {other:.2f} | {other - base:+.2f} |" in text


def test_tables_go_between_the_marks_of_a_page_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    results.write(page, "new", "<!-- a -->", "<!-- b -->")
    assert page.read_text() == "before\n<!-- a -->\nnew\n<!-- b -->\nafter\n"
    with pytest.raises(ValueError, match="has no lines '<!-- c -->' and '<!-- b -->'"):
        results.write(page, "new", "<!-- c -->", "<!-- b -->")


def test_the_paste_loop_makes_the_same_clips():
    clips = MovingMNIST(30, digits="builtin", seed=3)
    for index in range(30):
        assert np.array_equal(data_speed.loop_clip(clips, index), clips[index].numpy())


def test_measuring_leaves_the_threads_as_they_were(monkeypatch):
    monkeypatch.setattr(data_speed, "SECONDS", 0.001)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    rates = data_speed.clips_per_second()
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)
    assert all(len(values) == data_speed.ROUNDS and min(values) > 0 for values in rates.values())
