"""What is compared must be the same thing done differently; how fast it is, is no test's business."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from benchmarks import data_speed, results, training_speed
from benchmarks.reference import ReferenceConvLSTM, reference_transformer
from studies import ablation, iterative, perceptual
from vidlib import recipes
from vidlib.iterative import rollout
from vidlib.metrics import Scores
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.moving_mnist import MovingMNIST
from vidlib.perceptual import PerceptualLoss
from vidlib.weights import load_pretrained

CPU = torch.device("cpu")


def tiny(**changes) -> ConvLSTM:
    torch.manual_seed(0)
    return ConvLSTM(**({"hidden": [4, 3, 2], "kernel": 3} | changes))


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_the_reference_computes_what_the_package_computes(zeros, shared):
    model = tiny(shared=shared).double()
    reference = ReferenceConvLSTM(model, zeros)
    past = torch.rand(2, 10, 1, 64, 64, dtype=torch.float64)
    ours, theirs = model(past), reference(past)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    ours.square().sum().backward(retain_graph=True)
    gradient = model.encoder[0].from_input.weight.grad
    theirs.square().sum().backward()
    of_input = reference.encoder[0].gates.weight.grad[:, : model.config["features"]]
    torch.testing.assert_close(gradient, of_input, rtol=1e-8, atol=1e-10)


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


@pytest.fixture
def plain_cpu(monkeypatch):
    """A machine without matrix units for bf16 and without a C++ compiler: float32, nothing to wait for."""
    monkeypatch.setattr(training_speed, "fast_precision", lambda device: "no")
    monkeypatch.setattr(recipes, "has_compiler", lambda device: False)


def test_a_machine_gets_the_rows_that_it_can_profit_from(monkeypatch):
    for precision, compiler in (("bf16", True), ("bf16", False), ("no", True), ("no", False)):
        monkeypatch.setattr(training_speed, "fast_precision", lambda device, answer=precision: answer)
        monkeypatch.setattr(recipes, "has_compiler", lambda device, answer=compiler: answer)
        *others, last = training_speed.rows("convlstm", CPU)
        assert any(row.bf16 for row in others) == last.bf16 == (precision == "bf16")
        assert any(row.compile for row in others) == last.compile == compiler
        assert others[0].name == "reference"


@pytest.mark.parametrize("name", training_speed.ROWS)
@pytest.mark.usefixtures("plain_cpu")
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


@pytest.mark.usefixtures("plain_cpu")
def test_a_row_that_renders_takes_fresh_clips_in_every_step():
    for row in training_speed.rows("convlstm", CPU):
        step = training_speed.Step(row, tiny(), 2, CPU)
        first, second = step.video(), step.video()
        assert first.shape == (2, 20, 1, 64, 64) and first.dtype == torch.float32
        assert not torch.equal(first, second)


@pytest.mark.parametrize("name", training_speed.ROWS)
@pytest.mark.usefixtures("plain_cpu")
def test_the_table_has_a_line_for_every_row(monkeypatch, name):
    monkeypatch.setattr(training_speed, "STEPS", 1)
    monkeypatch.setattr(training_speed, "ROUNDS", 1)
    monkeypatch.setattr(training_speed, "peak_memory", lambda *_: math.nan)
    table = training_speed.compare(name, small(name), 1, CPU)
    assert [line["row"] for line in table] == [row.name for row in training_speed.rows(name, CPU)]
    assert table[0]["ratio"] == 1
    assert all(line["clips_per_second"] > 0 and line["share"] > 0 for line in table)


def test_flops_are_counted_forwards_and_backwards():
    step = training_speed.Step(training_speed.ROWS["convlstm"][0], tiny(hidden=[2], features=4), 1, CPU)
    # 20 steps of a 3×3 convolution to 8 gates on 16×16 maps: from 4 + 2 channels in the encoder, from 2 after it
    encoder, forecaster = (2 * 9 * channels * 8 * 256 * 10 for channels in (6, 2))
    stem, paint = 2 * 9 * 16 * 4 * 256 * 10, 2 * (2 * 4 + 9 * 4 * 16) * 256 * 10
    forward = stem + encoder + forecaster + paint
    # backwards: the gradient of the weights and of the input, the latter not for what no weight lies under
    assert 2 * forward < training_speed.step_flops(step) <= 3 * forward


@pytest.mark.parametrize("title", ablation.STUDIES)
def test_every_variant_changes_one_thing_at_the_same_budget(title):
    study = ablation.STUDIES[title]
    (base, plain), *others = (ablation.variant(study, name, 60, 4) for name in study.variants)
    assert base.epochs * base.clips_per_epoch == 60
    past = torch.rand(1, 10, 1, 64, 64)
    expected = plain(past)
    for recipe, built in others:
        changed = built(past)
        assert changed.shape == expected.shape
        assert recipe != base or not torch.equal(changed, expected)
        assert (recipe.epochs, recipe.clips_per_epoch, recipe.seed) == (base.epochs, base.clips_per_epoch, base.seed)
        built(past).sum().backward()  # nothing of it is left out of the computation
        assert all(p.grad is not None for name, p in built.named_parameters())


def test_an_ablation_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    variants = {"base": {}, "5×5 filters": {"kernel": 5}, "from the top": ablation.TopDown}
    base = {"hidden": [2], "features": 4, "kernel": 3, "batch_size": 2, "patch": 4, "shared": False}
    monkeypatch.setattr(ablation, "STUDIES", {"convlstm": ablation.Study("convlstm", 8, base, variants)})
    monkeypatch.setattr(recipes, "has_compiler", lambda device: False)
    trained = []
    fit = ablation.fit

    def counted(model, *arguments, **options):
        trained.append((type(model).__name__, model.config["kernel"]))
        return fit(model, *arguments, progress=False, **options)

    monkeypatch.setattr(ablation, "fit", counted)
    file = tmp_path / "runs.csv"

    def run():
        known = ablation.read_runs(file, 8, 2)
        return ablation.run("convlstm", 8, 2, tmp_path, known, "builtin", "cpu")

    ablation.write_runs(next(run()), file, 8, 2)  # interrupted after the first line
    assert trained == [("ConvLSTM", 3)] and list(ablation.read_runs(file, 8, 2)) == ["base"]
    assert ablation.read_runs(file, 9, 2) == {}  # another budget is another table
    shutil.rmtree(tmp_path / "convlstm")  # the line alone is enough
    *_, finished = run()
    assert trained == [("ConvLSTM", 3), ("ConvLSTM", 5), ("TopDown", 3)] and list(finished) == list(variants)
    ablation.write_runs(finished, file, 8, 2)
    assert ablation.read_runs(file, 8, 2) == finished
    text = ablation.table("convlstm", 8, 2, "builtin digits", finished)
    base, other, _ = (run.validation_mse for run in finished.values())
    assert f"| base | {finished['base'].parameters:,} | {base:.2f} | +0.00 |" in text
    assert f"| {other:.2f} | {other - base:+.2f} |" in text


def test_tables_go_between_the_marks_of_a_page_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    results.write(page, "new", "<!-- a -->", "<!-- b -->")
    assert page.read_text() == "before\n<!-- a -->\nnew\n<!-- b -->\nafter\n"
    with pytest.raises(ValueError, match="has no lines '<!-- c -->' and '<!-- b -->'"):
        results.write(page, "new", "<!-- c -->", "<!-- b -->")


def test_a_report_is_a_table_and_a_picture_beside_its_study(tmp_path, capsys):
    figure = Figure(figsize=(2, 1))
    results.report(str(tmp_path / "study.py"), "| a table |\n", figure, "a picture")
    assert (tmp_path / "study.md").read_text(encoding="utf-8") == "| a table |\n\n![a picture](study.png)\n"
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    assert "| a table |" in capsys.readouterr().out


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


def test_an_unrolled_model_is_a_rollout_with_a_gradient_through_every_pass():
    model = small("video-transformer")
    unrolled = iterative.Unrolled(model, passes=3)
    past = torch.rand(2, 10, 1, 64, 64)
    frames = unrolled(past)
    assert (unrolled.past, unrolled.horizon) == (10, 30)
    torch.testing.assert_close(frames, rollout(model, past, 30))
    (alone,) = torch.autograd.grad(frames[:, 20:].sum(), model.embed.weight, retain_graph=True)
    window = frames[:, 10:20].detach().clamp(0, 1)
    (last_pass,) = torch.autograd.grad(model(window).sum(), model.embed.weight)
    assert not torch.allclose(alone, last_pass)  # the earlier passes have their share


def test_a_model_whose_horizon_is_not_its_past_is_not_unrolled():
    with pytest.raises(ValueError, match="horizon is 4 and past 10, expected the same"):
        iterative.Unrolled(tiny(horizon=4))


def test_every_fine_tuning_takes_as_many_passes(monkeypatch, tmp_path):
    seen = []

    def fit(unrolled, train, validation, *, batch_size, **_):
        seen.append((len(train) * unrolled.passes, batch_size * unrolled.passes, train.frames))

    monkeypatch.setattr(iterative, "fit", fit)
    for passes in (1, 2):
        iterative.fine_tuned(passes, 48, tmp_path, "builtin")
    assert seen == [(48, 8, 20), (48, 8, 30)]


def row(backbone: str, weight: float, validation_mse: float, distance: float) -> perceptual.Row:
    figures = {"mse": validation_mse, "mae": 1.0, "ssim": 0.5, "ssim_published": 0.6, "sharpness": 0.7}
    scores = Scores(figures, {}, 3, "three clips")
    validation = {"mse": validation_mse, "vgg19": distance}
    return perceptual.Row(backbone, weight, weight, None, validation, scores, {"vgg19": distance, "digits": 1.0})


def test_the_shipped_weight_is_chosen_by_the_written_rule():
    control = row("vgg19", 0.0, 100.0, 5.0)
    sharp, too_far = row("vgg19", 1.0, 109.9, 3.0), row("vgg19", 4.0, 110.1, 1.0)
    other = row("digits", 1.0, 101.0, 0.5)
    assert perceptual.chosen([control, row("vgg19", 0.25, 101.0, 4.0), sharp, too_far, other]) is sharp
    assert perceptual.chosen([control, too_far, other]) is control
    seconds = {"": 0.25, "vgg19": 2.0, "digits": 0.5}
    text = perceptual.table([control, sharp, too_far, other], seconds, 7, "a command")
    assert "| none (control) | 0 | 0 | 100.00 |" in text and "That is λ = 1." in text and "`a command`" in text
    assert re.findall(r"([\d.]+) \|\n", text) == ["0.25", "2.00", "2.00", "0.50"]


def test_every_perceptual_run_has_the_budget_of_its_control():
    control, run = (perceptual.recipe(24, weight, "vgg19") for weight in (0.0, 0.5))
    assert dataclasses.replace(run, perceptual=0.0) == control and run.perceptual == 0.5
    assert recipes.build(run).config == load_pretrained("video-transformer").config


def test_a_step_is_timed_with_every_loss(monkeypatch):
    called = []

    class Counted(PerceptualLoss):
        def forward(self, prediction, truth):
            called.append(self.name)
            return super().forward(prediction, truth)

    monkeypatch.setattr(training_speed, "ROUNDS", 1)
    monkeypatch.setattr(recipes, "has_compiler", lambda device: False)
    monkeypatch.setattr(perceptual, "load_pretrained", lambda name: VideoTransformer(dim=8, heads=1, decoder=8))
    losses = {name: Counted("digits") for name in ("one", "two")}
    for name, loss in losses.items():
        loss.name = name
    taken = perceptual.seconds_per_step(losses)
    assert list(taken) == ["", "one", "two"] and min(taken.values()) > 0
    assert called.count("one") == called.count("two") == 2 + training_speed.STEPS


def test_the_weights_follow_from_the_shares(monkeypatch):
    prediction, truth = torch.rand(2, 1, 2, 1, 16, 16)
    monkeypatch.setattr(perceptual, "_predict", lambda model, clips: (prediction, truth))
    loss = PerceptualLoss("digits")
    found = perceptual.weights({"digits": loss}, None)
    ratio = (torch.nn.functional.mse_loss(prediction, truth) / loss(prediction, truth)).item()
    assert found == pytest.approx({("digits", share): share * ratio for share in (1, 4, 16)}, rel=0.06)
