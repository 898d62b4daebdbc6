"""Weights on disk: exact round trips, nothing lost on a full disk, and a sentence for every damaged file."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vidlib import weights
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.tensors import content_hash

SCORES = {"mse": 60.5, "mae": 120.0, "ssim": 0.8}
CARD = {
    "recipe": "Adam, OneCycleLR",
    "data": "10,000 fresh clips an epoch",
    "digits_sha256": "0" * 64,
    "clips_seen": 700_000,
    "epochs": 70,
    "test": "10,000 clips of the MNIST test digits",
    "metrics": {"model": SCORES, "copy-last": {"mse": 287.0}, "all-black": {"mse": 174.0}},
    "hardware": "2 CPU cores",
    "duration": "8 h",
    "date": "2025-01-01",
    "trained_with": "python -m vidlib train convlstm",
    "scored_with": "python -m vidlib score convlstm",
}
TINY_CONVLSTM = {"size": 8, "hidden": [3, 2], "kernel": 3, "horizon": 4, "past": 3}
TINY_TRANSFORMER = {"size": 8, "patch": 4, "dim": 8, "layers": 1, "heads": 2, "decoder": 6, "past": 3, "horizon": 2}


class Tiny(nn.Module):
    """A model with an integer buffer, tied weights and a non-contiguous parameter: what makes saving hard."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}, expected at least 1.")
        self.config = {"width": width}
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.turned = nn.Parameter(torch.randn(2, width).T)
        self.register_buffer("steps", torch.tensor(2**53 + 1))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setitem(weights.MODELS, "tiny", Tiny)
    torch.manual_seed(0)
    return Tiny()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the shipped models."""
    folder = tmp_path / "pretrained"
    monkeypatch.setattr(weights, "PRETRAINED", folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


# Round trips


@pytest.mark.parametrize(("kind", "config"), [(ConvLSTM, TINY_CONVLSTM), (VideoTransformer, TINY_TRANSFORMER)])
def test_float32_round_trip_gives_the_same_model(tmp_path, kind, config):
    model = kind(**config).train()
    path = weights.save_model(model, tmp_path / "m.safetensors")
    loaded = weights.load_model(path)
    assert type(loaded) is kind and loaded.config == model.config and not loaded.training
    assert model.training  # saving does not touch the model
    past = torch.rand(2, 3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(past), model.eval()(past))


def test_float32_round_trip_is_exact_for_tied_and_turned_weights_and_integers(tiny, tmp_path):
    loaded = weights.load_model(weights.save_model(tiny, tmp_path / "m.safetensors"))
    assert loaded.state_dict().keys() == tiny.state_dict().keys()
    for key, value in tiny.state_dict().items():
        assert loaded.state_dict()[key].dtype == value.dtype and torch.equal(loaded.state_dict()[key], value)


def test_bfloat16_is_half_the_size_and_loads_as_the_rounded_float32(tmp_path):
    model = ConvLSTM(**TINY_CONVLSTM)
    whole = weights.save_model(model, tmp_path / "whole.safetensors")
    half = weights.save_model(model, tmp_path / "half.safetensors", dtype=torch.bfloat16)
    loaded = weights.load_model(half)
    assert all(value.dtype == torch.bfloat16 for value in load_file(half).values())
    for key, value in model.state_dict().items():
        assert loaded.state_dict()[key].dtype == torch.float32
        assert torch.equal(loaded.state_dict()[key], value.bfloat16().float())
    numbers = sum(value.numel() for value in model.state_dict().values())
    assert abs(whole.stat().st_size - half.stat().st_size - 2 * numbers) < 64  # headers may differ by some digits
    again = weights.save_model(loaded, tmp_path / "again.safetensors", dtype=torch.bfloat16)
    assert weights.sha256(again) == weights.sha256(half)  # rounding twice is rounding once


def test_the_same_model_gives_the_same_bytes(tiny, tmp_path):
    a = weights.save_model(tiny, tmp_path / "a.safetensors", card={"z": 1, "b": 2})
    b = weights.save_model(tiny, tmp_path / "b.safetensors", card={"z": 1, "b": 2})
    assert a.read_bytes() == b.read_bytes()


def test_loading_leaves_the_random_state_alone(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    weights.load_model(path)
    assert torch.equal(torch.rand(4), expected)


def test_card_is_read_back_with_what_is_filled_in(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "m.safetensors", card={"recipe": "none", "epochs": 3})
    card = weights.model_card(path)
    assert card["recipe"] == "none" and card["epochs"] == 3
    assert card["architecture"] == "tiny" and card["torch"] == torch.__version__
    assert card["parameters"] == 9 + 3 + 3 + 6  # the tied weight counts once
    assert card["weights_sha256"] == weights.sha256(path)


def test_sha256_of_a_known_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert weights.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# What cannot be saved


def test_saving_refuses_other_models_and_dtypes(tiny, tmp_path):
    expected = "expected one of convlstm, flow-convlstm, video-transformer, tiny"
    with pytest.raises(ValueError, match=f"model is a Linear, {expected}"):
        weights.save_model(nn.Linear(1, 1), tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="dtype is torch.float16, expected"):
        weights.save_model(tiny, tmp_path / "m.safetensors", dtype=torch.float16)
    with pytest.raises(ValueError, match="expected as JSON values, but .*Path"):
        weights.save_model(tiny, tmp_path / "m.safetensors", card={"data": tmp_path})
    tiny.config = None
    with pytest.raises(ValueError, match="Tiny has no dict called config"):
        weights.save_model(tiny, tmp_path / "m.safetensors")
    assert files(tmp_path) == []


@pytest.mark.parametrize("where", ["write_bytes", "replace"])
def test_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tiny, tmp_path, monkeypatch, where):
    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    before = path.read_bytes()

    def full(self: Path, argument: bytes | Path) -> None:
        if where == "write_bytes":
            with self.open("wb") as file:
                file.write(argument[:10])  # a disk fills up in the middle
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, where, full)
    with pytest.raises(OSError, match=r"m\.safetensors could not be written \(No space left on device\)") as error:
        weights.save_model(Tiny(2), path)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert path.read_bytes() == before and files(tmp_path) == ["m.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("writer", ["save_model", "torch.save"])
def test_a_file_that_the_system_really_cuts_off(tiny, tmp_path, writer):
    import resource

    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises((OSError, RuntimeError), match="could not be written .* and is as it was before") as error:
            if writer == "save_model":
                weights.save_model(Tiny(100), path)
            else:
                with weights.atomic_write(path) as temporary:
                    torch.save(torch.zeros(100_000), temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before and files(tmp_path) == ["m.safetensors"]


def test_atomic_write_replaces_only_on_success(tmp_path):
    target = tmp_path / "new folder" / "clip.gif"
    with weights.atomic_write(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".gif" and temporary != target
        temporary.write_text("first")
        assert not target.exists()
    assert target.read_text() == "first"
    with pytest.raises(KeyboardInterrupt), weights.atomic_write(target) as temporary:
        temporary.write_text("second")
        raise KeyboardInterrupt
    assert target.read_text() == "first" and files(target.parent) == ["clip.gif"]


def test_atomic_write_passes_other_errors_on_unchanged(tmp_path):
    with pytest.raises(ValueError, match="^my own$"), weights.atomic_write(tmp_path / "a"):
        raise ValueError("my own")
    with pytest.raises(OSError, match="a could not be written"), weights.atomic_write(tmp_path / "a"):
        pass  # nothing was written to the temporary path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_new_file_has_ordinary_permissions(tiny, tmp_path):
    (tmp_path / "ordinary").touch()
    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


# Files that cannot be loaded


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.safetensors is not there"):
        weights.load_model(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="is not there"):
        weights.load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_truncated_file(tiny, tmp_path, kept):
    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        weights.load_model(path)


def test_one_changed_byte_of_the_weights(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    flip(path, -5)
    with pytest.raises(ValueError, match="was changed or damaged"):
        weights.load_model(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "m.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no safetensors file"):
        weights.load_model(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no model header of vidlib"):
        weights.load_model(path)
    save_file({"a": torch.zeros(2)}, path, {"vidlib": "[]"})
    with pytest.raises(ValueError, match="no model header of vidlib"):
        weights.load_model(path)


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: object) -> None:
    """Change the header, or the tensors together with their hash: a well-formed file that says something else."""
    header, found = weights._read(path)
    tensors = found if tensors is None else tensors
    header = {**header, **changes}
    save_file(tensors, path, {"vidlib": json.dumps(header | {"sha256": content_hash([tensors, header])})})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"architecture": "simvp"}, "architecture 'simvp', expected one of convlstm, flow-convlstm, video-tr"),
        ({"config": {"depth": 3}}, "config that tiny does not take .*depth"),
        ({"config": {"width": 0}}, r"config that tiny does not take \(width is 0"),
        ({"config": {"width": 4}}, r"turned has shape \(3, 2\), expected \(4, 2\)"),
        ({"config": [1]}, "has no config in its header"),
        ({"format": 99}, "has format 99, expected 2: update the package"),
        ({"tensors": {"turned": torch.zeros(3, 2)}}, "steps is missing"),
        ({"tensors": {**Tiny().state_dict(), "extra": torch.zeros(1)}}, "extra is not part of the model"),
    ],
)
def test_a_file_that_does_not_fit(tiny, tmp_path, change, sentence):
    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    if "tensors" in change:
        change = {"tensors": {key: value.clone().contiguous() for key, value in change["tensors"].items()}}
    rewrite(path, **change)
    with pytest.raises(ValueError, match=sentence) as error:
        weights.load_model(path)
    assert "\n" not in str(error.value)


# Shipped models


def test_publish_then_load_by_name(tiny, shelf):
    path = weights.publish(tiny, "tiny", CARD)
    assert files(shelf) == ["index.json", "tiny.md", "tiny.safetensors"]
    assert weights.pretrained_names() == ["tiny"]
    loaded = weights.load_pretrained("tiny")
    assert torch.equal(loaded.first.bias, tiny.first.bias.bfloat16().float())
    card = weights.model_card("tiny")
    assert {key: card[key] for key in CARD} == CARD and card["weights_sha256"] == weights.sha256(path)


def test_published_card_page_says_everything(tiny, shelf):
    weights.publish(tiny, "tiny", {**CARD, "seed": 7})
    page = (shelf / "tiny.md").read_text(encoding="utf-8")
    for title in (*weights.CARD.values(), *weights._FILLED_IN.values(), "Seed"):
        assert f"**{title}**: " in page or f"## {title}" in page
    assert "700,000" in page and weights.sha256(shelf / "tiny.safetensors") in page
    assert page.endswith(
        "| model | mse | mae | ssim |\n| --- | --- | --- | --- |\n| tiny | 60.5 | 120 | 0.8 |\n"
        "| copy-last | 287 | – | – |\n| all-black | 174 | – | – |\n"
    )


def test_publish_a_saved_file_beside_another_model(tiny, shelf, tmp_path):
    weights.publish(tiny, "first", CARD)
    path = weights.save_model(Tiny(2), tmp_path / "m.safetensors")
    weights.publish(path, "second", CARD, dtype=torch.float32)
    assert weights.pretrained_names() == ["first", "second"]
    assert weights.load_pretrained("second").config == {"width": 2}


def test_publish_refuses_an_incomplete_card(tiny, shelf):
    without = {key: value for key, value in CARD.items() if key not in ("digits_sha256", "date")}
    with pytest.raises(ValueError, match="the card lacks digits_sha256, date: "):
        weights.publish(tiny, "tiny", without)
    with pytest.raises(ValueError, match="metrics lack all-black"):
        weights.publish(tiny, "tiny", {**CARD, "metrics": {"model": SCORES, "copy-last": SCORES}})
    with pytest.raises(ValueError, match="metrics are expected as"):
        weights.publish(tiny, "tiny", {**CARD, "metrics": SCORES})
    assert not shelf.exists()


@pytest.mark.parametrize("name", ["", "../tiny", "Tiny", "tiny.md", "a b", "-a"])
def test_publish_refuses_a_name_that_is_no_name(tiny, shelf, name):
    with pytest.raises(ValueError, match="expected lower-case words"):
        weights.publish(tiny, name, CARD)
    assert not shelf.exists()


def test_publish_refuses_too_many_bytes_before_it_writes(tiny, shelf, monkeypatch):
    weights.publish(tiny, "first", CARD)
    before = files(shelf)
    size = (shelf / "first.safetensors").stat().st_size
    monkeypatch.setattr(weights, "LARGEST_FOLDER", 2 * size - 100)
    with pytest.raises(ValueError, match="expected at most 16 MiB each"):
        weights.publish(tiny, "other", CARD)
    weights.publish(tiny, "first", CARD)  # replaces itself, so it counts once
    monkeypatch.setattr(weights, "LARGEST_FILE", size - 100)
    with pytest.raises(ValueError, match="expected at most"):
        weights.publish(tiny, "first", CARD)
    assert files(shelf) == before


@pytest.mark.parametrize("position", [8, 60, -1])
def test_a_tampered_shipped_file(tiny, shelf, position):
    flip(weights.publish(tiny, "tiny", CARD), position)
    with pytest.raises(ValueError, match="is not the file that was shipped"):
        weights.load_pretrained("tiny")
    with pytest.raises(ValueError, match="is not the file that was shipped"):
        weights.model_card("tiny")


def test_a_missing_shipped_file(tiny, shelf):
    weights.publish(tiny, "tiny", CARD).unlink()
    with pytest.raises(FileNotFoundError, match="the weights of tiny are not at"):
        weights.load_pretrained("tiny")


def test_unknown_name(tiny, shelf):
    with pytest.raises(ValueError, match="this copy of the course ships none"):
        weights.load_pretrained("tiny")
    weights.publish(tiny, "tiny-convlstm", CARD)
    weights.publish(tiny, "other", CARD)
    with pytest.raises(ValueError, match=r"'tiny-convlstn', did you mean 'tiny-convlstm'\?"):
        weights.load_pretrained("tiny-convlstn")
    with pytest.raises(ValueError, match=r"'xyz', expected one of other, tiny-convlstm\."):
        weights.load_pretrained("xyz")


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {}}', '{"a": 1}'])
def test_a_damaged_index(shelf, text):
    shelf.mkdir()
    (shelf / "index.json").write_text(text)
    with pytest.raises(ValueError, match="index.json is damaged"):
        weights.pretrained_names()


# What is really in the package

SHIPPED = weights.pretrained_names()
FOUND = sorted(p.stem for p in weights.PRETRAINED.glob("*.safetensors") if p.stem != "digit-network")


def test_index_and_folder_agree():
    assert SHIPPED == FOUND
    assert sum(p.stat().st_size for p in weights.PRETRAINED.glob("*.safetensors")) <= 32 * 2**20
    assert all(p.stat().st_size <= 16 * 2**20 for p in weights.PRETRAINED.glob("*.safetensors"))
    assert not list(weights.PRETRAINED.glob(".*.safetensors"))  # leftovers of an interrupted publish


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model_loads_and_its_card_is_complete(name):
    model = weights.load_pretrained(name)  # checks the hash
    assert all(torch.isfinite(p).all() for p in model.parameters())
    card = weights.model_card(name)
    weights.check_card(card)
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    page = (weights.PRETRAINED / f"{name}.md").read_text(encoding="utf-8")
    assert page == weights._card_page(name, card)  # nobody edited one and forgot the other


# Wrong calls


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda model, path: weights.save_model(None, path), "model is a NoneType, expected one of"),
        (lambda model, path: weights.save_model(model, None), "None is no path"),
        (lambda model, path: weights.save_model(model, True), "True is no path"),
        (lambda model, path: weights.save_model(model, path, card=3), "card is 3, expected a dictionary"),
        (lambda model, path: weights.save_model(model, path, card=["a"]), "card is .*, expected a dictionary"),
        (lambda model, path: weights.save_model(model, path, dtype=None), "dtype is None, expected"),
        (lambda model, path: weights.save_model(model, path, dtype="bfloat16"), "dtype is bfloat16, expected"),
        (lambda model, path: weights.load_model(None), "None is no path"),
        (lambda model, path: weights.load_model(3), "3 is no path"),
        (lambda model, path: weights.load_pretrained(None), "name is None, expected a text"),
        (lambda model, path: weights.load_pretrained(["convlstm"]), "name is .*, expected a text"),
        (lambda model, path: weights.load_pretrained(""), "name is '', expected a text"),
        (lambda model, path: weights.load_trained(True), "name is True, expected a text"),
        (lambda model, path: weights.model_card(None), "name is None, expected a text"),
        (lambda model, path: weights.pretrained_history(None), "name is None, expected a text"),
        (lambda model, path: weights.publish(model, None, CARD), "name is None, expected lower-case words"),
        (lambda model, path: weights.publish(model, 3, CARD), "name is 3, expected lower-case words"),
        (lambda model, path: weights.publish(model, "a", None), "card is None, expected a dictionary"),
        (lambda model, path: weights.publish(None, "a", CARD), "None is no path"),
        (lambda model, path: weights.publish(model, "a", CARD, folder=""), "'' is no path"),
        (lambda model, path: weights.publish(model, "a", CARD, folder=False), "False is no path"),
        (lambda model, path: weights.publish(model, "a", CARD, dtype=None), "dtype is None, expected"),
    ]
    + [
        (
            lambda model, path, bad=bad: weights.publish(
                model, "a", CARD | {"metrics": CARD["metrics"] | {"model": {"mse": bad}}}
            ),
            "the card's mse of model is .*, expected a finite number",
        )
        for bad in (None, "60", float("nan"), float("inf"), True)
    ],
)
def test_a_wrong_call_is_one_sentence_and_writes_nothing(tiny, shelf, tmp_path, call, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        call(tiny, tmp_path / "m.safetensors")
    assert "\n" not in str(caught.value) and files(tmp_path) in ([], ["pretrained"]) and not shelf.exists()


def test_infinity_in_weights_is_refused_and_in_a_mask_kept(tiny, tmp_path):
    path = tmp_path / "m.safetensors"
    tiny.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
    weights.save_model(tiny, path)
    assert torch.equal(load_file(path)["mask"], tiny.mask)
    with torch.no_grad():
        tiny.first.bias[0] = torch.inf
    before = path.read_bytes()
    with pytest.raises(ValueError, match="first.bias holds NaN or infinity, expected numbers"):
        weights.save_model(tiny, path)
    assert path.read_bytes() == before


def test_a_file_with_nan_and_a_right_hash_is_refused(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "m.safetensors")
    tensors = {key: value.clone().contiguous() for key, value in tiny.state_dict().items()}
    tensors["first.bias"][0] = torch.nan
    rewrite(path, tensors)
    with pytest.raises(ValueError, match="holds NaN or infinity in first.bias: train again"):
        weights.load_model(path)


def test_a_flip_anywhere_in_a_file_is_refused(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "m.safetensors", card={"clips_seen": 12345})
    whole, tried = path.read_bytes(), 0
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        tried += 1
        with pytest.raises(ValueError, match="m.safetensors") as caught:
            weights.load_model(path)
        assert "\n" not in str(caught.value)
    assert tried > 50


def test_the_history_of_a_shipped_model_is_verified(tiny, shelf):
    rows = [{"epoch": 1, "steps": 2, "clips": 3, "validation_mse": 4.0, "seconds": 5.0}]
    weights.publish(tiny, "tiny", CARD, history=rows)
    assert weights.pretrained_history("tiny") == rows
    (shelf / "tiny-history.csv").write_text("epoch,steps,clips,validation_mse,seconds\n1,2,3,3.0,5.0\n")
    with pytest.raises(ValueError, match="tiny-history.csv is not the file that was shipped"):
        weights.pretrained_history("tiny")
    weights.publish(tiny, "other", CARD)
    assert weights.pretrained_history("other") == []
