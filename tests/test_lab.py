"""The what-if lab in a real browser: its front end with models of two lines, its page with the shipped ones."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import badges
from vidlib.backbones import load_digit_network
from vidlib.flights import corner_chances, expected_frames, flights
from vidlib.iterative import rollout
from vidlib.lab.cases import FOLDER, for_the_front_end, presets, read_case
from vidlib.lab.export import MODELS, RuntimeUnavailable, fetch_runtime, write_onnx, write_page
from vidlib.metrics import identity
from vidlib.video import to_float
from vidlib.weights import load_pretrained

WIDTHS = (360, 820, 1400, 2000)

# Two models: one fails or dawdles when told to, one brightens past 1 and so is clamped when it is fed back.
STUB = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>lab</title><link rel="icon" href="data:,"><link rel="stylesheet" href="lab.css"><body><div id="here"></div>
<script type="module">
import { start } from "./page.js";
window.told = { delay: 0, fail: "" };
const predict = async (name, window) => {
  const told = { ...self.told };
  if (told.delay) await new Promise((done) => setTimeout(done, told.delay));
  if (told.fail && name === "one") throw new Error(told.fail);
  const last = window.subarray(9 * 4096);
  return Float32Array.from({ length: 40960 }, (_, i) =>
    told.nan && name === "one" ? NaN : name === "one" ? last[i % 4096] : 0.5 * window[i] + 0.6 * last[i % 4096]);
};
const engine = (facts) => ({ models: facts.models, observer: false, ready: () => true, predict,
  name: async (images) => Array.from({ length: images.length / 784 }, () => 7) });
window.lab = await start(document.querySelector("#here"), engine);
</script>"""


class Fading(nn.Module):
    """The second of the two, for Python."""

    past = horizon = 10

    def forward(self, past):
        return 0.5 * past + 0.6 * past[:, -1:]


def serve(folder: Path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *text):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))


@pytest.fixture(scope="module")
def address():
    with serve(FOLDER) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Visit:
    """A page that is watched: errors in its console, requests to other hosts."""

    def __init__(self, browser, address: str, **options) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}} | options)
        self.address, self.faults, self.hosts = address, [], set()
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def read(self, script: str):
        return self.page.evaluate(f"(lab => {script})(window.lab || document.querySelector('[data-what-if-lab]').lab)")

    def wait(self, script: str) -> None:
        self.page.wait_for_function(
            f"(lab => lab && {script})(window.lab || document.querySelector('[data-what-if-lab]')?.lab)", timeout=60_000
        )

    def still(self, frame: int = 1) -> None:
        """Stop the clock, and wait until the newest setting is answered and drawn."""
        self.read(f"(lab.run(false), lab.go({frame}))")
        self.wait("lab.predictions.settled && !lab.pending")

    def pixels(self, view: int) -> np.ndarray:
        """The red of a panel, as the screen has it: ``(64, 64)``."""
        return np.array(
            self.read(
                f"[...lab.views[{view}].canvas.getContext('2d').getImageData(0, 0, 64, 64).data]"
                ".filter((_, i) => i % 4 === 0)"
            )
        ).reshape(64, 64)

    def drag(self, node, dx: float, dy: float) -> None:
        """Drag something by so many pixels of the frame."""
        node.scroll_into_view_if_needed()
        box = node.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        unit = self.page.locator(".lab-board").bounding_box()["width"] / 64
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx * unit / 2, y + dy * unit / 2)
        self.page.mouse.move(x + dx * unit, y + dy * unit)
        self.page.mouse.up()


@pytest.fixture
def stub(browser, address):
    """Opens the front end with the two models, at a case; closes what it has opened, and looks at what was said."""
    opened = []

    def visit(
        case: str = presets()["two-digits"]["case"], frame: int | None = 1, names=("one", "two"), **options
    ) -> Visit:
        one = Visit(browser, address, **options)
        models = [{"name": name, "title": name, "past": 10, "horizon": 10} for name in names]
        facts = json.dumps(for_the_front_end() | {"models": models})
        one.context.route("**/lab.json", lambda route: route.fulfill(body=facts, content_type="application/json"))
        one.context.route("**/stub.html", lambda route: route.fulfill(body=STUB, content_type="text/html"))
        one.page.goto(f"{address}stub.html#{case}")
        one.wait("lab.predictions.settled")
        if frame:
            one.still(frame)
        opened.append(one)
        return one

    yield visit
    for one in opened:
        one.context.close()
        assert one.faults == [] and one.hosts == {address.split("/")[2]}


def shown(frame: np.ndarray) -> np.ndarray:
    """The red of the 128 grays that a frame of bytes is drawn in."""
    level = np.floor(127 * (frame.astype(float) / 255) + 0.5)
    return np.floor(level * 255 / 127 + 0.5).astype(int)


# --- the set-up ---


def test_dragging_a_ring_moves_a_digit_and_the_models_answer(stub):
    visit = stub()
    visit.drag(visit.page.locator(".lab-ring").nth(0), 5, -3)
    digit = visit.read("lab.setting.digits[0]")
    assert digit["x"] == pytest.approx(11, abs=0.3) and digit["y"] == pytest.approx(5, abs=0.3)
    visit.still(14)
    clip = to_float(read_case(visit.read("lab.text()")).clip(20))
    expected = (clip[0, 9] - clip[0, 10:]).square().sum((1, 2, 3))
    found = visit.read("[lab.predictions.answers.get('one').version === lab.predictions.version,"
                       " lab.predictions.answers.get('one').mse]")  # fmt: skip
    assert found[0]
    np.testing.assert_allclose(found[1], expected, rtol=1e-4)
    np.testing.assert_array_equal(visit.pixels(0), shown(np.rint(clip[0, 13, 0].numpy() * 255)))
    np.testing.assert_array_equal(visit.pixels(1), shown(np.rint(clip[0, 9, 0].numpy() * 255)))
    visit.drag(visit.page.locator(".lab-ring").nth(1), 60, 60)  # off the board: it stays at the edge
    assert [visit.read("lab.setting.digits[1]")[axis] for axis in "xy"] == [36, 36]


def test_an_arrow_turns_a_digit(stub):
    visit = stub("digits=7a@18,18,0")
    visit.drag(visit.page.locator(".lab-head").first, -13, 13)  # from the right of the ring to right below it
    assert visit.read("lab.setting.digits[0].angle") == pytest.approx(90, abs=3)


def test_a_finger_drags(stub):
    visit = stub("digits=7a@10,10,0", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    ring = visit.page.locator(".lab-ring").first
    ring.scroll_into_view_if_needed()
    box, session = ring.bounding_box(), visit.context.new_cdp_session(visit.page)
    unit = visit.page.locator(".lab-board").bounding_box()["width"] / 64
    for kind, far in (("touchStart", 0), ("touchMove", 5), ("touchMove", 10), ("touchEnd", None)):
        points = (
            [{"x": box["x"] + box["width"] / 2 + far * unit, "y": box["y"] + box["height"] / 2}]
            if far is not None
            else []
        )
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        visit.page.evaluate("new Promise(requestAnimationFrame)")
    assert visit.read("lab.setting.digits[0].x") == pytest.approx(20, abs=0.5)


def test_everything_goes_by_keyboard(stub):
    visit = stub("digits=7a@10,10,40")
    page, key = visit.page, visit.page.keyboard.press
    page.locator(".lab-ring").focus()
    for name in ("ArrowRight", "Shift+ArrowDown", "ArrowLeft", "ArrowLeft"):
        key(name)
    page.locator(".lab-head").focus()
    key("ArrowRight")
    assert visit.read("lab.setting.digits[0]") == {"image": "7a", "x": 9, "y": 15, "angle": 43}
    assert page.locator(".lab-head").get_attribute("aria-valuetext") == "43 degrees"
    frames = []
    for name in ("End", ",", ".", "Home", "."):
        key(name)
        frames.append(visit.read("lab.frame"))
    assert frames == [20, 19, 20, 1, 2]
    key(" ")
    assert visit.read("lab.playing")
    key(" ")
    key("v")
    assert not visit.read("lab.playing") and visit.read("lab.setting.view") == "error"
    page.get_by_role("button", name="Add a digit").focus()
    key("Enter")
    page.get_by_role("button", name="5, 2 of 4").focus()
    key("Enter")
    assert [digit["image"] for digit in visit.read("lab.setting.digits")] == ["7a", "5b"]
    key("g")
    assert visit.read("lab.guess.round") == 1


def test_a_drawn_digit_flies(stub):
    visit = stub()
    visit.page.get_by_role("button", name="Draw one").click()
    sheet = visit.page.locator(".lab-sheet")
    assert visit.page.get_by_role("button", name="Use it").is_disabled()
    box, mouse = sheet.bounding_box(), visit.page.mouse
    mouse.move(box["x"] + 60, box["y"] + 50)
    mouse.down()
    mouse.move(box["x"] + 170, box["y"] + 50, steps=5)
    mouse.move(box["x"] + 100, box["y"] + 200, steps=5)
    mouse.up()
    visit.page.get_by_role("button", name="Use it").click()
    drawn = visit.read("lab.setting.digits[0].image")
    assert drawn.startswith("~")
    visit.still(8)
    case = read_case(visit.read("lab.text()"))
    assert case.labels[0] == -1 and case.images[0].max() == 255
    np.testing.assert_array_equal(visit.pixels(0), shown(case.clip(8)[0, 7, 0].numpy()))
    visit.page.get_by_role("button", name="Draw one").click()
    for name in (" ", *["Shift+ArrowDown"] * 4, " "):
        visit.page.keyboard.press(name)
    visit.page.get_by_role("button", name="Use it").click()
    assert visit.read("lab.setting.digits[0].image") not in (drawn, "7a")  # a 1, by keyboard


def test_the_physics_alone_is_a_lab_too(stub):
    visit = stub(presets()["corner"]["case"], names=())
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 900})
        visit.still(15)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.locator(".lab-screen").count() == 1 and visit.page.locator(".lab-chart").count() == 0
    np.testing.assert_array_equal(visit.pixels(0), shown(read_case("corner").clip(20)[0, 14, 0].numpy()))
    visit.page.get_by_role("button", name="Guess first").click()
    visit.page.get_by_role("button", name="Show the future").click()
    visit.page.get_by_text("points after 1 of 10 rounds").wait_for()


# --- what the models say ---


def test_a_long_horizon_is_iterative_prediction(stub):
    case = "digits=7a@6,8,32;3b@29,25,205&horizon=25&chunk=3"
    visit = stub(case)
    clip = to_float(read_case(case).clip(35))
    expected = rollout(Fading(), clip[:, :10], 25, chunk=3)
    seen = np.array(visit.read("[...lab.predictions.answers.get('two').frames]")).reshape(25, 64, 64)
    np.testing.assert_allclose(seen, expected[0, :, 0], atol=1e-5)
    assert seen.max() > 1  # it is clamped where it is fed back, and not where it is shown


def test_a_stale_answer_never_overwrites_a_newer_one(stub):
    visit = stub()
    visit.page.evaluate("told.delay = 250")
    visit.read("""(lab.seen = [], lab.predictions.changed = () => {
      lab.seen.push(lab.predictions.answers.get('one').version); lab.touch(); }, 0)""")
    started = time.perf_counter()
    for x in range(5):
        visit.read(f"lab.edit(0, {{x: {x}}})")
        if x == 0:
            visit.page.evaluate("told.delay = 20")
    assert time.perf_counter() - started < 60  # no edit has waited for an answer to come
    visit.still(15)
    versions = visit.read("lab.seen")
    assert versions == sorted(versions) and versions[-1] == visit.read("lab.predictions.version")
    assert visit.read("lab.predictions.answers.get('one').clip.every((value, i) => value === lab.flight.clip[i])")


def test_a_model_that_fails_is_a_sentence_and_the_others_go_on(stub):
    visit = stub()
    visit.page.evaluate("told.fail = 'one could not answer: try again.'")
    visit.read("lab.edit(0, {x: 12})")
    visit.still(15)
    texts = visit.page.locator(".lab-curtain").all_inner_texts()
    assert texts == ["", "one could not answer: try again.", ""]
    assert visit.read("lab.predictions.answers.get('two').count") == 10
    visit.page.evaluate("Object.assign(told, { fail: '', nan: true })")
    visit.read("lab.edit(0, {x: 13})")
    visit.still(15)
    assert "one predicts NaN or infinity, expected numbers" in visit.page.locator(".lab-curtain").nth(1).inner_text()
    visit.page.evaluate("told.nan = false")
    visit.read("lab.edit(0, {x: 14})")
    visit.still(15)
    assert visit.page.locator(".lab-curtain").all_inner_texts() == ["", "", ""]


# --- guessing ---


def test_a_guess_is_made_before_the_future_is_shown(stub):
    visit = stub()
    visit.page.get_by_role("button", name="Guess first").click()
    visit.still(10)
    visit.page.keyboard.press("End")
    visit.wait("!lab.pending")
    assert visit.read("lab.frame") == 10 and visit.page.locator(".lab-future, .lab-ring:visible").count() == 0
    visit.wait("!lab.pending")
    ends, ghosts = visit.read("[lab.flight.paths.map((path) => path[19]), lab.guess.ghosts]")
    for i in range(2):
        # the other one may lie on top
        visit.read(f"[...lab.board.ghosts.children].forEach((one, i) => one.style.display = i === {i} ? '' : 'none')")
        visit.drag(visit.page.locator(".lab-ghost").nth(i), *(np.array(ends[i][:2]) - ghosts[i]))
    visit.page.get_by_role("button", name="Show the future").click()
    result = visit.read("lab.guess.result")
    assert result["mean"] < 0.7 and result["points"] == 10
    visit.wait("lab.predictions.settled && !lab.pending")
    bars = visit.page.locator(".lab-bars li").all_inner_texts()
    assert [bar.split("\n")[0] for bar in bars] == ["You", "one", "two"] and "…" not in " ".join(bars)
    for _ in range(9):
        visit.page.get_by_role("button", name="Next round").click()
        visit.page.get_by_role("button", name="Show the future").click()
    visit.page.get_by_text(f"All 10 rounds: {visit.read('lab.guess.points')} of 100 points.").wait_for()
    visit.page.get_by_role("button", name="Stop guessing").click()
    visit.wait("!lab.pending")
    assert visit.read("lab.guess") is None and visit.page.locator(".lab-ring:visible").count() == 2


def test_the_learners_error_is_that_of_the_frame_that_was_guessed(stub):
    visit = stub()
    visit.page.get_by_role("button", name="Guess first").click()
    visit.read("(lab.guess.ghosts = [[3, 4], [20, 30]], lab.reveal())")
    case = read_case(visit.read("lab.text()"))
    canvas = np.zeros((64, 64), np.uint8)
    for image, (x, y) in zip(case.images, [(3, 4), (20, 30)], strict=True):
        canvas[y : y + 28, x : x + 28] = np.maximum(canvas[y : y + 28, x : x + 28], image)
    truth = case.clip(20)[0, 19, 0].numpy()
    result = visit.read("lab.guess.result")
    assert result["mse"] == pytest.approx((((canvas.astype(float) - truth) / 255) ** 2).sum(), rel=1e-5)
    off = np.linalg.norm(case.trajectories(20).positions[0, :, 19] - [(3, 4), (20, 30)], axis=1)
    assert result["off"] == pytest.approx(list(off))


# --- time, links, files ---


def test_the_scrubber_goes_through_past_and_future(stub):
    visit = stub(presets()["three"]["case"])
    clip = read_case("three").clip(20)[0, :, 0].numpy()
    slider = visit.page.get_by_role("slider", name="Frame", exact=True)
    slider.focus()
    for frame in range(2, 21):
        visit.page.keyboard.press("ArrowRight")
        visit.wait("!lab.pending")
        assert slider.get_attribute("aria-valuetext") == f"{frame}, {'future' if frame > 10 else 'past'}"
        np.testing.assert_array_equal(visit.pixels(0), shown(clip[frame - 1]))
        if frame <= 10:
            np.testing.assert_array_equal(visit.pixels(1), visit.pixels(0))  # the past is one for all
    visit.page.get_by_role("button", name="Error", exact=True).click()
    visit.still(15)
    assert "MSE" in visit.page.locator(".lab-value").nth(1).inner_text()
    assert not np.array_equal(visit.pixels(1), shown(clip[9]))  # colours of an error


def test_a_link_holds_the_whole_setting(stub):
    visit = stub()
    page = visit.page
    page.get_by_role("button", name="Mirror", exact=True).click()
    page.get_by_role("button", name="Round", exact=True).click()
    page.get_by_role("button", name="Error", exact=True).click()
    for name, keys in (("Speed", "ArrowRight"), ("Future frames", "ArrowRight"), ("Chunk", "ArrowLeft")):
        page.get_by_role("slider", name=name).focus()
        page.keyboard.press(keys)
    visit.drag(page.locator(".lab-ring").first, 4, 4)
    visit.still(11)
    page.get_by_role("button", name="Copy link").click()
    link = page.get_by_role("textbox", name="To copy").input_value()
    setting = visit.read("lab.setting")
    assert (setting["walls"], setting["corners"], setting["view"]) == ("mirror", "round", "error")
    assert (setting["speed"], setting["horizon"], setting["chunk"], setting["frame"]) == (3.7, 11, 9, 11)
    again = stub(link.partition("#")[2], frame=None)
    assert again.read("lab.setting") == setting and again.read("lab.frame") == 11
    page.get_by_role("button", name="Open in the notebook").click()
    line = page.get_by_role("textbox", name="To copy").input_value()
    found = []
    eval(line, {"lab": lambda case: found.append(read_case(case))})
    assert found[0].walls == "mirror" and not found[0].official


@pytest.mark.parametrize("text", ["digits=nonsense", "digits=7a@1,1,0&speed=99", "%E0%A4%A"])
def test_a_bad_link_is_a_sentence(stub, text):
    visit = stub(text)
    assert "This case cannot be shown: " in visit.page.locator(".lab-status").inner_text()
    assert len(visit.read("lab.setting.digits")) == 2


def test_what_is_saved_is_what_is_shown(stub):
    visit = stub()
    visit.still(1)
    files = {}
    for name in ("Save GIF", "Save PNG strip"):
        with visit.page.expect_download() as waited:
            visit.page.get_by_role("button", name=name).click()
        files[name] = Path(waited.value.path()).read_bytes()
    gif, strip = (Image.open(io.BytesIO(data)) for data in files.values())
    assert (gif.format, gif.n_frames, strip.format) == ("GIF", 20, "PNG")
    clip = read_case().clip(20)[0, :, 0].numpy()
    for frame in (0, 12, 19):
        gif.seek(frame)
        red = np.asarray(gif.convert("RGB"))[26 : 26 + 192 : 3, 8 : 8 + 192 : 3, 0]
        np.testing.assert_array_equal(red, shown(clip[frame]))
    assert strip.width > 10 * 128 and strip.height > 3 * 128


# --- for everyone ---

NAMELESS = """() => [...document.querySelectorAll('.lab button, .lab input, .lab select, .lab canvas, .lab [role]')]
  .filter((node) => node.checkVisibility() && node.tagName !== 'UL')
  .filter((node) => !['aria-label', 'title'].some((name) => node.getAttribute(name)) && !node.innerText?.trim()
    && !node.labels?.length && node.getAttribute('role') !== 'status')
  .map((node) => node.outerHTML.slice(0, 120))"""


# What lies on something else: neither is inside the other. Rings and arrows lie on the truth.
OVERLAPS = """() => {
  const seen = [...document.querySelectorAll('.lab :is(button, input, select, figure, canvas, svg)')]
    .filter((node) => node.checkVisibility() && !node.closest('.lab-board'))
    .map((node) => [node, node.getBoundingClientRect()]).filter(([, box]) => box.width > 2 && box.height > 2);
  return seen.flatMap(([a, one], i) => seen.slice(i + 1).filter(([b, two]) => !a.contains(b) && !b.contains(a)
    && Math.min(one.right, two.right) - Math.max(one.left, two.left) > 1.5
    && Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 1.5)
    .map(([b]) => a.outerHTML.slice(0, 80) + ' on ' + b.outerHTML.slice(0, 80)));
}"""


def photographed(visit: Visit, view: int) -> np.ndarray:
    """The red of a panel as a picture of the whole page shows it, with whatever lies on it: ``(64, 64)``."""
    page = Image.open(io.BytesIO(visit.page.screenshot(full_page=True))).convert("RGB")
    box = visit.page.locator(".lab-screen canvas").nth(view).bounding_box()
    down = visit.page.evaluate("scrollY")
    corners = (box["x"], box["y"] + down, box["x"] + box["width"], box["y"] + down + box["height"])
    return np.asarray(page.resize((64, 64), Image.Resampling.BOX, corners), float)[..., 0]


def test_no_width_breaks_the_page(stub):
    visit = stub(presets()["head-on"]["case"])
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            visit.page.set_viewport_size({"width": width, "height": 900})
            visit.still(15)
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            boxes = [panel.bounding_box() for panel in visit.page.locator(".lab-screen").all()]
            assert all(abs(box["width"] - box["height"]) < 1.5 and box["width"] > 90 for box in boxes), (width, boxes)
            spill = visit.page.evaluate(
                """() => [...document.querySelectorAll('.lab button, .lab figcaption')]
                .filter((node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1)
                .map((node) => node.innerText)"""
            )
            assert spill == [], (width, spill)
            assert visit.page.evaluate(OVERLAPS) == [], width
            for view in (1, 2):  # the truth has rings and arrows on it
                difference = np.abs(photographed(visit, view) - visit.pixels(view)).mean()
                assert difference < 4, (width, view, difference)
    assert visit.page.evaluate(NAMELESS) == []
    visit.page.get_by_role("button", name="Draw one").click()
    assert visit.page.evaluate(NAMELESS) == []


def test_who_wants_no_motion_has_none(stub, browser, address):
    visit = stub(reduced_motion="reduce")
    visit.page.reload()
    visit.wait("true")
    assert not visit.read("lab.playing") and visit.read("lab.frame") == 15
    moving = stub()
    moving.page.reload()
    moving.wait("lab.playing && lab.frame > 3")


# --- the page with the shipped models ---


@pytest.fixture(scope="module")
def page_folder(request) -> Path:
    """The page as ``make site`` makes it; kept by pytest between runs, and made anew where something has changed."""
    pytest.importorskip("onnxscript", reason='the page is made with pip install -e ".[site]"')
    try:
        return write_page(request.config.cache.mkdir("lab"), say=lambda line: None)
    except RuntimeUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def real(browser, page_folder):
    opened = []
    with serve(page_folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"

        def visit(case: str = "") -> Visit:
            one = Visit(browser, address)
            one.page.goto(f"{address}index.html#{case}")
            one.wait("true")
            opened.append(one)
            return one

        yield visit
        for one in opened:
            one.context.close()
            assert one.hosts <= {address.split("/")[2]}
        server.shutdown()


def load(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Load the models").click()
    visit.wait("lab.engine.ready()")


def test_the_page_predicts_what_the_package_predicts(real, page_folder):
    visit = real(presets()["head-on"]["case"])
    size = sum(file.stat().st_size for file in (*page_folder.glob("models/*.onnx"), *page_folder.glob("ort/*.wasm")))
    assert f"{size / 1e6:.0f} MB" in visit.page.get_by_role("button", name="Load the models").inner_text()
    shipped = [*map(load_pretrained, MODELS), load_digit_network()]
    weights = sum(weight.numel() for model in shipped for weight in model.parameters())
    sizes = sum(file.stat().st_size for file in page_folder.glob("models/*.onnx"))
    assert sizes < 2.2 * weights  # bytes: half of float32, and the graph
    load(visit)
    for text in (presets()["head-on"]["case"], presets()["three"]["case"] + "&horizon=12&chunk=6"):
        visit.read(f"lab.load({json.dumps(text)})")
        visit.still(11)
        case = read_case(text)
        horizon = 12 if "horizon" in text else 10
        clip, flight = to_float(case.clip(10 + horizon)), case.trajectories(10 + horizon)
        for name, title in MODELS.items():
            model = load_pretrained(name)
            expected = rollout(model, clip[:, :10], horizon, chunk=6 if "chunk" in text else None)
            found = visit.read(f"(({{frames, identity, error}}) => ({{frames: [...frames], identity, error}}))"
                               f"(lab.predictions.answers.get('{name}'))")  # fmt: skip
            seen = np.array(found["frames"]).reshape(expected.shape)
            np.testing.assert_allclose(seen, expected, atol=1e-3, err_msg=title)
            right = identity(expected, flight.positions[:, :, 10:], case.labels[None])
            np.testing.assert_allclose(found["identity"], right, atol=1e-6)
        ideal = expected_frames(
            case.images,
            np.stack([corner_chances(flights(path[:10]), 10, 10 + horizon) for path in flight.positions[0]]),
        )
        seen = visit.read("[...lab.predictions.answers.get('ideal observer').frames]")
        difference = ((np.array(seen).reshape(ideal.shape) - ideal) ** 2).sum((1, 2))
        assert difference.max() < 0.3  # its grid is another; a digit's own energy is about 90
    assert visit.faults == []


def test_the_recording_shows_a_drag_and_the_errors(browser, page_folder, tmp_path):
    command = [sys.executable, "-m", "vidlib.lab.record", str(page_folder), str(tmp_path / "lab.gif")]
    subprocess.run(command, check=True, cwd=badges.ROOT)  # one process drives one browser
    with Image.open(tmp_path / "lab.gif") as gif:
        assert gif.width == 1080 and gif.n_frames > 40 and gif.info["loop"] == 0
        pictures = []
        for place in (0, 14, 25, gif.n_frames - 1):
            gif.seek(place)
            pictures.append(np.asarray(gif.convert("RGB"), int))
    assert all(np.abs(a - b).max() > 100 for a, b in itertools.pairwise(pictures))
    assert (tmp_path / "lab.gif").stat().st_size < 2_000_000


def test_an_observer_of_another_rule_sees_less_than_the_truth_and_more_than_nothing(real):
    visit = real(presets()["mirror"]["case"])
    load(visit)
    visit.still(15)
    answer = visit.read("lab.predictions.answers.get('ideal observer')")
    assert answer["error"] == "" and 0 < np.mean(answer["mse"]) < 60
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 900})
        visit.still(15)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    others = [np.mean(visit.read(f"lab.predictions.answers.get('{name}').mse")) for name in MODELS]
    assert np.mean(answer["mse"]) < min(others)


def test_models_that_do_not_come_are_a_sentence_and_the_rest_works(real):
    visit = real()
    note = visit.page.locator(".lab-banner .lab-note")

    def tried(pattern: str, **answer) -> str:
        visit.context.route(pattern, lambda route: route.fulfill(**answer))
        visit.page.get_by_role("button", name="Load the models").click()
        visit.page.wait_for_selector(".lab-banner .lab-bad", timeout=60_000)
        visit.context.unroute(pattern)
        return note.inner_text()

    assert tried("**/convlstm.onnx", status=404) == (
        "convlstm.onnx is missing on this site (404): build the pages again."
    )
    said = tried("**/convlstm.onnx", body=b"\x08\x0a" * 999)
    assert said.startswith("convlstm.onnx has 1998 bytes, expected 5") and said.endswith("load again.")
    visit.drag(visit.page.locator(".lab-ring").first, 3, 3)
    visit.read("(lab.run(false), lab.go(15))")
    visit.wait("!lab.pending")
    assert visit.pixels(0).max() == 255 and visit.read("lab.setting.digits[0].x") == pytest.approx(9, abs=0.3)
    load(visit)  # it comes at last
    visit.still(15)
    assert visit.page.locator(".lab-curtain").all_inner_texts() == [""] * 4
    assert all("404" in fault for fault in visit.faults)  # what the browser itself says of a missing file


def test_a_browser_out_of_memory_says_so(real):
    visit = real()
    script = (FOLDER / "worker.js").read_text(encoding="utf-8")
    starved = script.replace("all = new Uint8Array(bytes);", 'throw new RangeError("Array buffer allocation failed");')
    assert starved != script
    visit.context.route("**/worker.js", lambda route: route.fulfill(body=starved, content_type="text/javascript"))
    visit.page.get_by_role("button", name="Load the models").click()
    visit.page.wait_for_selector(".lab-banner .lab-bad")
    assert "out of memory. Close other pages" in visit.page.locator(".lab-banner .lab-note").inner_text()
    assert visit.faults == [] and visit.page.get_by_role("button", name="Load the models").is_enabled()


def test_without_javascript_the_page_is_a_picture(browser, page_folder):
    with serve(page_folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        assert "the lab needs JavaScript" in page.locator("body").inner_text()
        assert page.locator("noscript img, body img").first.get_attribute("alt")
        context.close()
        server.shutdown()


def test_a_file_that_predicts_something_else_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript", reason='the page is made with pip install -e ".[site]"')
    model, example = nn.Linear(3, 2), torch.zeros(1, 3)
    assert write_onnx(model, example, tmp_path / "a.onnx").stat().st_size < 2_000
    monkeypatch.setattr("vidlib.lab.export._LOST", 1.0)  # bits are lost that should be kept
    model.weight.data.mul_(1000)
    with pytest.raises(RuntimeError, match=r"b\.onnx predicts up to .* beside its model, expected at most 0\.001"):
        write_onnx(model, example, tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


# --- without what it needs ---


def test_without_npm_the_pages_are_built_without_the_lab(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "vidlib.lab.export", str(tmp_path / "lab")], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PATH": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 0 and not (tmp_path / "lab").exists()
    assert run.stdout.strip() == (
        "The pages are built without the what-if lab: npm is not here, and it fetches what runs the models in a page: "
        "install Node.js."
    )


def test_a_runtime_that_is_another_is_refused(tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "npm"
    fake.parent.mkdir()
    (tmp_path / "package" / "dist").mkdir(parents=True)
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (tmp_path / "package" / "dist" / name).write_text("other")
    subprocess.run(["tar", "czf", str(tmp_path / "o.tgz"), "-C", str(tmp_path), "package"], check=True)
    fake.write_text(f"#!/bin/sh\ncp {tmp_path}/o.tgz .\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(RuntimeUnavailable, match="is not the file that was tried"):
        fetch_runtime(tmp_path / "ort", say=lambda line: None)
    fake.write_text("#!/bin/sh\necho 'the network is unreachable' >&2\nexit 1\n")
    with pytest.raises(RuntimeUnavailable, match=r"npm could not fetch onnxruntime-web .*the network is unreachable"):
        fetch_runtime(tmp_path / "ort", say=lambda line: None)


def test_the_makefile_makes_the_lab_before_the_pages():
    lines = (FOLDER.parent.parent / "Makefile").read_text(encoding="utf-8").splitlines()
    made = [i for i, line in enumerate(lines) if "vidlib.lab.export build/lab" in line]
    assert made and "-m sphinx" in lines[made[0] + 1]
