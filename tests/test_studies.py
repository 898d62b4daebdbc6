"""What a study compares differs in one thing, and what was trained once is not trained again."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from benchmarks import steps
from studies import ablation, iterative, perceptual
from studies.report import report
from vidlib import recipes
from vidlib.digits import describe, load_digits
from vidlib.iterative import rollout
from vidlib.machine import hardware
from vidlib.metrics import TITLES, Scores
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.registry import MODELS
from vidlib.perceptual import PerceptualLoss
from vidlib.weights import load_pretrained

PAGES = sorted(Path(ablation.__file__).parent.glob("*.md"))


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
    base = {"hidden": [2], "features": 4, "kernel": 3, "batch_size": 2, "patch": 4, "shared": False, "layers": 0}
    monkeypatch.setattr(ablation, "STUDIES", {"convlstm": ablation.Study("convlstm", 8, base, variants)})
    monkeypatch.setattr(ablation, "has_compiler", lambda device: False)
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
    digits = load_digits("builtin")
    text = ablation.table("convlstm", 8, 2, digits, finished)
    base, other, _ = (run.validation_mse for run in finished.values())
    assert f"| base | {finished['base'].parameters:,} | {base:.2f} | +0.00 |" in text
    assert f"| {other:.2f} | {other - base:+.2f} |" in text
    command = "python -m studies.ablation convlstm --clips 8 --validation-clips 2 --digits builtin"
    assert f"{describe(digits)}; {hardware()}; `{command}`." in text


def test_a_report_is_a_table_and_a_picture_beside_its_study(tmp_path, capsys):
    figure = Figure(figsize=(2, 1))
    report(str(tmp_path / "study.py"), "| a table |\n", figure, "a picture")
    assert (tmp_path / "study.md").read_text(encoding="utf-8") == "| a table |\n\n![a picture](study.png)\n"
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    assert "| a table |" in capsys.readouterr().out


def test_an_unrolled_model_is_a_rollout_with_a_gradient_through_every_pass():
    model = MODELS["video-transformer"](**MODELS["video-transformer"].SMALLEST)
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
        iterative.Unrolled(ConvLSTM(horizon=4, **ConvLSTM.SMALLEST))


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
    return perceptual.Row(backbone, weight, weight, validation, scores, {"vgg19": distance, "digits": 1.0})


def test_the_shipped_weight_is_chosen_by_the_written_rule():
    before, control = row("", 0.0, 90.0, 0.1), row("vgg19", 0.0, 100.0, 5.0)
    sharp, too_far = row("vgg19", 1.0, 109.9, 3.0), row("vgg19", 4.0, 110.1, 1.0)
    other = row("digits", 1.0, 101.0, 0.5)
    assert perceptual.chosen([before, control, row("vgg19", 0.25, 101.0, 4.0), sharp, too_far, other]) is sharp
    assert perceptual.chosen([before, control, too_far, other]) is control
    seconds = {"": 0.25, "vgg19": 2.0, "digits": 0.5}
    text = perceptual.table([before, control, sharp, too_far, other], seconds, 7, "a command")
    assert TITLES["ssim_published"][0] in text
    assert (
        "| none (before) | 0 | 0 | 90.00" in text
        and "| none (control) | 0 | 0 | 100.00 | 1.00 | 0.5000 | 0.6000 | 0.700 |" in text
        and "That is λ = 1." in text
        and "`a command`" in text
    )
    assert re.findall(r"([\d.–]+) \|\n", text) == ["–", "0.25", "2.00", "2.00", "0.50"]


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

    monkeypatch.setattr(steps, "ROUNDS", 1)
    monkeypatch.setattr(steps, "has_compiler", lambda device: False)
    kind = MODELS[perceptual.START]
    monkeypatch.setattr(perceptual, "load_pretrained", lambda name: kind(**kind.SMALLEST))
    losses = {name: Counted("digits") for name in ("one", "two")}
    for name, loss in losses.items():
        loss.name = name
    taken = perceptual.seconds_per_step(losses)
    assert list(taken) == ["", "one", "two"] and min(taken.values()) > 0
    assert called.count("one") == called.count("two") == 2 + steps.STEPS


def test_the_weights_follow_from_the_shares(monkeypatch):
    prediction, truth = torch.rand(2, 1, 2, 1, 16, 16)
    monkeypatch.setattr(perceptual, "_predict", lambda model, clips: (prediction, truth))
    loss = PerceptualLoss("digits")
    found = perceptual.weights({"digits": loss}, None)
    ratio = (torch.nn.functional.mse_loss(prediction, truth) / loss(prediction, truth)).item()
    assert found == pytest.approx({("digits", share): share * ratio for share in (1, 4, 16)}, rel=0.06)


@pytest.mark.parametrize("study", [perceptual, iterative])
def test_other_weights_are_another_study(study, tmp_path, monkeypatch):
    """What was finished with the weights before is not taken for theirs."""
    reached = []

    def begin(*arguments):
        reached.append(next(a for a in arguments if isinstance(a, Path)))
        raise InterruptedError

    monkeypatch.setattr(study, "run" if study is perceptual else "rows", begin)
    monkeypatch.setattr(perceptual, "PerceptualLoss", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["study", "--out", str(tmp_path)])
    for found in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        monkeypatch.setattr(study, "weights_hash", lambda name, found=found: found)
        with pytest.raises(InterruptedError):
            study.main()
    assert reached == [tmp_path / "aaaaaaaaaaaa", tmp_path / "bbbbbbbbbbbb"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_the_command_that_wrote_it(page):
    """Its study is there, and so is every option."""
    commands = re.findall(r"`python -m (studies\.\w+)([^`]*)`", page.read_text(encoding="utf-8"))
    assert commands, f"{page.name} does not say how it was made"
    for module, options in commands:
        source = Path(ablation.__file__).with_name(f"{module.removeprefix('studies.')}.py").read_text(encoding="utf-8")
        assert re.findall(r"--[\w-]+", options)
        assert all(f'"{option}"' in source for option in re.findall(r"--[\w-]+", options))
    if "load_pretrained" in source:
        assert re.search(r"\bweights [0-9a-f]{12}\b", page.read_text(encoding="utf-8")), "of which weights is it?"
    if module == "studies.ablation":
        assert page.stem.removeprefix("ablation-") == options.split()[0]


def test_every_study_has_one_learning_rate_cycle():
    """As its page says, whatever the recipes do by now."""
    for title, study in ablation.STUDIES.items():
        recipe, _ = ablation.variant(study, next(iter(study.variants)), 60, 4)
        assert recipe.schedule == "onecycle", title
    assert perceptual.recipe(24, 0.0, "vgg19").schedule == "onecycle"
