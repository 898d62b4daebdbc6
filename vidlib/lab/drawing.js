// Drawing a digit: with mouse, finger or pen, or with the keyboard, whose pen is moved by arrows and set down by Space.

import { digitFromStrokes, pack, SIZE } from "./physics.js";
import { make } from "./elements.js";

const SIDE = 280;

export function drawingBoard(done, cancel) {
  let strokes = [], pen = [SIDE / 2, SIDE / 2], down = false;
  const canvas = make("canvas", {
    class: "lab-sheet", width: SIDE, height: SIDE, tabindex: 0, role: "img",
    "aria-label": "Sheet to draw a digit on. Draw with the pointer; or move the pen with the arrow keys, and set it down and lift it with Space.",
  });
  const look = make("canvas", { class: "lab-look", width: SIZE, height: SIZE, role: "img", "aria-label": "The digit as the models will see it: 28 by 28 pixels" });
  const use = make("button", { type: "button", class: "lab-primary", disabled: true, onclick: () => done(pack(digitFromStrokes(strokes))) }, "Use it");
  const clear = make("button", { type: "button", onclick: () => { strokes = []; down = false; paint(); canvas.focus(); } }, "Clear");
  const note = make("p", { class: "lab-note" }, "Cleaned as MNIST’s digits were: fitted into 20 pixels, centred by its mass.");
  const node = make("div", { class: "lab-drawing" }, canvas,
    make("div", { class: "lab-drawing-side" }, look, note,
      make("div", { class: "lab-row" }, use, clear, make("button", { type: "button", onclick: cancel }, "Cancel"))));

  function paint() {
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    context.lineWidth = 22;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#fff";
    for (const stroke of strokes) {
      context.beginPath();
      stroke.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (stroke.length === 1) context.lineTo(stroke[0][0] + 0.1, stroke[0][1]);
      context.stroke();
    }
    if (document.activeElement === canvas || down) {
      context.strokeStyle = down ? "#E69F00" : "#56B4E9";
      context.lineWidth = 3;
      context.beginPath();
      context.arc(...pen, 11, 0, 7);
      context.stroke();
    }
    const image = digitFromStrokes(strokes), small = look.getContext("2d").createImageData(SIZE, SIZE);
    for (let i = 0; i < SIZE * SIZE; i++) small.data.set([...Array(3).fill(image ? image[i] : 0), 255], 4 * i);
    look.getContext("2d").putImageData(small, 0, 0);
    use.disabled = !image;
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    strokes.push([(pen = at(event))]);
    down = true;
    paint();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!down || !event.buttons) return;
    for (const part of event.getCoalescedEvents?.() || [event]) strokes.at(-1).push((pen = at(part)));
    paint();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { down = false; paint(); });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === " ") {
      down = !down;
      if (down) strokes.push([[...pen]]);
    } else if (way) {
      pen = pen.map((value, axis) => Math.min(Math.max(value + way[axis] * (event.shiftKey ? 30 : 10), 0), SIDE));
      if (down) strokes.at(-1).push([...pen]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    paint();
  });
  canvas.addEventListener("focus", paint);
  canvas.addEventListener("blur", paint);
  paint();
  return { node, focus: () => canvas.focus() };
}

// A digit as a small picture, light on nothing, for the tray and the ghosts.
export function face(pixels) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d"), image = context.createImageData(SIZE, SIZE);
  pixels.forEach((value, i) => image.data.set([255, 255, 255, value], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}
