// The set-up on top of the truth: rings to drag digits by, arrows to turn them, the paths that they take; and ghosts.

import { FREE, PAST, SIZE } from "./physics.js";
import { svg } from "./elements.js";

export const DIGIT_COLORS = ["#56B4E9", "#E69F00", "#2FD4A7", "#F0A6CF"];
const ARROW = 13; // pixels of the frame from a ring's centre to its arrow's head
const HALF = SIZE / 2;

const keep = (value) => Math.round(Math.min(Math.max(value, 0), FREE) * 100) / 100;
const round = (value) => Math.round(value * 100) / 100;
const turned = (angle) => ((Math.round(angle) % 360) + 360) % 360;
export const nameOf = (digit, i) => `Digit ${i + 1}, ${digit.image[0] === "~" ? "drawn" : `a ${digit.image[0]}`}`;

// Drag a node with mouse, finger or pen; `move` gets the pointer's place in pixels of the frame.
function draggable(node, board, begin, move) {
  // Inside a drawing the style touch-action is not enough: a finger would scroll the page away.
  node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    node.focus({ preventScroll: true });
    const box = board.getBoundingClientRect();
    const at = ({ clientX, clientY }) => [((clientX - box.left) / box.width) * 64, ((clientY - box.top) / box.height) * 64];
    const start = at(event), grip = begin(start);
    const follow = (moved) => move(at(moved), grip);
    node.addEventListener("pointermove", follow);
    const stop = () => {
      node.removeEventListener("pointermove", follow);
      node.removeEventListener("pointerup", stop);
      node.removeEventListener("pointercancel", stop);
    };
    node.addEventListener("pointerup", stop);
    node.addEventListener("pointercancel", stop);
  });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onArrows(node, act) {
  node.addEventListener("keydown", (event) => {
    const way = STEPS[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act(way, event.shiftKey ? 5 : 1);
  });
}

export class Board {
  // `edit(i, changes)` is called with what a handle changed, `choose(i)` with the digit that has been touched.
  constructor(edit, choose) {
    this.edit = edit;
    this.choose = choose;
    this.node = svg("svg", { viewBox: "0 0 64 64", class: "lab-board" });
    this.paths = svg("g", { "aria-hidden": "true" });
    this.handles = svg("g");
    this.ghosts = svg("g");
    this.node.append(this.paths, this.handles, this.ghosts);
    this.parts = [];
  }

  // Draw a setting. Handles are made once and moved from then on: a drag holds on to its node.
  show(setting, paths, { chosen, frames, frame, closed, bare }) {
    this.setting = setting;
    while (this.parts.length > setting.digits.length) this.parts.pop().group.remove();
    while (this.parts.length < setting.digits.length) this.parts.push(this.handle(this.parts.length));
    this.handles.style.display = bare ? "none" : "";
    this.paths.replaceChildren(...setting.digits.flatMap((digit, i) => {
      const points = [[Math.trunc(digit.x), Math.trunc(digit.y)], ...paths[i]].map(([x, y]) => [x + HALF, y + HALF]);
      const line = (from, to, kind) => svg("polyline", {
        points: points.slice(from, to + 1).map(([x, y]) => `${x},${y}`).join(" "), class: kind, stroke: DIGIT_COLORS[i],
      });
      const [x, y] = points[Math.min(frame, points.length - 1)];
      const past = line(0, PAST, "lab-path");
      if (closed) return [past, svg("circle", { cx: x, cy: y, r: 0.9, fill: DIGIT_COLORS[i] })];
      return [past, line(PAST, frames, "lab-path lab-future"), svg("circle", { cx: x, cy: y, r: 0.9, fill: DIGIT_COLORS[i] })];
    }));
    setting.digits.forEach((digit, i) => {
      const { group, ring, arrow, head } = this.parts[i];
      const turn = (digit.angle * Math.PI) / 180, [dx, dy] = [Math.cos(turn), Math.sin(turn)];
      group.setAttribute("transform", `translate(${digit.x + HALF} ${digit.y + HALF})`);
      group.classList.toggle("lab-chosen", i === chosen);
      // An arrow stays on the board: near a wall it is shorter.
      const room = (at, way) => (way > 0 ? (62 - at) / way : way < 0 ? (2 - at) / way : 99);
      const long = Math.max(7, Math.min(ARROW, room(digit.x + HALF, dx), room(digit.y + HALF, dy)));
      arrow.setAttribute("d", `M${3.4 * dx} ${3.4 * dy}L${(long - 2) * dx} ${(long - 2) * dy}`);
      head.setAttribute("transform", `translate(${long * dx} ${long * dy}) rotate(${digit.angle})`);
      ring.setAttribute("aria-label", `${nameOf(digit, i)}: start at x ${digit.x}, y ${digit.y}. Arrow keys move it.`);
      head.setAttribute("aria-valuenow", turned(digit.angle));
      head.setAttribute("aria-valuetext", `${turned(digit.angle)} degrees`);
      head.setAttribute("aria-label", `${nameOf(digit, i)}: direction`);
    });
  }

  handle(i) {
    const color = DIGIT_COLORS[i];
    const ring = svg("g", { class: "lab-ring", tabindex: 0, role: "button" },
      svg("circle", { r: 4.6, class: "lab-grip" }), svg("circle", { r: 3, class: "lab-disc", stroke: color }));
    const head = svg("g", { class: "lab-head", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 359 },
      svg("circle", { r: 3.8, class: "lab-grip" }), svg("path", { d: "M2.2 0L-1.4 1.9L-0.6 0L-1.4 -1.9Z", fill: color }));
    const arrow = svg("path", { class: "lab-arrow", stroke: color });
    const group = svg("g", { class: "lab-handle" }, arrow, ring, head);
    this.handles.append(group);
    const digit = () => this.setting.digits[i];
    for (const node of [ring, head]) node.addEventListener("focus", () => this.choose(i));
    draggable(ring, this.node, ([x, y]) => [digit().x - x, digit().y - y],
      ([x, y], [dx, dy]) => this.edit(i, { x: keep(x + dx), y: keep(y + dy) }));
    draggable(head, this.node, () => null, ([x, y]) => {
      const angle = (Math.atan2(y - digit().y - HALF, x - digit().x - HALF) * 180) / Math.PI;
      this.edit(i, { angle: turned(angle) });
    });
    onArrows(ring, ([dx, dy], by) => this.edit(i, { x: keep(digit().x + dx * by), y: keep(digit().y + dy * by) }));
    onArrows(head, ([dx, dy], by) => this.edit(i, { angle: turned(digit().angle + (dx - dy) * by * 3) }));
    return { group, ring, arrow, head };
  }

  // Ghosts to drag to where the digits will be: [[x, y], ...] in pixels; `moved(i, x, y)` says where one was put.
  haunt(ghosts, faces, moved, fixed) {
    if (!ghosts) return this.ghosts.replaceChildren();
    if (this.ghosts.children.length !== ghosts.length || this.ghosts.dataset.fixed !== String(fixed)) {
      this.ghosts.dataset.fixed = String(fixed);
      this.ghosts.replaceChildren(...ghosts.map((_, i) => {
        const image = svg("image", { href: faces[i], width: SIZE, height: SIZE, x: -HALF, y: -HALF });
        const frame = svg("rect", { x: -HALF, y: -HALF, width: SIZE, height: SIZE, rx: 3, stroke: DIGIT_COLORS[i] });
        const node = svg("g", { class: "lab-ghost", ...(fixed ? {} : { tabindex: 0, role: "button" }) }, frame, image);
        if (fixed) return node;
        draggable(node, this.node, ([x, y]) => [this.at[i][0] - x, this.at[i][1] - y],
          ([x, y], [dx, dy]) => moved(i, keep(x + dx), keep(y + dy)));
        onArrows(node, ([dx, dy], by) => moved(i, keep(this.at[i][0] + dx * by), keep(this.at[i][1] + dy * by)));
        return node;
      }));
    }
    this.at = ghosts;
    ghosts.forEach(([x, y], i) => {
      const node = this.ghosts.children[i];
      node.setAttribute("transform", `translate(${x + HALF} ${y + HALF})`);
      node.setAttribute("aria-label", `Your guess for digit ${i + 1}: x ${round(x)}, y ${round(y)}. Arrow keys move it.`);
    });
  }
}
