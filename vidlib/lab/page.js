// The lab as a page without Python: the shipped models run in a worker, by onnxruntime-web, once they are asked for.

import { parse } from "./physics.js";
import { Lab } from "./lab.js";

const base = new URL("./", import.meta.url);

class Room {
  // A worker with questions under way: each gets its own answer, however late.
  constructor() {
    this.waiting = new Map();
    this.worker = new Worker(new URL("worker.js", base), { type: "module" });
    this.worker.onmessage = ({ data: { id, answer, error, done, total } }) => {
      const { resolve, reject, report } = this.waiting.get(id);
      if (total) return report?.(done, total);
      this.waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(answer);
    };
    this.worker.onerror = (event) => {
      event.preventDefault?.();
      this.waiting.forEach(({ reject }) => reject(new Error("The models’ worker stopped: load the page again.")));
      this.waiting.clear();
    };
  }

  ask(kind, question, report) {
    const id = (this.next = (this.next || 0) + 1);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, report });
      this.worker.postMessage({ id, kind, ...question });
    });
  }
}

// The engine of predictions.js, on this page. The observer has a worker of its own: it needs no model.
export function pageEngine(facts) {
  const all = [...facts.models, facts.reader];
  const bytes = [facts.runtime.wasm, ...all].reduce((sum, one) => sum + one.bytes, 0);
  let models = null, observer = null, ready = false;
  return {
    models: facts.models,
    observer: true,
    size: `${(bytes / 1e6).toFixed(0)} MB`,
    ready: () => ready,
    async load(report) {
      models ||= new Room();
      observer ||= new Room();
      await models.ask("load", { base: String(base), runtime: facts.runtime, models: all }, (done, total) =>
        report(done / total, `${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`));
      ready = true;
    },
    predict: (name, window) => models.ask("predict", { name, window }),
    name: (images) => models.ask("name", { images }),
    ideal: ({ images, paths, rule }, first, count) => observer.ask("ideal", { images, paths, rule, first, count }),
  };
}

// `engineOf` makes the engine from what lab.json says.
export async function start(root, engineOf = pageEngine) {
  let facts;
  try {
    facts = await (await fetch(new URL("lab.json", base))).json();
  } catch {
    root.textContent = "The lab’s own files could not be fetched: load the page again.";
    return null;
  }
  const address = (text) => `${location.href.split("#")[0]}#${text}`;
  const lab = new Lab(root, {
    ...facts, engine: engineOf(facts), case: decodeHash(),
    link(text, whole) {
      if (!whole) history.replaceState(null, "", `#${text}`);
      return address(text);
    },
  });
  addEventListener("hashchange", () => {
    const said = lab.load(decodeHash());
    if (said) lab.say(said, true);
    else lab.go(parse(decodeHash()).frame);
  });
  root.lab = lab;
  return lab;
}

function decodeHash() {
  const text = location.hash.slice(1);
  try {
    return decodeURI(text);
  } catch {
    return text; // the sentence about it is parse's
  }
}

for (const root of document.querySelectorAll("[data-what-if-lab]")) start(root);
