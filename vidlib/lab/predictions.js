// Asking the models: one question at a time, the newest setting first, answers that know which setting they are for.
//
// An engine, in the kernel or in a worker of the page, is
//   models: [{name, title, past, horizon}], observer: whether it has an ideal observer, ready(): whether it can answer,
//   predict(name, window, off) → floats, name(images) → digits, ideal(question, first, count) → floats.
// Each returns a promise; one that fails is a sentence in its own panel, and the others go on.

import { gradient, mse, PAST, PIXELS, SIZE, windows } from "./physics.js";

export const OBSERVER = "ideal observer";

export class Predictions {
  constructor(engine, changed) {
    Object.assign(this, { engine, changed, version: 0, answers: new Map(), wanted: null, busy: false });
  }

  // A question: {clip, paths, images, labels, horizon, chunk, official, off, measure}. It waits for the one under way,
  // not for its rest: as soon as each model has given its first frames, the newest question takes over.
  ask(question) {
    this.wanted = { ...question, version: ++this.version };
    if (!this.busy) this.work();
    return this.version;
  }

  get settled() {
    return !this.busy && !this.wanted;
  }

  async work() {
    this.busy = true;
    while (this.wanted && this.engine.ready()) {
      const question = this.wanted;
      this.wanted = null;
      await this.answer(question);
    }
    this.busy = false;
    this.changed();
  }

  async answer(question) {
    const kinds = this.engine.models.map((model) => new Rollout(this.engine, model, question));
    if (this.engine.observer) kinds.push(new Observing(this.engine, question));
    while (kinds.some((kind) => kind.goesOn)) {
      await Promise.all(kinds.filter((kind) => kind.goesOn).map(async (kind) => {
        try {
          await kind.step();
        } catch (fault) {
          kind.error = fault.message || String(fault);
        }
        this.keep(kind);
      }));
      if (this.wanted) return;
    }
    await this.identify(question, kinds);
  }

  keep(kind) {
    const before = this.answers.get(kind.name);
    if (before && before.version > kind.version) return; // never an older answer over a newer one
    kind.score();
    this.answers.set(kind.name, kind);
    this.changed();
  }

  // Is a 6 still a 6? The digit network looks where each digit truly is.
  async identify(question, kinds) {
    if (!question.measure) return;
    try {
      const clean = Float32Array.from(question.images.flatMap((image) => [...image]), (value) => value / 255);
      const names = question.labels.some((label) => label < 0) ? await this.engine.name(clean) : question.labels;
      const labels = question.labels.map((label, i) => (label < 0 ? names[i] : label));
      for (const kind of kinds.filter((one) => one.count)) {
        if (this.wanted) return;
        const { cut, inked } = windows(kind.frames, question.paths, PAST, kind.count);
        const seen = await this.engine.name(cut);
        const right = Array.from(inked, (ink, i) => ink && seen[i] === labels[i % labels.length]);
        kind.identity = Array.from({ length: kind.count }, (_, frame) =>
          right.slice(frame * labels.length, (frame + 1) * labels.length).filter(Boolean).length / labels.length);
        this.changed();
      }
    } catch {
      // the chart of the other metrics goes on without it
    }
  }
}

class Answer {
  constructor(name, title, question) {
    const frames = new Float32Array(question.horizon * PIXELS);
    Object.assign(this, { name, title, question, frames, count: 0, error: "" });
    Object.assign(this, { version: question.version, clip: question.clip, mse: [], sharpness: [], identity: [] });
  }

  get goesOn() {
    return !this.error && this.count < this.question.horizon;
  }

  add(frames) {
    const room = Math.min(frames.length / PIXELS, this.question.horizon - this.count);
    if (frames.some((value) => !Number.isFinite(value)))
      throw new Error(`${this.title} predicts NaN or infinity, expected numbers: look for NaN in its weights.`);
    this.frames.set(frames.subarray(0, room * PIXELS), this.count * PIXELS);
    this.count += room;
  }

  score() {
    for (let frame = this.mse.length; frame < this.count; frame++) {
      const seen = this.frames.subarray(frame * PIXELS, (frame + 1) * PIXELS);
      const truth = this.clip.subarray((PAST + frame) * PIXELS, (PAST + frame + 1) * PIXELS);
      this.mse.push(mse(seen, truth));
      this.sharpness.push(gradient(seen) / gradient(truth, 255));
    }
  }
}

// Iterative prediction as vidlib.iterative.rollout does it: a chunk of each prediction is kept and fed back, clamped.
class Rollout extends Answer {
  constructor(engine, model, question) {
    super(model.name, model.title, question);
    Object.assign(this, { engine, model });
    this.window = Float32Array.from(question.clip.subarray((PAST - model.past) * PIXELS, PAST * PIXELS), (v) => v / 255);
  }

  async step() {
    const predicted = await this.engine.predict(this.name, this.window, this.question.off);
    const kept = predicted.subarray(0, Math.min(this.question.chunk, this.model.horizon) * PIXELS);
    this.add(kept);
    const all = new Float32Array(this.window.length + kept.length);
    all.set(this.window);
    all.set(kept.map((value) => Math.min(Math.max(value, 0), 1)), this.window.length);
    this.window = all.slice(-this.window.length);
  }
}

class Observing extends Answer {
  constructor(engine, question) {
    super(OBSERVER, "Ideal observer", question);
    this.engine = engine;
  }

  async step() {
    this.add(await this.engine.ideal(this.question, PAST + this.count, Math.min(10, this.question.horizon - this.count)));
  }
}

export const labelsOf = (setting) => setting.digits.map(({ image }) => (image[0] === "~" ? -1 : Number(image[0])));

export const flat = (images) => {
  const all = new Uint8Array(images.length * SIZE * SIZE);
  images.forEach((image, i) => all.set(image, i * SIZE * SIZE));
  return all;
};
