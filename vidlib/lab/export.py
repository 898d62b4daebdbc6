"""The lab as a folder of web pages: the shipped models as ONNX files, run in the visitor's browser.

``python -m vidlib.lab.export FOLDER`` writes all that the page needs, so that any static host can serve it and no
other host is asked for anything. The runtime, onnxruntime-web, is fetched by npm when the folder is made.

Weights are stored in half precision and widened when the page loads them: they are shipped as bfloat16, whose 8 bits of
significand fit into float16's 11, so that next to nothing is lost. The graph computes in float32.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidlib.backbones import DIGIT_NETWORK, load_digit_network
from vidlib.checks import reason
from vidlib.digits import SIZE
from vidlib.files import atomic_write, sha256, user_path
from vidlib.lab.cases import FOLDER, for_the_front_end, read_case
from vidlib.lab.still import still
from vidlib.viz.show import png
from vidlib.weights import load_pretrained, model_card

MODELS = {"convlstm": "ConvLSTM", "video-transformer": "Transformer"}  # name of a shipped model: its title
READER = "digit-network"
RUNTIME = "1.30.0"  # of onnxruntime-web
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_TRIED = {  # SHA-256 of what the page takes of it
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_OFF = 1e-3  # of a pixel's brightness, between a model and its file
_LOST = 1e-7  # what a weight may lose: half of float16's smallest number, and no more


class RuntimeUnavailable(RuntimeError):
    """npm is not here, or could not fetch the runtime."""


def write_onnx(model: nn.Module, example: Tensor, path: Path, *, batch: bool = False) -> Path:
    """Write a model as ONNX, its weights in half precision.

    Args:
        model: in evaluation mode, on the CPU.
        example: what it takes.
        path: where to.
        batch: whether the first axis may have any length.

    Raises:
        RuntimeError: the file does not predict what the model predicts, to a thousandth.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    shapes = ({0: torch.export.Dim.DYNAMIC},) if batch else None
    with torch.no_grad():
        program = torch.onnx.export(
            model, (example,), dynamo=True, external_data=False, verbose=False, dynamic_shapes=shapes
        )
    proto = program.model_proto
    for weight in list(proto.graph.initializer):
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or abs(values - values.astype("float16")).max(initial=0) > _LOST:
            continue  # what was not trained, such as a table of cosines, keeps its bits
        half = numpy_helper.from_array(values.astype("float16"), f"{weight.name}.half")
        proto.graph.initializer.remove(weight)
        proto.graph.initializer.append(half)
        proto.graph.node.insert(0, helper.make_node("Cast", [half.name], [weight.name], to=TensorProto.FLOAT))
    _forget_places(proto)
    onnx.checker.check_model(proto)
    seen = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: seen.numpy()})
    with torch.no_grad():
        off = float((torch.from_numpy(found) - model(seen)).abs().max())
    if not off <= _OFF:
        raise RuntimeError(f"{path.name} predicts up to {off:.2g} beside its model, expected at most {_OFF}.")
    with atomic_write(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    return path


def _forget_places(proto: Any) -> None:
    """Take out where in which file each node was written: a third of a small model, and paths of this machine."""
    del proto.metadata_props[:]
    for node in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        node.doc_string = ""
        del node.metadata_props[:]
    del proto.graph.metadata_props[:]
    for function in proto.functions:
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def write_page(folder: str | Path, *, say: Callable[[str], None] = print) -> Path:
    """Write the lab's page with all that it needs. What an earlier call has left there and still holds is kept.

    Args:
        folder: where to; made where it is not there.
        say: told what is done, a line at a time.

    Raises:
        RuntimeUnavailable: npm is not here, or could not fetch the runtime.
        OSError: a file could not be written.
    """
    folder = user_path(folder)
    (folder / "models").mkdir(parents=True, exist_ok=True)
    fetch_runtime(folder / "ort", say=say)
    frames = torch.zeros(1, 10, 1, 64, 64)
    models = []
    for name, title in MODELS.items():
        file = folder / "models" / f"{name}.onnx"
        model = load_pretrained(name)
        _once(file, model_card(name)["weights_sha256"], lambda m=model, f=file: write_onnx(m, frames, f), say)
        models.append(_entry(folder, name, title, file) | {"past": model.past, "horizon": model.horizon})
    file = folder / "models" / f"{READER}.onnx"
    some = torch.zeros(2, 1, SIZE, SIZE)
    _once(file, sha256(DIGIT_NETWORK), lambda: write_onnx(load_digit_network(), some, file, batch=True), say)
    reader = _entry(folder, READER, "the digit network", file)
    wasm = {"file": f"ort/{WASM}", "bytes": (folder / "ort" / WASM).stat().st_size}
    facts = for_the_front_end() | {
        "models": models, "reader": reader, "runtime": {"script": f"ort/{SCRIPT}", "wasm": wasm},
    }  # fmt: skip
    with atomic_write(folder / "lab.json") as temporary:
        temporary.write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    for script in (*FOLDER.glob("*.js"), FOLDER / "lab.css"):
        if script.name != "widget.js":
            shutil.copyfile(script, folder / script.name)
    shutil.copyfile(FOLDER / "page.html", folder / "index.html")
    figure, _ = still(read_case(), {title: load_pretrained(name) for name, title in MODELS.items()})
    with atomic_write(folder / "still.png") as temporary:
        temporary.write_bytes(png(figure))
    return folder


def _entry(folder: Path, name: str, title: str, file: Path) -> dict[str, Any]:
    return {"name": name, "title": title, "file": file.relative_to(folder).as_posix(), "bytes": file.stat().st_size}


def _once(file: Path, weights: str, write: Callable[[], Path], say: Callable[[str], None]) -> None:
    """Write a model's file, unless it has been written from these weights by this version of the code and of torch."""
    made_of = hashlib.sha256(f"{weights} {torch.__version__} {sha256(__file__)}".encode()).hexdigest()
    mark = file.with_suffix(".made-of")
    if file.exists() and mark.exists() and mark.read_text(encoding="utf-8") == f"{made_of} {sha256(file)}":
        return
    say(f"Writing {file.name} ...")
    write()
    mark.write_text(f"{made_of} {sha256(file)}", encoding="utf-8")


def fetch_runtime(folder: Path, *, say: Callable[[str], None] = print) -> None:
    """Put onnxruntime-web's two files into a folder, by npm, unless they are there.

    Raises:
        RuntimeUnavailable: npm is not here, could not fetch it, or brought something else.
    """
    if all((folder / name).exists() and sha256(folder / name) == known for name, known in _TRIED.items()):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeUnavailable("npm is not here, and it fetches what runs the models in a page: install Node.js.")
    say(f"Fetching onnxruntime-web {RUNTIME} by npm ...")
    with tempfile.TemporaryDirectory() as place:
        try:
            command = [npm, "pack", f"onnxruntime-web@{RUNTIME}", "--silent"]
            subprocess.run(command, cwd=place, check=True, capture_output=True, text=True, timeout=300)
            (archive,) = Path(place).glob("*.tgz")
            content = archive.read_bytes()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = reason(ValueError(getattr(error, "stderr", None) or str(error)))
            raise RuntimeUnavailable(f"npm could not fetch onnxruntime-web {RUNTIME} ({why}).") from error
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as packed:
        for name, known in _TRIED.items():
            data = packed.extractfile(f"package/dist/{name}").read()
            if hashlib.sha256(data).hexdigest() != known:
                raise RuntimeUnavailable(f"{name} of onnxruntime-web {RUNTIME} is not the file that was tried.")
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; without npm say so and leave nothing, which is no fault of a site without the lab."""
    parser = argparse.ArgumentParser(prog="python -m vidlib.lab.export", description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    options = parser.parse_args(arguments)
    try:
        write_page(options.folder)
    except RuntimeUnavailable as error:
        shutil.rmtree(user_path(options.folder), ignore_errors=True)
        print(f"The pages are built without the what-if lab: {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
