"""The lab's physics in JavaScript gives the package's clips, to the bit; its metrics give the package's numbers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from studies.rules import OtherRule
from vidlib.lab.cases import EACH, digit_image, fly, for_the_front_end, mirror, presets, read_case, tray
from vidlib.metrics import mse_per_frame, sharpness
from vidlib.moving_mnist import FREE_RANGE, SPEED, MovingMNIST, paste, step
from vidlib.video import to_float

ROOT = Path(__file__).resolve().parent.parent
LAB = ROOT / "vidlib" / "lab"
FRAMES = 20

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node runs the JavaScript: install Node.js")


def in_node(script: str, facts: object, folder: Path) -> bytes:
    """What a script writes that begins with the facts and the lab's modules at hand."""
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "script.mjs").write_text(
        'import { readFileSync, writeFileSync } from "node:fs";\n'
        f"import * as lab from {json.dumps((LAB / 'physics.js').as_uri())};\n"
        f"const facts = JSON.parse(readFileSync({json.dumps(str(folder / 'facts.json'))}));\n"
        f"const tray = lab.openTray({json.dumps(for_the_front_end()['tray'])});\n"
        f"const write = (data) => writeFileSync({json.dumps(str(folder / 'out'))}, data);\n{script}",
        encoding="utf-8",
    )
    run = subprocess.run(["node", str(folder / "script.mjs")], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    return (folder / "out").read_bytes()


def thousand_clips() -> tuple[list[dict], np.ndarray]:
    """Clips of every rule and of one to four digits: what JavaScript is told, and the package's pixels."""
    told, pixels = [], []
    for rule, walls, corners, length in (
        ("official", "clamp", "truncate", 100), ("mirror", "mirror", "truncate", 50), ("rounding", "clamp", "round", 50)
    ):  # fmt: skip
        for count in (1, 2, 3, 4):
            settings = {"digits": "builtin", "split": "test", "seed": count, "n_digits": count}
            clips = MovingMNIST(length, **settings) if rule == "official" else OtherRule(rule, length, **settings)
            pixels.append(clips.batch(range(length)).numpy())
            which, x, y, turn = np.moveaxis(clips._draws(0, length), -1, 0)
            angle = 2 * np.pi * turn
            velocity = SPEED * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
            for clip in range(length):
                told.append({
                    "images": clips.digits.images[(which[clip] * len(clips.digits)).astype(int)].reshape(count, -1),
                    "start": np.stack([x[clip], y[clip]], axis=-1), "velocity": velocity[clip],
                    "walls": walls, "corners": corners,
                })  # fmt: skip
    random, faces = np.random.default_rng(0), tray().reshape(-1, 28, 28)
    for clip in range(200):  # other speeds, both kinds of walls and of corners, starts and velocities on the edge
        count, speed = 1 + clip % 4, random.choice([0, 1 / 36, 0.1, 0.25, 1])
        start, turn = random.random((count, 2)), random.integers(0, 24, (count, 1)) * np.pi / 12
        start[clip % count] = random.choice([0, 0.5, 1], 2)
        velocity = speed * np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
        rule = {"walls": ("clamp", "mirror")[clip // 4 % 2], "corners": ("truncate", "round")[clip // 8 % 2]}
        images = faces[random.integers(0, len(faces), count)]
        pixels.append(paste(torch.from_numpy(images), fly(start, velocity, FRAMES, **rule)).numpy())
        told.append({"images": images.reshape(count, -1), "start": start, "velocity": velocity, **rule})
    facts = [{key: getattr(value, "tolist", lambda v=value: v)() for key, value in one.items()} for one in told]
    return facts, np.concatenate(pixels)


@needs_node
def test_a_thousand_clips_are_the_packages_to_the_bit(tmp_path):
    facts, expected = thousand_clips()
    assert len(facts) == len(expected) == 1000
    script = f"""write(Buffer.concat(facts.map((clip) => lab.paste(clip.images.map((image) => Uint8Array.from(image)),
      clip.start.map((start, i) => lab.fly(start, clip.velocity[i], {FRAMES}, clip))))));"""
    found = np.frombuffer(in_node(script, facts, tmp_path), np.uint8).reshape(expected.shape)
    wrong = np.flatnonzero((found != expected).any((1, 2, 3, 4)))
    assert not len(wrong), f"{len(wrong)} clips differ, the first is {facts[wrong[0]]}"
    rules = [(clip["walls"], clip["corners"], len(clip["start"])) for clip in facts]
    assert len(set(rules)) == 16  # two walls, two corners, one to four digits


def test_the_packages_rules_are_those_of_the_study():
    clips = MovingMNIST(30, digits="builtin", split="test", seed=3)
    for rule, options in (("mirror", {"walls": "mirror"}), ("rounding", {"corners": "round"})):
        other = OtherRule(rule, 30, digits="builtin", split="test", seed=3).trajectories(range(30))
        for index in range(30):
            _, x, y, turn = np.moveaxis(clips._draws(index, index + 1)[0], -1, 0)
            velocity = SPEED * np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], axis=-1)
            found = fly(np.stack([x, y], axis=-1), velocity, FRAMES, **options)
            np.testing.assert_array_equal(found.positions[0], other.positions[index])
            np.testing.assert_array_equal(found.bounced[0], other.bounced[index])


@needs_node
def test_a_case_flies_alike_in_both_languages(tmp_path):
    random = np.random.default_rng(1)
    drawn = "~" + "8PDw" * 130 + "8PA"
    names = [*(f"{kind}{letter}" for kind in range(10) for letter in "abcd"[:EACH]), drawn]
    cases = [preset["case"] for preset in presets().values()]
    for number in range(200):
        digits = ";".join(
            f"{names[random.integers(len(names))]}@{random.integers(0, 3601) / 100},{random.integers(0, 37)},"
            f"{random.integers(-720, 721) if number % 2 else 15 * random.integers(0, 24)}"
            for _ in range(1 + number % 4)
        )
        cases.append(
            f"digits={digits}&speed={random.integers(0, 121) / 10}&walls={random.choice(['clamp', 'mirror'])}"
            f"&corners={random.choice(['truncate', 'round'])}"
        )
    script = """write(Buffer.concat(facts.map((text) => {
      const again = lab.parse(lab.format(lab.parse(text)));
      if (JSON.stringify(again) !== JSON.stringify(lab.parse(text))) throw new Error(`${text} is not kept`);
      return lab.play(again, 50, tray).clip;
    })));"""
    found = np.frombuffer(in_node(script, cases, tmp_path), np.uint8).reshape(len(cases), 50, 1, 64, 64)
    for text, clip in zip(cases, found, strict=True):
        np.testing.assert_array_equal(clip, read_case(text).clip(50)[0].numpy(), err_msg=text)
    assert read_case(cases[0]).official and not read_case("mirror").official


BAD = {
    "": "the case has 0 digits",
    "digits=7z@1,2,3": "a digit is",
    "digits=7a@1,2": "a digit is",
    "digits=7a@37,2,0": "a digit is",
    "digits=7a@1,1,0&speed=x": "speed",
    "digits=7a@1,1,0&speed=40": "speed",
    "digits=7a@1,1,0&horizon=12.5": "horizon",
    "digits=7a@1,1,0&walls=soft": "walls is",
    "digits=7a@1,1,0&colour=red": "colour",
    "digits=" + ";".join(["7a@1,1,0"] * 5): "5",
}


@needs_node
def test_a_bad_case_is_one_sentence_in_the_browser(tmp_path):
    script = """write(JSON.stringify(facts.map((text) => {
      try { lab.parse(text); return ""; } catch (error) { return error.message; } })));"""
    said = json.loads(in_node(script, list(BAD), tmp_path))
    for text, sentence in zip(BAD, said, strict=True):
        assert BAD[text] in sentence and "expected" in sentence and sentence.endswith("."), (text, sentence)


@pytest.mark.parametrize("text", [text for text in BAD if text])
def test_a_bad_case_is_one_sentence_in_python(text):
    with pytest.raises(ValueError, match="expected|did you mean"):
        read_case(text)


def test_a_preset_is_known_by_its_name():
    with pytest.raises(ValueError, match="case is 'head', did you mean 'head-on'"):
        read_case("head")
    with pytest.raises(ValueError, match="case is 3, expected a text"):
        read_case(3)
    with pytest.raises(ValueError, match="digit is '7z', expected"):
        digit_image("7z")
    case = read_case("head-on")
    np.testing.assert_array_equal(read_case(f"https://example.org/lab/#{case.text}").start, case.start)
    moved, _, hit = mirror(np.array([0.95]), np.array([0.1]))
    assert moved == pytest.approx(0.95) and hit and step(np.array([0.95]), np.array([0.1]))[0] == 1


def test_presets_are_the_telling_cases():
    for name, preset in presets().items():
        assert re.fullmatch(r"[a-z-]+", name) and preset["title"] and preset["why"].endswith((".", "?"))
    corners = {name: read_case(name).trajectories(20).positions[0] for name in presets()}
    gap = np.abs(corners["head-on"][0] - corners["head-on"][1]).max(-1)  # (20,)
    assert gap[9:12].min() < 8 < gap[:5].max()  # they meet as the past ends
    in_corner = (corners["corner"][0] == FREE_RANGE).all(-1)
    assert in_corner.any() and in_corner.argmax() >= 10
    assert (corners["creeping"][0][:10, 0] <= 1).all()
    twins = read_case("twins")
    np.testing.assert_array_equal(twins.images[0], twins.images[1])
    assert len(corners["three"]) == 3 and read_case("fast").walls == "clamp" and read_case("mirror").walls == "mirror"


@needs_node
def test_metrics_are_the_packages(tmp_path):
    truth = read_case("two-digits").clip(3)
    prediction = (to_float(truth) + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).float()
    facts = {"truth": truth.flatten().tolist(), "prediction": prediction.flatten().tolist()}
    script = """const cut = (video, frame) => video.slice(4096 * frame, 4096 * (frame + 1));
      write(JSON.stringify([0, 1, 2].map((frame) => {
        const seen = Float32Array.from(cut(facts.prediction, frame));
        const truth = Uint8Array.from(cut(facts.truth, frame));
        return [lab.mse(seen, truth), lab.gradient(seen), lab.gradient(truth, 255)];
      })));"""
    found = np.array(json.loads(in_node(script, facts, tmp_path)))
    np.testing.assert_allclose(found[:, 0], mse_per_frame(prediction, to_float(truth)), rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], sharpness(prediction.clamp(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found[:, 2], sharpness(to_float(truth)), rtol=1e-5)


@needs_node
def test_a_drawn_digit_looks_like_one_of_mnist(tmp_path):
    strokes = [[[100, 40], [180, 40], [130, 240]], [[90, 130], [170, 130]]]  # a 7 in a corner of the board
    script = """const image = lab.digitFromStrokes(facts);
      if (lab.digitFromStrokes([]) !== null) throw new Error("nothing is a digit");
      const dot = lab.digitFromStrokes([[[5, 5]]]);
      if (!dot.some((value) => value === 255)) throw new Error("a dot is drawn");
      const kept = lab.pixelsOf(lab.pack(image), tray);
      write(Buffer.concat([image, kept]));"""
    image, kept = np.frombuffer(in_node(script, strokes, tmp_path), np.uint8).reshape(2, 28, 28)
    np.testing.assert_array_equal(image, kept)  # 16 gray levels go into a link and come out of it
    rows, columns = np.nonzero(image)
    assert 18 <= np.ptp(rows) + 1 <= 23  # MNIST's box of 20 pixels, and its soft edge
    centre = [float((np.arange(28) + 0.5) @ image.sum(axis) / image.sum()) for axis in (0, 1)]
    assert centre == pytest.approx([14, 14], abs=0.3)
    assert image.max() == 255 and 0.3 < np.mean((image > 0) & (image < 255)) / np.mean(image > 0) < 0.9  # soft edges
