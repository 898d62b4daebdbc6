// The page's engine room: a worker that fetches onnxruntime-web and the models, and answers one question at a time.
//
// One thread: a static host cannot send the headers that threads in WebAssembly need.

import { PAST } from "./physics.js";
import { chances, expectedFrames } from "./observer.js";

let ort = null;
const sessions = new Map(), known = new Map();

// Fetch a file whole, telling how far it has come.
async function fetched(url, bytes, arrived) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw new Error(`${nameOf(url)} could not be fetched: look at the network and load again.`);
  }
  if (!answer.ok) throw new Error(`${nameOf(url)} is missing on this site (${answer.status}): build the pages again.`);
  let all, at = 0;
  try {
    all = new Uint8Array(bytes);
  } catch (fault) {
    throw new Error(outOf(fault, `${nameOf(url)} could not be kept`));
  }
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) break;
    if (at + value.length <= bytes) all.set(value, at);
    at += value.length;
    arrived(value.length);
  }
  if (at !== bytes) throw new Error(`${nameOf(url)} has ${at} bytes, expected ${bytes}: it is truncated or changed; load again.`);
  return all;
}

const nameOf = (url) => String(url).split("/").pop();

async function load({ base, runtime, models }, report) {
  let done = 0;
  const all = [runtime.wasm, ...models], total = all.reduce((sum, one) => sum + one.bytes, 0);
  const arrived = (bytes) => report((done += bytes), total);
  if (!ort) {
    const wasm = await fetched(new URL(runtime.wasm.file, base), runtime.wasm.bytes, arrived);
    try {
      ort = await import(new URL(runtime.script, base));
    } catch {
      throw new Error(`${nameOf(runtime.script)} could not be loaded: load again, or build the pages again.`);
    }
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm.buffer });
    ort.env.logLevel = "error";
  } else done += runtime.wasm.bytes;
  for (const model of models) {
    if (sessions.has(model.name)) {
      done += model.bytes;
      continue;
    }
    const file = await fetched(new URL(model.file, base), model.bytes, arrived);
    try {
      sessions.set(model.name, await ort.InferenceSession.create(file, { executionProviders: ["wasm"] }));
    } catch (fault) {
      throw new Error(outOf(fault, `${model.title} could not be made ready`));
    }
  }
}

function outOf(fault, what) {
  const short = /memory|allocat|OOM|Array buffer/i.test(String(fault));
  return short
    ? `${what}: this browser is out of memory. Close other pages and load again.`
    : `${what} (${String(fault.message || fault).split("\n")[0].slice(0, 120)}): load the page again.`;
}

async function ask(name, floats, shape) {
  const session = sessions.get(name), [input] = session.inputNames;
  try {
    const answers = await session.run({ [input]: new ort.Tensor("float32", floats, shape) });
    return answers[session.outputNames[0]].data;
  } catch (fault) {
    throw new Error(outOf(fault, `${name} could not answer`));
  }
}

const answers = {
  load: (question, report) => load(question, report),
  predict: ({ name, window }) => ask(name, window, [1, window.length / 4096, 1, 64, 64]),
  name: async ({ images }) => {
    const logits = await ask("digit-network", images, [images.length / 784, 1, 28, 28]);
    return Uint8Array.from({ length: images.length / 784 }, (_, i) => {
      const own = logits.slice(10 * i, 10 * i + 10);
      return own.indexOf(Math.max(...own));
    });
  },
  ideal: ({ images, paths, rule, first, count }) => {
    const key = JSON.stringify([paths, rule, first, count]);
    if (!known.has(key)) {
      if (known.size > 8) known.clear();
      known.set(key, paths.map((path) => chances(path, rule, PAST, first, count)));
    }
    return expectedFrames(images, known.get(key), count);
  },
};

self.onmessage = async ({ data: { id, kind, ...question } }) => {
  try {
    const answer = await answers[kind](question, (done, total) => self.postMessage({ id, done, total }));
    self.postMessage({ id, answer });
  } catch (fault) {
    self.postMessage({ id, error: fault.message || String(fault) });
  }
};
