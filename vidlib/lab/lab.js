// The what-if lab: set the physics, choose or draw the digits, drag them, and watch every model predict, at once.
//
// One front end for a notebook (an anywidget, see widget.py) and for a web page (page.js). Who answers for the models
// is the engine, described in predictions.js. This file is the page: its controls, its players, its keys.

import { CANVAS, DEFAULTS, format, openTray, parse, PAST, pixelsOf, play } from "./physics.js";
import { draw, frameOf, gif, indices, strip } from "./pictures.js";
import { labelsOf, OBSERVER, Predictions } from "./predictions.js";
import { Board, DIGIT_COLORS, nameOf } from "./board.js";
import { chart, mean, METRICS } from "./chart.js";
import { drawingBoard, face } from "./drawing.js";
import { ASKED, Guessing, randomCase, ROUNDS } from "./guess.js";
import { AttentionView } from "./attention.js";
import { make } from "./elements.js";

const MODEL_COLORS = ["#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#8A6FD1"];
const OBSERVER_COLOR = "#009E73";
const HINT = "Drag a ring to move a digit, an arrow to turn it; what follows is there at once.";
let labs = 0;

const portrait = (picture) => make("span", { class: "lab-face", style: `background-image:url(${picture})` });
const button = (text, onclick, more = {}) => make("button", { type: "button", onclick, ...more }, text);

// Buttons of which one is pressed: {name: text}; `mark(name)` presses one.
function segments(label, texts, pick) {
  const buttons = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, button(text, () => pick(name))]));
  const node = make("div", { class: "lab-segments", role: "group", "aria-label": label }, ...Object.values(buttons));
  const mark = (name) => Object.entries(buttons).forEach(([one, each]) => each.setAttribute("aria-pressed", one === name));
  return { node, mark, buttons };
}

export class Lab {
  // options: {tray, presets, engine, case, link: a function of the setting's text that gives its address, or null}
  constructor(root, options) {
    Object.assign(this, { root, options, engine: options.engine, tray: openTray(options.tray), presets: options.presets });
    Object.assign(this, { number: ++labs, chosen: 0, frame: 1, fps: 8, loop: true, metric: "mse", guess: null });
    this.setting = { ...DEFAULTS, ...parse(Object.values(this.presets)[0].case) };
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.playing = false;
    this.predictions = new Predictions(this.engine, () => this.touch());
    this.attention = this.engine.attention ? new AttentionView(this) : null;
    this.build();
    this.load(Object.values(this.presets)[0].case);
    const said = options.case ? this.load(options.case) : "";
    if (this.setting.frame > 1) this.frame = this.setting.frame;
    else if (this.calm) this.frame = PAST + 5;
    else this.run(true);
    if (said) this.say(said, true);
  }

  // Whether there is the physics alone.
  get bare() {
    return !this.engine.models.length;
  }

  get total() {
    return PAST + this.setting.horizon;
  }

  get last() {
    return this.guess && !this.guess.shown ? PAST : this.total;
  }

  // --- the setting ---

  // Take over a case from its text; what is wrong with it is a sentence, and the case that was there stays.
  load(text, why = "") {
    let setting;
    try {
      setting = parse(text);
      setting.digits.forEach((digit) => pixelsOf(digit.image, this.tray));
    } catch (fault) {
      return `This case cannot be shown: ${fault.message}`;
    }
    this.why.textContent = why || Object.values(this.presets).find((preset) => preset.case === text)?.why || HINT;
    this.chosen = 0;
    this.change(setting);
    return "";
  }

  change(changes) {
    Object.assign(this.setting, changes);
    if (!("frame" in changes)) this.setting.frame = 1;
    this.flight = play(this.setting, this.total, this.tray);
    this.frame = Math.min(this.frame, this.last);
    this.question();
    this.faces();
    this.showControls();
    this.touch();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.options.link?.(this.text(), false), 300);
  }

  question() {
    const { horizon, chunk, speed, walls, corners } = this.setting;
    this.predictions.ask({
      ...this.flight, horizon, chunk, rule: { speed, walls, corners }, labels: labelsOf(this.setting),
      off: this.attention ? this.attention.off() : [], measure: true,
    });
  }

  edit(i, changes) {
    this.chosen = i;
    Object.assign(this.setting.digits[i], changes);
    this.set({});
  }

  // A change by hand: it is no preset any more, and no round of guessing.
  set(changes) {
    if (this.guess) this.stopGuessing();
    this.why.textContent = HINT;
    this.change(changes);
  }

  text() {
    const { frame, ...others } = this.setting;
    return format(this.playing || this.frame === 1 ? others : { ...others, frame: this.frame });
  }

  // --- the page ---

  build() {
    this.root.classList.add("lab");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "What-if lab");
    this.status = make("p", { class: "lab-status", role: "status" });
    this.why = make("p", { class: "lab-why" });
    const chips = Object.entries(this.presets).map(([name, preset]) =>
      button(preset.title, () => this.usePreset(name), { class: "lab-chip", "data-preset": name }));
    this.chips = make("div", { class: "lab-chips", role: "group", "aria-label": "Cases to try" },
      ...chips, button("Surprise me", () => this.surprise(), { class: "lab-chip" }));
    this.panels = make("div", { class: "lab-panels" });
    this.banner = make("div", { class: "lab-banner" });
    this.guessBar = make("div", { class: "lab-guess", hidden: true });
    this.board = new Board((i, changes) => this.edit(i, changes), (i) => this.choose(i));
    const cards = make("div", { class: "lab-cards" }, this.digitsCard(), this.ruleCard(), ...(this.bare ? [] : [this.chartCard()]));
    this.root.classList.toggle("lab-bare", this.bare);
    this.root.replaceChildren(
      make("div", { class: "lab-top" }, this.chips, this.why), this.banner, this.guessBar, this.panels, this.transport(), cards,
      ...(this.attention ? [this.attention.node] : []), this.keepBar(), this.status);
    this.makePanels();
    if (this.bare) this.panels.append(cards); // the physics alone leaves room beside the truth
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.watcher = new ResizeObserver(() => this.touch());
    this.watcher.observe(this.root);
  }

  makePanels() {
    const kinds = [{ name: "truth", title: "Truth", color: "" },
      ...this.engine.models.map((model, i) => ({ ...model, color: MODEL_COLORS[i % MODEL_COLORS.length] })),
      ...(this.engine.observer && this.engine.models.length ? [{ name: OBSERVER, title: "Ideal observer", color: OBSERVER_COLOR }] : [])];
    this.views = kinds.map((kind) => {
      const canvas = make("canvas", { width: CANVAS, height: CANVAS, role: "img" });
      const curtain = make("p", { class: "lab-curtain" });
      const value = make("span", { class: "lab-value" });
      const screen = make("div", { class: "lab-screen" }, canvas, ...(kind.name === "truth" ? [this.board.node] : []), curtain);
      const node = make("figure", { class: `lab-panel${kind.name === "truth" ? " lab-truth" : ""}`, style: `--mark:${kind.color || "currentColor"}` },
        screen, make("figcaption", {}, make("span", { class: "lab-name" }, kind.title), value));
      return { ...kind, canvas, curtain, value, node, screen };
    });
    this.panels.style.setProperty("--others", this.views.length === 4 ? 3 : Math.min(this.views.length - 1, 2) || 1);
    this.panels.replaceChildren(...this.views.map((view) => view.node));
    this.attention?.attach(this.views);
  }

  transport() {
    this.playButton = button("Play", () => this.run(!this.playing), { class: "lab-primary lab-play" });
    this.slider = make("input", { type: "range", class: "lab-frame", min: 1, max: this.total, step: 1, "aria-label": "Frame",
      oninput: () => { this.run(false); this.go(Number(this.slider.value)); } });
    this.counter = make("output", { class: "lab-counter" });
    this.speedPick = make("select", { "aria-label": "Frames per second", onchange: () => { this.fps = Number(this.speedPick.value); } },
      ...[2, 4, 8, 16].map((fps) => make("option", { value: fps, selected: fps === this.fps }, `${fps} fps`)));
    this.loopBox = make("input", { type: "checkbox", checked: true, onchange: () => { this.loop = this.loopBox.checked; } });
    const views = segments("What the models’ panels show", { frames: "Frames", error: "Error" }, (view) => this.change({ view, frame: this.frame }));
    this.markView = views.mark;
    this.guessButton = button("Guess first", () => this.startGuessing(), { class: "lab-accent" });
    return make("div", { class: "lab-transport" }, this.playButton,
      make("div", { class: "lab-time" }, this.slider, make("div", { class: "lab-eras", "aria-hidden": "true" },
        make("span", {}, this.bare ? "past" : "past: seen by all"), make("span", {}, this.bare ? "future" : "future: predicted"))),
      this.counter, this.speedPick, make("label", { class: "lab-check" }, this.loopBox, "Loop"),
      ...(this.bare ? [] : [views.node]), this.guessButton);
  }

  digitsCard() {
    this.tabs = make("div", { class: "lab-tabs", role: "group", "aria-label": "Digits" });
    this.trayBox = make("div", { class: "lab-tray", role: "group", "aria-label": "Tray of digits" });
    const number = (label, max, read) => make("input", {
      type: "number", min: 0, max, step: label === "angle" ? 1 : 0.5, "aria-label": label === "angle" ? "Direction in degrees" : `Start, ${label} in pixels`,
      onchange: (event) => {
        const value = Number(event.target.value);
        if (event.target.value !== "" && value >= 0 && value <= max) this.edit(this.chosen, { [read]: value });
        else this.showControls();
      } });
    this.places = { x: number("x", 36, "x"), y: number("y", 36, "y"), angle: number("angle", 359, "angle") };
    this.drawHere = make("div", {});
    this.drawButton = button("Draw one", () => this.openDrawing());
    for (let variant = 0; variant < this.tray.each; variant++)
      for (let kind = 0; kind < 10; kind++) {
        const name = `${kind}${"abcdefgh"[variant]}`;
        this.trayBox.append(make("button", { type: "button", "data-image": name, "aria-label": `${kind}, ${variant + 1} of ${this.tray.each}`,
          onclick: () => this.edit(this.chosen, { image: name }) },
          portrait(face(pixelsOf(name, this.tray)))));
      }
    this.digitsBody = make("div", {}, this.trayBox, make("div", { class: "lab-row" },
      make("label", {}, "x", this.places.x), make("label", {}, "y", this.places.y), make("label", {}, "turn", this.places.angle)),
      make("div", { class: "lab-row" }, this.drawButton));
    return make("section", { class: "lab-card", "aria-label": "Digits" }, make("h3", {}, "Digits"), this.tabs, this.digitsBody, this.drawHere);
  }

  ruleCard() {
    const range = (key, min, max, step, label) => {
      const input = make("input", { type: "range", min, max, step, "aria-label": label, oninput: () => this.set({ [key]: Number(input.value) }) });
      const value = make("output", {});
      this.ranges[key] = { input, value };
      return make("div", { class: "lab-setting" }, make("span", {}, label), value, input);
    };
    this.ranges = {};
    const walls = segments("Walls", { clamp: "Clamp", mirror: "Mirror" }, (name) => this.set({ walls: name }));
    const corners = segments("Whole pixels", { truncate: "Truncate", round: "Round" }, (name) => this.set({ corners: name }));
    [this.markWalls, this.markCorners] = [walls.mark, corners.mark];
    this.official = button("Official rule", () => this.set({ speed: 3.6, walls: "clamp", corners: "truncate" }));
    return make("section", { class: "lab-card", "aria-label": "Rule" }, make("h3", {}, "Rule"),
      range("speed", 0, 12, 0.1, "Speed"),
      make("div", { class: "lab-setting lab-pair" }, make("span", {}, "Walls"), walls.node, make("span", {}, "Pixels"), corners.node),
      this.official, make("h3", {}, "Horizon"), range("horizon", 10, 50, 1, "Future frames"),
      ...(this.bare ? [] : [range("chunk", 1, 10, 1, "Chunk")]),
      make("p", { class: "lab-note" }, !this.bare ? "Beyond ten frames a model is fed its own: the chunk is how many of each prediction are kept." : ""));
  }

  chartCard() {
    const metric = segments("Metric", Object.fromEntries(Object.entries(METRICS).map(([name, { title }]) => [name, title])),
      (name) => { this.metric = name; this.touch(); });
    this.markMetric = metric.mark;
    this.chartBox = make("div", {});
    this.legend = make("ul", { class: "lab-legend" });
    this.unit = make("p", { class: "lab-note" });
    return make("section", { class: "lab-card lab-wide", "aria-label": "Errors" },
      make("div", { class: "lab-head-row" }, make("h3", {}, "By frame"), metric.node), this.chartBox, this.legend, this.unit);
  }

  keepBar() {
    this.line = make("input", { type: "text", readonly: true, class: "lab-copy", hidden: true, "aria-label": "To copy" });
    const keys = make("details", { class: "lab-keys" }, make("summary", {}, "Keys"), make("p", {},
      "Space plays and pauses, comma and full stop go a frame back and on, Home and End to the first and last. Tab goes to the rings and arrows; arrow keys move them, with Shift by more. G guesses, V changes between frames and error."));
    return make("div", { class: "lab-keep" },
      ...(this.options.link ? [button("Copy link", () => this.copy(this.options.link(this.text(), true), "The link"))] : []),
      button("Open in the notebook", () => this.copy(`lab(case=${JSON.stringify(this.text())})`, "The line of Python")),
      button("Save GIF", () => this.save("gif")), button("Save PNG strip", () => this.save("png")), keys, this.line);
  }

  // --- what the controls show ---

  faces() {
    this.pictures = this.flight.images.map((image, i) => {
      const known = this.setting.digits[i].image;
      this.cache ||= new Map();
      if (!this.cache.has(known)) this.cache.set(known, face(image));
      return this.cache.get(known);
    });
  }

  choose(i) {
    if (this.chosen === i) return;
    this.chosen = i;
    this.showControls();
    this.touch();
  }

  showControls() {
    const { digits, speed, horizon, chunk, walls, corners, view } = this.setting;
    this.chosen = Math.min(this.chosen, digits.length - 1);
    const count = digits.length, key = digits.map((digit) => digit.image).join();
    if (this.tabs.dataset.key !== key) { // made anew only where digits have changed: the focus stays
      this.tabs.dataset.key = key;
      this.tabs.replaceChildren(...digits.map((digit, i) => make("button", { type: "button", class: "lab-tab", style: `--mark:${DIGIT_COLORS[i]}`,
        "aria-label": nameOf(digit, i), onclick: () => this.choose(i) }, portrait(this.pictures[i]))),
        button("+", () => this.addDigit(), { class: "lab-tab", "aria-label": "Add a digit", disabled: count === 4 }),
        button("−", () => this.removeDigit(), { class: "lab-tab", "aria-label": "Remove this digit", disabled: count === 1 }));
    }
    [...this.tabs.children].slice(0, count).forEach((tab, i) => tab.setAttribute("aria-pressed", i === this.chosen));
    for (const one of this.trayBox.children) one.setAttribute("aria-pressed", one.dataset.image === digits[this.chosen].image);
    for (const [name, input] of Object.entries(this.places)) input.value = digits[this.chosen][name];
    const texts = { speed: `${speed.toFixed(1)} px a frame`, horizon: `${horizon}`, chunk: `${chunk} of 10` };
    for (const [name, { input, value }] of Object.entries(this.ranges)) {
      input.value = this.setting[name];
      input.setAttribute("aria-valuetext", texts[name]);
      value.textContent = texts[name];
    }
    this.markWalls(walls);
    this.markCorners(corners);
    this.markView(view);
    this.official.disabled = speed === 3.6 && walls === "clamp" && corners === "truncate";
    this.slider.max = this.total;
    this.root.style.setProperty("--past", `${((PAST - 0.5) / (this.total - 1)) * 100}%`);
    const now = format({ ...this.setting, frame: 1, view: "frames" });
    for (const chip of this.chips.children) chip.setAttribute("aria-pressed", this.presets[chip.dataset.preset]?.case === now && !this.guess);
  }

  // Paint once before the next picture of the screen, however often something changes.
  touch() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.paint();
    });
  }

  paint() {
    const { frame, setting } = this, future = frame > PAST, hidden = this.guess && !this.guess.shown;
    this.drawn = this.views.map((view) => this.panel(view));
    this.drawn.forEach((panel, i) => this.paintPanel(this.views[i], panel));
    this.board.show(setting, this.flight.paths, { chosen: this.chosen, frames: this.total, frame, closed: hidden, bare: Boolean(this.guess) });
    if (this.guess) this.board.haunt(this.guess.ghosts, this.pictures, (i, x, y) => { this.guess.ghosts[i] = [x, y]; this.touch(); }, this.guess.shown);
    else this.board.haunt(null);
    this.slider.value = frame;
    this.slider.setAttribute("aria-valuetext", `${frame}, ${future ? "future" : "past"}`);
    this.slider.style.setProperty("--at", `${((frame - 1) / (this.total - 1)) * 100}%`);
    this.counter.textContent = `${frame} / ${this.total}`;
    this.root.classList.toggle("lab-in-future", future);
    this.root.classList.toggle("lab-guessing", Boolean(this.guess) && hidden);
    this.guessButton.hidden = Boolean(this.guess);
    this.playButton.textContent = this.playing ? "Pause" : "Play";
    this.showBanner();
    if (this.chartBox) this.paintChart();
    if (this.guess) this.showGuess();
    this.attention?.paint();
  }

  panel(view) {
    if (view.name === "truth") return { title: view.title, clip: this.flight.clip };
    const answer = this.predictions.answers.get(view.name);
    return answer ? { title: view.title, ...pick(answer), known: true } : { title: view.title, clip: this.flight.clip, frames: new Float32Array(0), count: 0 };
  }

  paintPanel(view, panel) {
    const { frame } = this, future = frame > PAST, hidden = future && this.guess && !this.guess.shown;
    const at = Math.min(frame, panel.clip.length / CANVAS ** 2);
    const pixels = hidden ? null : frameOf(panel, at);
    const truth = panel.clip.subarray((at - 1) * CANVAS ** 2, at * CANVAS ** 2);
    const shown = pixels ? indices(pixels, truth, this.setting.view) : new Uint8Array(CANVAS ** 2);
    draw(view.canvas, shown);
    const says = panel.error || (!pixels && future && (this.engine.ready() ? "…" : "not loaded")) || "";
    if (view.curtain.textContent !== says) view.curtain.textContent = says;
    const seen = view.name === "truth" ? null : panel.mse?.[frame - PAST - 1];
    view.value.textContent = view.name === "truth" ? (future ? "what happens" : "the past") : !future ? "sees the past" : seen === undefined || seen === null || hidden ? "" : `MSE ${seen.toFixed(1)}`;
    view.canvas.setAttribute("aria-label", `${view.title}, frame ${frame}${seen === undefined || seen === null ? "" : `, MSE ${seen.toFixed(1)}`}`);
    view.node.classList.toggle("lab-old", Boolean(panel.known) && panel.version !== this.predictions.version);
  }

  paintChart() {
    const lines = this.views.slice(1).map((view, i) => {
      const values = this.predictions.answers.get(view.name)?.[this.metric] || [];
      return { title: view.title, color: view.color, dashed: view.name === OBSERVER, values: this.guess && !this.guess.shown ? [] : values };
    });
    this.markMetric(this.metric);
    this.chartBox.replaceChildren(chart(lines, this.metric, this.setting.horizon, this.frame, this.chartBox.clientWidth || 560, (frame) => { this.run(false); this.go(frame); }));
    const digits = METRICS[this.metric].digits;
    this.legend.replaceChildren(...lines.map((line) => {
      const now = line.values[this.frame - PAST - 1];
      return make("li", { style: `--mark:${line.color}` }, make("b", {}, line.title),
        ` ${now === undefined ? "" : `${now.toFixed(digits)} now, `}${mean(line.values, this.metric)} mean`);
    }));
    this.unit.textContent = METRICS[this.metric].unit;
  }

  // What it costs to have the models, and how far they have come; nothing once they are there.
  showBanner() {
    const { engine } = this;
    if (!engine.load || engine.ready() || !engine.models.length) {
      if (this.banner.firstChild) this.banner.replaceChildren();
      return;
    }
    if (!this.banner.firstChild) {
      this.loader = button(`Load the models (${engine.size})`, () => this.loadModels(), { class: "lab-primary" });
      this.progress = make("progress", { max: 1, value: 0, hidden: true, "aria-label": "Loading the models" });
      this.progressText = make("span", { class: "lab-note", role: "status" }, "They run in this page, nothing you draw leaves it.");
      this.banner.append(this.loader, this.progress, this.progressText);
    }
  }

  async loadModels() {
    this.loader.disabled = true;
    this.progress.hidden = false;
    this.progressText.classList.remove("lab-bad");
    try {
      await this.engine.load((part, text) => {
        this.progress.value = part;
        this.progressText.textContent = text;
      });
      this.say("The models are there.");
    } catch (fault) {
      this.progress.hidden = true;
      this.progressText.textContent = fault.message;
      this.progressText.classList.add("lab-bad");
    }
    this.loader.disabled = false;
    if (this.engine.ready()) this.question();
    this.touch();
  }

  // --- time ---

  go(frame) {
    this.frame = Math.min(Math.max(frame, 1), this.last);
    this.setting.frame = this.frame;
    this.touch();
  }

  run(playing) {
    this.playing = playing;
    clearTimeout(this.clock);
    if (playing && this.frame >= this.last && !this.loop) this.frame = 1;
    if (playing) this.clock = setTimeout(() => this.tick(), 1000 / this.fps);
    this.touch();
  }

  tick() {
    if (!this.root.isConnected) return this.run(false);
    const ended = this.frame >= this.last;
    if (ended && !this.loop) return this.run(false);
    this.go(ended ? 1 : this.frame + 1);
    this.clock = setTimeout(() => this.tick(), (this.frame === this.last ? 4 : 1) * (1000 / this.fps));
  }

  key(event) {
    const typing = event.target.matches("input:not([type=checkbox]), select, summary");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || event.target.closest(".lab-drawing")) return;
    const keys = {
      " ": () => !event.target.matches("button, input") && (this.run(!this.playing), true),
      ",": () => (this.run(false), this.go(this.frame - 1), true), ".": () => (this.run(false), this.go(this.frame + 1), true),
      Home: () => (this.run(false), this.go(1), true), End: () => (this.run(false), this.go(this.last), true),
      g: () => (this.startGuessing(), true),
      v: () => (this.change({ view: this.setting.view === "error" ? "frames" : "error", frame: this.frame }), true),
    };
    if (keys[event.key]?.()) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  // --- digits ---

  usePreset(name) {
    this.stopGuessing();
    const said = this.load(this.presets[name].case, this.presets[name].why);
    if (said) this.say(said, true);
  }

  surprise() {
    this.stopGuessing();
    this.why.textContent = HINT;
    this.change(randomCase(this.tray.each));
  }

  addDigit() {
    this.chosen = this.setting.digits.length;
    this.set({ digits: [...this.setting.digits, { image: `${[3, 1, 4, 9][this.chosen % 4]}b`, x: 18, y: 18, angle: (90 * this.chosen + 30) % 360 }] });
    this.tabs.children[this.chosen].focus();
  }

  removeDigit() {
    this.set({ digits: this.setting.digits.filter((_, i) => i !== this.chosen) });
    this.tabs.children[this.chosen].focus();
  }

  openDrawing() {
    const close = () => {
      this.drawHere.replaceChildren();
      this.digitsBody.hidden = false;
      this.drawButton.focus();
    };
    const sheet = drawingBoard((image) => { close(); this.edit(this.chosen, { image }); }, close);
    this.digitsBody.hidden = true;
    this.drawHere.replaceChildren(sheet.node);
    sheet.focus();
  }

  // --- guessing ---

  startGuessing() {
    if (this.guess && !this.guess.shown) return;
    if (!this.guess || this.guess.round >= ROUNDS) this.guess = new Guessing();
    this.why.textContent = HINT;
    this.guess.shown = false;
    this.loop = this.loopBox.checked = true;
    this.frame = 1;
    this.change(randomCase(this.tray.each, this.options.random));
    this.guess.begin(this.flight);
    if (this.calm) this.go(PAST);
    else this.run(true);
    this.guessBar.hidden = false;
    this.showGuess();
    this.touch();
  }

  stopGuessing() {
    this.guess = null;
    this.guessBar.hidden = true;
    this.guessBar.dataset.state = "";
    this.showControls();
    this.touch();
  }

  reveal() {
    const { guess } = this;
    guess.reveal(this.flight);
    this.run(false);
    this.go(ASKED);
    if (!this.calm) {
      this.frame = PAST;
      this.loop = this.loopBox.checked = false;
      this.run(true);
    }
  }

  showGuess() {
    const { guess } = this, rivals = this.views.slice(1).map((view) => [view, this.predictions.answers.get(view.name)]);
    const errors = rivals.map(([view, answer]) => [view, answer?.version === this.predictions.version ? answer.mse[ASKED - PAST - 1] : undefined]);
    const state = `${guess.round} ${guess.shown} ${guess.shown ? errors.map(([, value]) => value) : ""}`;
    if (this.guessBar.dataset.state === state) return;
    const focused = this.guessBar.contains(document.activeElement);
    this.guessBar.dataset.state = state;
    const stop = button("Stop guessing", () => this.stopGuessing());
    if (!guess.shown) {
      this.guessBar.replaceChildren(make("p", {}, make("b", {}, `Round ${guess.round} of ${ROUNDS}. `),
        `Where will the digits be at frame ${ASKED}? Drag each ghost there, then see.`),
        button("Show the future", () => this.reveal(), { class: "lab-primary" }), stop);
    } else {
      const { result } = guess, rows = [["You", "var(--lab-ink)", result.mse], ...errors.map(([view, value]) => [view.title, view.color, value])];
      const most = Math.max(...rows.map(([, , value]) => value || 0), 1), over = guess.round === ROUNDS;
      this.guessBar.replaceChildren(
        make("p", {}, make("b", {}, `${result.mean.toFixed(1)} pixels off, ${result.points} of 10 points. `),
          over ? `All ${ROUNDS} rounds: ${guess.points} of ${10 * ROUNDS} points.` : `${guess.points} points after ${guess.played} of ${ROUNDS} rounds.`),
        make("ul", { class: "lab-bars", "aria-label": `MSE of frame ${ASKED}` }, ...rows.map(([title, color, value]) =>
          make("li", { style: `--mark:${color};--part:${value === undefined ? 0 : value / most}` }, make("span", {}, title),
            make("i", {}), make("b", {}, value === undefined ? "…" : value.toFixed(0))))),
        make("p", { class: "lab-note" }, `MSE of frame ${ASKED}. A sharp guess in the wrong place counts twice; a model that is not sure blurs.`),
        button(over ? "Play again" : "Next round", () => this.startGuessing(), { class: "lab-primary" }), stop);
    }
    if (focused) this.guessBar.querySelector(".lab-primary").focus();
  }

  // --- to keep ---

  say(text, bad = false) {
    this.status.textContent = text;
    this.status.classList.toggle("lab-bad", bad);
  }

  async copy(text, what) {
    this.line.hidden = false;
    this.line.value = text;
    this.line.select();
    try {
      await navigator.clipboard.writeText(text);
      this.say(`${what} is copied.`);
    } catch {
      this.say(`${what} stands below, to copy.`);
    }
  }

  async save(kind) {
    const panels = this.views.map((view) => this.panel(view)).filter((panel) => !panel.frames || panel.count);
    const { view } = this.setting;
    const blob = kind === "gif"
      ? new Blob([gif(panels, this.total, this.fps, view)], { type: "image/gif" })
      : await new Promise((done) => strip(panels, this.total, view).toBlob(done, "image/png"));
    const link = make("a", { href: URL.createObjectURL(blob), download: `what-if.${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    this.say(`what-if.${kind} is saved, ${Math.ceil(blob.size / 1024)} KB.`);
  }

  stop() {
    this.run(false);
    this.watcher.disconnect();
    clearTimeout(this.later);
    cancelAnimationFrame(this.pending);
  }
}

const pick = ({ clip, frames, count, error, mse, version }) => ({ clip, frames, count, error, mse, version });
