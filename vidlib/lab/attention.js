// Where the transformer looks: click a patch, see what each layer takes from where and when; switch a head off.

import { CANVAS, PAST } from "./physics.js";
import { frameOf } from "./pictures.js";
import { make } from "./elements.js";

export class AttentionView {
  constructor(lab) {
    Object.assign(this, { lab, open: false, patch: [3, 3], head: 0, silent: new Set(), seen: null, asked: "" });
    this.node = this.build();
  }

  get model() {
    return this.lab.engine.attention;
  }

  off() {
    return [...this.silent];
  }

  build() {
    this.heading = make("p", { class: "lab-note" });
    this.grid = make("div", { class: "lab-layers" });
    this.headPick = make("select", { "aria-label": "Head", onchange: () => { this.head = Number(this.headPick.value); this.touch(true); } });
    this.reset = make("button", { type: "button", onclick: () => { this.silent.clear(); this.again(); } }, "All heads on");
    const node = make("details", { class: "lab-card lab-attention", ontoggle: () => { this.open = node.open; this.touch(true); } },
      make("summary", {}, "Attention: where does the transformer look?"), this.heading,
      make("div", { class: "lab-row" }, make("label", {}, "Head", this.headPick), this.reset), this.grid);
    return node;
  }

  attach(views) {
    this.views = views;
    for (const view of views.filter(({ name }) => name === this.model.name)) {
      this.square = make("button", { type: "button", class: "lab-patch", "aria-label": "Patch whose attention is shown: arrow keys move it" });
      view.screen.append(this.square);
      const side = this.model.grid;
      view.canvas.addEventListener("pointerdown", (event) => {
        const box = view.canvas.getBoundingClientRect();
        const cell = (at, from, size) => Math.min(Math.max(Math.floor(((at - from) / size) * side), 0), side - 1);
        this.move([cell(event.clientY, box.top, box.height), cell(event.clientX, box.left, box.width)]);
      });
      this.square.addEventListener("keydown", (event) => {
        const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
        if (!way) return;
        event.preventDefault();
        event.stopPropagation();
        this.move(this.patch.map((at, axis) => Math.min(Math.max(at + way[axis], 0), side - 1)));
      });
    }
  }

  move(patch) {
    this.patch = patch;
    this.node.open = this.open = true;
    this.touch(true);
  }

  again() {
    this.asked = "";
    this.lab.question();
    this.touch(true);
  }

  touch() {
    this.lab.touch();
  }

  // The frame that is asked about: of iterative prediction, the first round alone.
  get frame() {
    return Math.min(this.lab.frame, PAST + this.model.horizon);
  }

  // Which of the model's times that is: the near future is read where the latest past was.
  time() {
    const { past } = this.model, at = this.frame - PAST - 1;
    return Math.max(0, at < 0 ? past + at : past - 1 - at);
  }

  paint() {
    if (!this.square) return;
    this.square.hidden = !this.open;
    if (!this.open) return;
    const side = 100 / this.model.grid, [row, column] = this.patch;
    Object.assign(this.square.style, { left: `${column * side}%`, top: `${row * side}%`, width: `${side}%`, height: `${side}%` });
    const question = `${this.lab.predictions.version} ${this.time()} ${this.patch}`;
    if (question !== this.asked && !this.waiting) this.fetch(question);
    this.show();
  }

  async fetch(question) {
    this.asked = question;
    this.waiting = true;
    try {
      this.seen = await this.lab.engine.attend(this.model.name, this.lab.flight.clip.subarray(0, PAST * CANVAS ** 2), this.time(), this.patch, this.off());
      this.fault = "";
    } catch (fault) {
      this.fault = fault.message;
    }
    this.waiting = false;
    this.touch();
  }

  // `seen` is layers · heads · (grid² places, then past times).
  show() {
    const { frame } = this, { grid, past, heads, layers } = this.model, each = grid * grid + past;
    this.heading.textContent = this.fault || `Patch ${this.patch[0] + 1}, ${this.patch[1] + 1} of frame ${frame}${frame > PAST ? ", a frame to come" : ""}. Squares: where in its frame each layer looks. Bars: when, from the first past frame to the last. Click a patch in the transformer’s panel to choose another; choose a head to switch it off in a layer, and see what becomes of the prediction.`;
    if (this.headPick.children.length !== heads + 1)
      this.headPick.replaceChildren(...["all, averaged", ...Array.from({ length: heads }, (_, i) => `${i + 1}`)].map((text, i) => make("option", { value: i }, text)));
    this.reset.toggleAttribute("disabled", !this.silent.size);
    if (!this.seen) return;
    if (this.grid.children.length !== layers)
      this.grid.replaceChildren(...Array.from({ length: layers }, (_, layer) => this.layer(layer)));
    const answer = this.lab.predictions.answers.get(this.model.name);
    const under = answer && frameOf(answer, Math.min(frame, PAST + answer.count));
    for (let layer = 0; layer < layers; layer++) {
      const chosen = this.head ? [this.head - 1] : Array.from({ length: heads }, (_, i) => i);
      const values = Array.from({ length: each }, (_, i) => chosen.reduce((sum, head) => sum + this.seen[(layer * heads + head) * each + i], 0) / chosen.length);
      const { space, time, switches } = this.grid.children[layer].parts;
      heat(space, values.slice(0, grid * grid), grid, under);
      heat(time, values.slice(grid * grid), past);
      for (const [axis, box] of Object.entries(switches)) {
        box.disabled = !this.head;
        const off = this.head ? this.silent.has(`${layer}:${axis}:${this.head - 1}`) : [...this.silent].some((one) => one.startsWith(`${layer}:${axis}:`));
        box.setAttribute("aria-pressed", off);
        box.textContent = `${axis} ${off ? "off" : "on"}`;
      }
    }
  }

  layer(layer) {
    const { model } = this, canvas = (width, height, label) => make("canvas", { width, height, role: "img", "aria-label": `Layer ${layer + 1}, ${label}`, class: height === 1 ? "lab-times" : "lab-places" });
    const toggle = (axis) => make("button", { type: "button", "aria-label": `Layer ${layer + 1}: this head, ${axis}`, onclick: () => {
      const key = `${layer}:${axis}:${this.head - 1}`;
      if (!this.silent.delete(key)) this.silent.add(key);
      this.again();
    } }, axis);
    const parts = { space: canvas(CANVAS, CANVAS, "attention over places"), time: canvas(model.past, 1, "attention over times"), switches: { space: toggle("space"), time: toggle("time") } };
    const node = make("div", { class: "lab-layer" }, make("b", {}, `Layer ${layer + 1}`), parts.space, parts.time, make("div", { class: "lab-row" }, parts.switches.space, parts.switches.time));
    node.parts = parts;
    return node;
  }
}

// Weights as warm light, the largest as bright as can be, over the frame that they are about.
function heat(canvas, values, wide, under) {
  const { width, height } = canvas, image = new ImageData(width, height), most = Math.max(...values, 1e-9);
  for (let i = 0; i < width * height; i++) {
    const column = Math.floor(((i % width) * wide) / width), row = under ? Math.floor((Math.floor(i / width) * wide) / height) : 0;
    const share = values[row * wide + column] / most, white = under instanceof Uint8Array ? 255 : 1;
    const ink = under ? 110 * Math.min(Math.max(under[i] / white, 0), 1) : 0;
    image.data.set([255 * Math.min(1, 1.4 * share) + ink, 200 * share ** 1.5 + ink, 40 + 60 * share ** 3 + ink, 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
