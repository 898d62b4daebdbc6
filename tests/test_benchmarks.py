"""What is compared must be the same thing done differently; how fast it is, is no test's business."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from benchmarks import __main__ as bench
from benchmarks import data_speed, notebook_cost, results, steps, training_speed
from benchmarks.reference import ReferenceConvLSTM, reference_transformer
from vidlib.metrics import TITLES
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.registry import MODELS
from vidlib.moving_mnist import MovingMNIST

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parent.parent


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
    return MODELS[name](**MODELS[name].SMALLEST)


def test_the_reference_transformer_computes_what_the_package_computes():
    model = small("video-transformer").double()
    past = torch.rand(2, 10, 1, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(model(past), reference_transformer(model)(past), rtol=1e-10, atol=1e-12)


@pytest.fixture
def plain_cpu(monkeypatch):
    """A machine without matrix units for bf16 and without a C++ compiler: float32, nothing to wait for."""
    monkeypatch.setattr(steps, "fast_precision", lambda device: "no")
    monkeypatch.setattr(steps, "has_compiler", lambda device: False)


def test_a_machine_gets_the_rows_that_it_can_profit_from(monkeypatch):
    for precision, compiler in (("bf16", True), ("bf16", False), ("no", True), ("no", False)):
        monkeypatch.setattr(steps, "fast_precision", lambda device, answer=precision: answer)
        monkeypatch.setattr(steps, "has_compiler", lambda device, answer=compiler: answer)
        *others, last = training_speed.rows("convlstm", CPU)
        assert any(row.bf16 for row in others) == last.bf16 == (precision == "bf16")
        assert any(row.compile for row in others) == last.compile == compiler
        assert others[0].name == "reference"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("plain_cpu")
def test_every_row_computes_the_same(name):
    """What the table compares is one computation, whatever the layout."""
    model, outputs = small(name), []
    for row in training_speed.rows(name, CPU):
        if row.render != "loop":
            step = training_speed.Step(row, model, 2, CPU)
            with torch.no_grad():
                outputs.append(step.run(step.batch[:, :10]))
    assert len(outputs) >= 2
    for other in outputs[1:]:
        torch.testing.assert_close(outputs[0], other, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("plain_cpu")
def test_a_row_that_renders_takes_fresh_clips_in_every_step():
    for row in training_speed.rows("convlstm", CPU):
        step = training_speed.Step(row, tiny(), 2, CPU)
        first, second = step.video(), step.video()
        assert first.shape == (2, 20, 1, 64, 64) and first.dtype == torch.float32
        assert not torch.equal(first, second)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("plain_cpu")
def test_the_table_has_a_line_for_every_row(monkeypatch, name):
    monkeypatch.setattr(steps, "STEPS", 1)
    monkeypatch.setattr(steps, "ROUNDS", 1)
    monkeypatch.setattr(training_speed, "peak_memory", lambda *_: math.nan)
    table = training_speed.compare(name, small(name), 1, CPU)
    assert [line["row"] for line in table] == [row.name for row in training_speed.rows(name, CPU)]
    assert table[0]["ratio"] == 1
    assert all(line["clips_per_second"] > 0 and line["share"] > 0 for line in table)


class Doubled(torch.nn.Module):
    """A model that the benchmarks know nothing of, with weights that no picture layout fits."""

    SMALLEST: dict = {}

    def __init__(self, past: int = 10, horizon: int = 10) -> None:
        super().__init__()
        self.past, self.horizon, self.config = past, horizon, {"past": past, "horizon": horizon}
        self.mix = torch.nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return self.mix(past.transpose(1, 2)).transpose(1, 2)


@pytest.mark.usefixtures("plain_cpu")
def test_a_new_model_is_compared_with_itself_taken_plainly(monkeypatch):
    monkeypatch.setitem(MODELS, "doubled", Doubled)
    monkeypatch.setattr(steps, "STEPS", 1)
    monkeypatch.setattr(steps, "ROUNDS", 1)
    monkeypatch.setattr(training_speed, "peak_memory", lambda *_: math.nan)
    table = training_speed.compare("doubled", Doubled(), 1, CPU)
    assert [line["row"] for line in table] == ["vidlib.Doubled", "vidlib.Doubled, as it is trained"]


def test_flops_are_counted_forwards_and_backwards():
    step = training_speed.Step(training_speed.ROWS["convlstm"][0], tiny(hidden=[2], features=4), 1, CPU)
    # 20 steps of a 3×3 convolution to 8 gates on 16×16 maps: from 4 + 2 channels in the encoder, from 2 after it
    encoder, forecaster = (2 * 9 * channels * 8 * 256 * 10 for channels in (6, 2))
    stem, paint = 2 * 9 * 16 * 4 * 256 * 10, 2 * (2 * 4 + 9 * 4 * 16) * 256 * 10
    forward = stem + encoder + forecaster + paint
    # backwards: the gradient of the weights and of the input, the latter not for what no weight lies under
    assert 2 * forward < training_speed.step_flops(step) <= 3 * forward


def test_tables_go_between_the_marks_of_a_page_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    results.write(page, "new", "<!-- a -->", "<!-- b -->")
    assert page.read_text() == "before\n<!-- a -->\nnew\n<!-- b -->\nafter\n"
    with pytest.raises(ValueError, match="has no lines '<!-- c -->' and '<!-- b -->'"):
        results.write(page, "new", "<!-- c -->", "<!-- b -->")


def test_a_table_of_results_has_the_columns_of_all_its_models_and_no_test_clips_are_mixed(monkeypatch, tmp_path):
    def card(test: str, **more: float) -> dict:
        figures = {"mse": 60.125, "mae": 170.0, "sharpness": 0.61251}
        told = {"parameters": 1234, "clips_seen": 56789, "hardware": "a CPU", "duration": "an hour"}
        scores = {"model": figures | more, "copy-last": figures, "all-black": figures}
        return told | {"test": test, "metrics": scores, "weights_sha256": "0123456789abcdef", "scored_with": "score"}

    cards = {"one": card("these clips", lpips=0.5), "two": card("other clips")}
    cards |= {"three": card("these clips", lpips=0.25, psnr=20.0)}
    monkeypatch.setattr(results, "pretrained_names", lambda: list(cards))
    monkeypatch.setattr(results, "model_card", cards.get)
    floor = {"ideal-observer": {"overall": {"mse": 8.25, "sharpness": 0.9, "identity": 0.8}, "data": "these clips"}}
    (tmp_path / "floor.json").write_text(json.dumps(floor))
    monkeypatch.setattr(results, "FLOOR", tmp_path / "floor.json")
    first, second = results.table().split("\n\n| model")
    assert first.splitlines()[0] == "| model | MSE ↓ | MAE ↓ | LPIPS ↓ | sharpness |"
    assert "| one | 60.12 | 170.00 | 0.5000 | 0.613 |" in first
    assert "| three | 60.12 | 170.00 | 0.2500 | 0.613 |" in first
    assert "| copy-last | 60.12 |" in first and "| all-black | 60.12 |" in first
    assert "| ideal-observer | 8.25 | – | – | 0.900 |" in first and "ideal" not in second
    assert "[three](vidlib/pretrained/three.md): 1,234 parameters, 56,789 clips seen, a CPU, an hour" in first
    assert "two" not in first and "Scored on other clips" in second and TITLES["lpips"][0] not in second
    assert "all-black page" not in first  # a model that is as good as an empty page is not behind it


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"mse": 50.0, "ssim": 0.8}, None),
        ({"mse": 50.0, "ssim": 0.7}, "By SSIM an all-black page, 0.7500, is ahead of convlstm 0.7000:"),
        ({"mse": 200.0, "ssim": 0.8}, "By MSE an all-black page, 100.00, is ahead of convlstm 200.00:"),
    ],
)
def test_where_an_empty_page_is_ahead_the_page_says_so(model, sentence):
    empty = {"mse": 100.0, "ssim": 0.75, "sharpness": 0.0}
    lines = results._worse_than_nothing({"convlstm": model | {"sharpness": 0.5}}, {"all-black": empty})
    assert bool(lines) == (sentence is not None)
    assert not sentence or sentence in "".join(lines)


def test_the_table_of_results_fits_the_column_of_a_page():
    """Of a repository's page, 830 pixels wide: some 8 for a letter and 26 around each cell."""
    rows = [line.strip("|").split("|") for line in results.table().splitlines() if line.startswith("|")]
    widths = [max(len(cell.strip()) for cell in column) for column in zip(*rows, strict=True)]
    assert sum(8 * width + 26 for width in widths) <= 830


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


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_table_survives_a_terminal_without_arrows(encoding):
    command = [sys.executable, "-m", "benchmarks.results"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120)
    assert run.returncode == 0, run.stderr[-500:]
    assert b"| MSE ? | MAE ? |" in run.stdout


def a_page(folder: Path) -> Path:
    page = folder / "page.md"
    blocks = ("\n".join((bench.marks(name)[0], f"old {name}", bench.marks(name)[1])) for name in bench.BENCHES)
    page.write_text("before\n" + "\nbetween\n".join(blocks) + "\nafter\n", encoding="utf-8")
    return page


def test_what_was_measured_is_shown_as_it_comes_and_written_at_the_end(tmp_path, monkeypatch, capsys):
    page = a_page(tmp_path)
    for name, part in bench.BENCHES.items():
        monkeypatch.setattr(part, "main", lambda name=name: print(f"figures of {name}"))
    bench.main(page)
    shown, text = capsys.readouterr().out, page.read_text(encoding="utf-8")
    assert "old" not in text and text.startswith("before\n") and text.endswith("\nafter\n")
    for name, part in bench.BENCHES.items():
        start, end = bench.marks(name)
        block = text.partition(start)[2].partition(end)[0].strip()
        assert block in shown and block.startswith(f"**{part.TITLE}**\n\nMeasured on ")
        assert block.endswith(f"units for bf16.\n\nfigures of {name}")


def test_one_table_is_measured_again_and_the_others_stay(tmp_path, monkeypatch):
    page = a_page(tmp_path)
    monkeypatch.setattr(bench.training_speed, "main", lambda: print("new figures"))
    for part in (bench.data_speed, bench.notebook_cost):
        monkeypatch.setattr(part, "main", lambda: pytest.fail("measured for nothing"))
    bench.main(page, ["training_speed"])
    text = page.read_text(encoding="utf-8")
    assert "new figures" in text and "old data_speed" in text and "old notebook_cost" in text
    assert "old training_speed" not in text


def test_what_can_not_be_measured_or_written_is_named_before_anything_is_measured(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("no marks", encoding="utf-8")
    monkeypatch.setattr(bench.data_speed, "main", lambda: pytest.fail("measured for nothing"))
    with pytest.raises(ValueError, match="has no lines"):
        bench.main(tmp_path / "page.md")
    with pytest.raises(ValueError, match="benchmark is 'speed', did you mean 'data_speed'"):
        bench.main(None, ["data_speed", "speed"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak of a child")
def test_a_notebooks_peak_is_its_kernels_and_on_binder_it_has_binders_settings(tmp_path, monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)  # Dask sets it for its workers
    source = "import os\nassert os.environ['MALLOC_TRIM_THRESHOLD_']\nwhole = bytearray(b'x' * 300 * 2**20)"
    cells = [new_code_cell("SEED: int = 0  # of nothing", metadata={"tags": ["parameters"]}), new_code_cell(source)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "large.ipynb")
    seconds, peak = notebook_cost.cost(str(tmp_path / "large.ipynb"), {}, [str(notebook_cost.BINDER)])
    assert seconds > 0 and 0.55 < peak < 1.2  # GiB: the bytes and the array that is made of them
    with pytest.raises(RuntimeError, match="large.ipynb failed: .*MALLOC_TRIM_THRESHOLD_"):
        notebook_cost.cost(str(tmp_path / "large.ipynb"), {})
