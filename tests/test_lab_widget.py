"""The lab in a notebook: what the kernel answers is what the package computes; JupyterLab shows and plays it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import anywidget
import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from vidlib.baselines import CopyLast
from vidlib.flights import corner_chances, expected_frames, flights
from vidlib.lab import lab
from vidlib.lab.cases import read_case
from vidlib.lab.widget import SCRIPTS, Engine, script, silenced
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.video import to_float
from vidlib.weights import save_model

ROOT = Path(__file__).resolve().parent.parent


def small(seed: int = 0) -> VideoTransformer:
    torch.manual_seed(seed)
    return VideoTransformer(**VideoTransformer.SMALLEST, layers=2).eval()


def ask(engine: Engine, kind: str, *arrays: np.ndarray, **facts) -> np.ndarray:
    """What the engine sends, as floats."""
    message, buffers = engine.answer({"id": "7", "kind": kind, **facts}, [memoryview(a.tobytes()) for a in arrays])
    assert message == {"id": "7"}, message
    return np.frombuffer(buffers[0], np.float32)


def sentence(engine: Engine, kind: str, *arrays: np.ndarray, **facts) -> str:
    message, buffers = engine.answer({"id": "7", "kind": kind, **facts}, [a.tobytes() for a in arrays])
    assert not buffers and message["id"] == "7"
    return message["error"]


@pytest.fixture
def clip() -> torch.Tensor:
    return to_float(read_case("head-on").clip(20))


# --- the engine ---


def test_a_prediction_is_the_models_own(clip):
    model = ConvLSTM(**ConvLSTM.SMALLEST).train()
    engine = Engine({"mine": model, "copy": CopyLast(past=4, horizon=3)}, observer=True)
    found = ask(engine, "predict", clip[0, :10].numpy(), name="mine", off=[])
    with torch.no_grad():
        np.testing.assert_array_equal(found.reshape(1, 10, 1, 64, 64), model.eval()(clip[:, :10]))
    short = ask(engine, "predict", clip[0, 6:10].numpy(), name="copy", off=[])
    np.testing.assert_array_equal(short.reshape(3, 64, 64), clip[0, 9].expand(3, 64, 64))
    facts = engine.facts()
    assert [(m["name"], m["past"], m["horizon"]) for m in facts["models"]] == [("mine", 10, 10), ("copy", 4, 3)]
    json.dumps(facts)


def test_a_model_in_training_stays_so(clip):
    model = ConvLSTM(**ConvLSTM.SMALLEST).train()
    ask(Engine({"mine": model}, True), "predict", clip[0, :10].numpy(), name="mine", off=[])
    assert model.training


def test_the_observer_is_the_packages(clip):
    case = read_case("head-on")
    paths = case.trajectories(20).positions[0]
    rule = {"speed": 3.6, "walls": "clamp", "corners": "truncate"}
    engine = Engine({"mine": small()}, True)
    found = ask(engine, "ideal", case.images, paths=paths.tolist(), rule=rule, first=10, count=10)
    chances = np.stack([corner_chances(flights(path[:10]), 10, 20) for path in paths])
    np.testing.assert_allclose(found.reshape(10, 64, 64), expected_frames(case.images, chances), atol=1e-6)
    future = [[*path[:10], *([[0, 0]] * 10)] for path in paths.tolist()]  # what comes is not looked at
    other = ask(engine, "ideal", case.images, paths=future, rule=rule, first=10, count=10)
    np.testing.assert_array_equal(other, found)
    said = sentence(engine, "ideal", case.images, paths=paths.tolist(), rule=rule | {"speed": 5}, first=10, count=10)
    assert "knows the official rule alone" in said


def test_digits_are_named():
    case = read_case("three")
    message, _ = Engine({}, True).answer({"id": 1, "kind": "name"}, [(case.images / 255).astype(np.float32).tobytes()])
    assert message["names"] == case.labels.tolist()


def test_attention_is_that_of_the_patch_and_the_time(clip):
    model = small()
    engine = Engine({"conv": ConvLSTM(**ConvLSTM.SMALLEST), "mine": model}, True)
    sizes = {"grid": 8, "past": 10, "horizon": 10, "layers": 2, "heads": 2}
    assert engine.facts()["attention"] == {"name": "mine", **sizes}
    pixels = read_case("head-on").clip(10).numpy()
    found = ask(engine, "attend", pixels, name="mine", time=3, patch=[2, 5], off=[]).reshape(2, 2, 74)
    with torch.no_grad():
        _, layers = model(clip[:, :10], return_attention=True)
    for layer in range(2):
        np.testing.assert_allclose(found[layer, :, :64], layers[layer]["space"][0, 3, :, 21], atol=1e-6)
        np.testing.assert_allclose(found[layer, :, 64:], layers[layer]["time"][0, 21, :, 3], atol=1e-6)


def test_a_silent_head_adds_nothing_and_comes_back(clip):
    model = small()
    engine = Engine({"mine": model}, True)
    past = clip[0, :10].numpy()
    whole = ask(engine, "predict", past, name="mine", off=[])
    part = ask(engine, "predict", past, name="mine", off=["1:space:0"])
    assert np.abs(whole - part).max() > 1e-4
    np.testing.assert_array_equal(ask(engine, "predict", past, name="mine", off=[]), whole)
    with torch.no_grad():  # the same by taking its rows out of the layer that mixes the heads
        model.encoder[1][1].attention.out.weight[:, :16] = 0
        np.testing.assert_allclose(model(clip[:, :10])[0].flatten(), part, atol=1e-6)
        with silenced(model, []):
            assert not model.encoder[1][1].attention.out._forward_pre_hooks


class Broken(nn.Module):
    past = horizon = 10

    def forward(self, past):
        raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB.")


def test_what_goes_wrong_is_a_sentence(clip):
    engine = Engine({"mine": Broken(), "short": CopyLast(horizon=10)}, True)
    past = clip[0, :10].numpy()
    assert sentence(engine, "predict", past, name="mine", off=[]) == "RuntimeError: Tried to allocate 2 GiB."
    assert "KeyError" in sentence(engine, "predict", past, name="gone", off=[])
    assert "KeyError" in sentence(engine, "sing")
    engine.models["short"].horizon = 9
    engine.models["short"].forward = lambda past: past
    assert "expected (1, 9, 1, 64, 64)" in sentence(engine, "predict", past, name="short", off=[])


# --- the widget ---


def test_the_learners_own_model_stands_in_the_lab(tmp_path):
    path = save_model(ConvLSTM(**ConvLSTM.SMALLEST), tmp_path / "c.safetensors")
    widget = lab({"mine": small(), "saved": str(path)}, case="twins", observer=False)
    assert isinstance(widget, anywidget.AnyWidget)
    assert [model["title"] for model in widget.facts["models"]] == ["mine", "saved"]
    assert not widget.facts["observer"] and widget.case == read_case("twins").text
    sent = []
    widget.send = lambda message, buffers: sent.append((message, buffers))
    widget._handle_custom_msg({"id": "1", "kind": "predict", "name": "mine", "off": []}, [bytes(4 * 40960)])
    assert sent[0][0] == {"id": "1"} and len(sent[0][1][0]) == 4 * 40960


def test_without_a_kernel_it_is_a_picture():
    data, _ = lab([], case="corner")._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    text = data["text/html"]
    assert "<img" in text and 'alt="Ten past frames of a 6 and a 1, and the next ten: truth."' in text
    assert text.endswith("<p>A still picture: run this cell in Jupyter to play with the what-if lab.</p>")


def test_without_anywidget_it_is_a_figure(monkeypatch):
    from vidlib.lab import widget

    widget._widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    figure = lab([])
    assert figure.axes or figure.images
    widget._widget_class.cache_clear()


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("convlstm", "models is a str, expected names such as"),
        (small(), "models is a VideoTransformer, expected names"),
        ([3], "a name in models is 3, expected a text"),
        (["convlsm"], "convlsm"),
        ({"mine": nn.Linear(1, 1)}, "expected one with whole numbers past and horizon"),
        ({"mine": 3}, "model is a int, expected a torch.nn.Module"),
        ({"mine": CopyLast(past=11)}, "mine reads 11 frames, expected at most the 10 that are seen."),
    ],
    ids=str,
)
def test_what_cannot_stand_in_the_lab_is_a_sentence(models, said):
    with pytest.raises(ValueError, match=said):
        lab(models)


def test_the_joined_file_is_one_module(tmp_path):
    text = script()
    assert 'from "./' not in text and text.count("export default") == 1 and "\nexport " in text
    files = {path.stem for path in (ROOT / "vidlib" / "lab").glob("*.js")}
    assert set(SCRIPTS) == files - {"page", "worker", "observer"}
    if shutil.which("node") is None:
        pytest.skip("node reads the JavaScript: install Node.js")
    (tmp_path / "joined.mjs").write_text(text, encoding="utf-8")
    check = "import('./joined.mjs').then((lab) => console.log(typeof lab.default.render))"
    run = subprocess.run(["node", "-e", check], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "function", run.stderr[-1000:]


# --- JupyterLab ---


@contextmanager
def jupyter(folder: Path):
    """JupyterLab on a folder, with settings of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder.parent / "settings"
    quiet = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=",
        "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(folder.parent / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTERLAB_WORKSPACES_DIR": str(folder.parent / "workspaces"),
    }  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    with (folder.parent / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                urlopen(f"{address}/api", timeout=5).close()
                break
            except URLError:
                assert server.poll() is None, (folder.parent / "log").read_text()[-2000:]
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def test_jupyterlab_plays_it(tmp_path, browser):
    pytest.importorskip("jupyterlab", reason="the notebook's own front end")
    source = (
        "from vidlib.lab import lab\nfrom vidlib.models.vit import VideoTransformer\nimport torch\n"
        "torch.manual_seed(0)\nlab({'mine': VideoTransformer(**VideoTransformer.SMALLEST, layers=2)}, case='head-on')"
    )
    (tmp_path / "work").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "work" / "a.ipynb")
    lab_there = "document.querySelector('.lab')?.lab"
    with jupyter(tmp_path / "work") as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{address}/lab/tree/a.ipynb")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext", timeout=120_000)
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready")
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(f"{lab_there}?.predictions.settled", timeout=120_000)
        answers = page.evaluate(
            f"[...{lab_there}.predictions.answers.values()]"
            ".map(({ name, count, error, identity, mse }) => [name, count, error, identity.length, mse])"
        )
        torch.manual_seed(0)
        model = VideoTransformer(**VideoTransformer.SMALLEST, layers=2).eval()
        clip = to_float(read_case("head-on").clip(20))
        with torch.no_grad():
            expected = (model(clip[:, :10]) - clip[:, 10:]).square().sum((2, 3, 4))[0]
        assert [answer[:4] for answer in answers] == [["mine", 10, "", 10], ["ideal observer", 10, "", 10]]
        np.testing.assert_allclose(answers[0][4], expected, rtol=1e-4)
        page.locator(".lab-ring").first.focus()
        for key in ("Shift+ArrowRight", "ArrowDown", "d", "d", "."):  # JupyterLab would take some of them: dd deletes
            page.keyboard.press(key)
        page.locator(".lab-attention summary").click()
        page.wait_for_function(f"{lab_there}.attention.seen && {lab_there}.predictions.settled", timeout=60_000)
        now = page.evaluate(
            "({ setting, predictions }) => [setting.digits[0].x, setting.digits[0].y,"
            " predictions.answers.get('mine').version]",
            page.evaluate_handle(lab_there),
        )
        assert now == [19, 18.5, page.evaluate(f"{lab_there}.predictions.version")]
        assert page.evaluate(f"{lab_there}.attention.seen.length") == 2 * 2 * 74
        assert page.locator(".lab-layer").count() == 2
        page.select_option(".lab-attention select", "1")
        before = page.evaluate(f"{lab_there}.predictions.answers.get('mine').mse")
        page.locator(".lab-layer button").first.click()
        page.wait_for_function(f"{lab_there}.predictions.settled && {lab_there}.attention.silent.size", timeout=60_000)
        assert page.evaluate(f"{lab_there}.predictions.answers.get('mine').mse") != before
        assert faults == []
        page.close()
