// The page: keeps what it is told of each buyer, draws it, and says in words what it means.

const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Buyers of the sale that is shown, by their ids. Times are in milliseconds of the server's clock. */
let buyers = new Map();
/** What is known of the whole. */
let hello = { instance: "", lock: "", pieces: 20, shared: false };
let standing = { left: null, at: 0, lock: null, looked: 0 };
/** The server's clock minus ours. */
let ahead = 0;
/** The row that the readout is about. */
let chosen = null;

// A buyer whose instance has died says nothing any more: it waits no longer than this.
const PATIENCE = 30_000;
// The code, as the server was compiled from it, and the lease that it asks for: what held the lock for as long has lost it,
// whether it could say so or not.
const code = await (await fetch("buy.rs")).text();
const LEASE = Number(code.match(/ttl = "(\d+)s"/)[1]) * 1000;

const now = () => Date.now() + ahead;

// What the server tells.

const events = new EventSource("events");

events.addEventListener("hello", ({ data }) => {
  hello = JSON.parse(data);
  ahead = hello.now / 1000 - Date.now();
  buyers = new Map();
  chosen = null;
  $("pieces").textContent = hello.pieces;
  $("key").textContent = hello.lock;
  list(hello.functions);
  say($("where"), `${hello.shared ? "Locks in Redis" : "Locks in memory"} · instance ${hello.instance}`);
  draw();
});

events.addEventListener("buyer", ({ data }) => {
  const { id, buyer: number, instance, lock, crowd, size, state, at } = JSON.parse(data);
  const time = at / 1000;
  if (state === "waiting") {
    if (!buyers.has(id)) {
      if (!isRunning()) begin();
      buyers.set(id, { id, number, instance, lock, crowd, size, came: time, entered: null, left: null, outcome: null });
    }
  } else if (buyers.has(id)) {
    const buyer = buyers.get(id);
    if (state === "holding") {
      buyer.entered = time;
    } else {
      buyer.left = time;
      buyer.outcome = state;
    }
  }
  draw();
});

events.addEventListener("standing", ({ data }) => {
  const { left, at, lock, looked } = JSON.parse(data);
  standing = { left, at: at / 1000, lock, looked: looked / 1000 };
  if ($("where").dataset.mood === "alarm") {
    say($("where"), `${hello.shared ? "Locks in Redis" : "Locks in memory"} · instance ${hello.instance}`);
  }
  draw();
});

events.addEventListener("trouble", ({ data }) => say($("where"), JSON.parse(data), "alarm"));
events.addEventListener("error", () => say($("where"), "The service does not answer. Trying again…", "alarm"));

// A sale: from the first who comes while nobody is there, to the last who leaves.

function begin() {
  buyers = new Map();
  chosen = null;
  $("readout").textContent = "One row for each buyer, in the order in which they came.";
}

/** The buyers in the order in which they came. What instances tell each other may arrive in another one. */
const rows = () => [...buyers.values()].sort((one, other) => one.came - other.came);

/** When it left, or `null` if it is still there. Nobody is inside for longer than the lease. */
function exit(buyer) {
  const lease = buyer.lock && buyer.entered !== null ? buyer.entered + LEASE : Infinity;
  if (buyer.left !== null) return Math.min(buyer.left, lease);
  const silent = buyer.entered ?? buyer.came;
  const end = Math.min(lease, silent + PATIENCE);
  return now() > end ? end : null;
}

const isLost = (buyer) => buyer.outcome === "lost" || (buyer.left === null && exit(buyer) !== null);

/** Whether somebody is still there, or still to come. */
function isRunning() {
  const all = [...buyers.values()];
  const missing = new Map(all.map(({ crowd, size }) => [crowd, size]));
  for (const { crowd } of all) missing.set(crowd, missing.get(crowd) - 1);
  return all.some((buyer) => exit(buyer) === null || (missing.get(buyer.crowd) > 0 && now() < buyer.came + PATIENCE));
}

/** Who was inside together with somebody else, and how many were at most. */
function overlaps(all, end) {
  const inside = new Set();
  const together = new Set();
  let most = 0;
  const steps = all
    .filter((buyer) => buyer.entered !== null)
    .flatMap((buyer) => [
      { at: buyer.entered, by: 1, buyer },
      { at: exit(buyer) ?? end, by: -1, buyer },
    ])
    // Whoever leaves in the same instant in which another comes has left.
    .sort((one, other) => one.at - other.at || one.by - other.by);
  for (const { by, buyer } of steps) {
    if (by < 0) {
      inside.delete(buyer);
      continue;
    }
    inside.add(buyer);
    if (inside.size > 1) inside.forEach((each) => together.add(each));
    most = Math.max(most, inside.size);
  }
  return { together, most };
}

// Words.

/** Changes a text only if it is another one, or it would be read out again. */
function say(element, text, mood = "") {
  if (element.textContent !== String(text)) element.textContent = text;
  if (element.dataset.mood !== mood) element.dataset.mood = mood;
}

/** A number with a minus sign that is as wide as a plus. */
const figure = (number) => String(number).replace("-", "−");

const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function verdict(all, running, most) {
  if (all.length === 0) return ["Nobody has come yet. Send some buyers.", "calm"];
  const left = standing.left;
  const sold = all.filter((buyer) => buyer.outcome === "sold").length;
  const lost = all.filter(isLost).length;
  if (running) return [`${count(all.length, "buyer", "buyers")} at once…`, "calm"];
  if (left < 0) {
    return [`Oversold: ${hello.pieces - left} pairs sold, but there were only ${hello.pieces}. ` +
      `Up to ${most} buyers were inside at once.`, "alarm"];
  }
  if (most > 1) {
    return [`Lucky: ${sold} sold, ${left} left, although up to ${most} buyers were inside at once.`, "alarm"];
  }
  const stalled = lost === 0 ? "" : ` ${count(lost, "buyer", "buyers")} stalled, lost the lock, and bought nothing.`;
  const crowd = `${count(all.length, "buyer", "buyers")} came, and went in one at a time.`;
  if (left === 0) return [`Sold out, exactly: ${sold} pairs sold, 0 left. ${crowd}${stalled}`, "good"];
  return [`${count(sold, "pair", "pairs")} sold, ${left} left. ${crowd}${stalled}`, "good"];
}

function about(buyer, together) {
  const name = `Buyer ${buyer.number} of instance ${buyer.instance}`;
  const time = (from, to) => `${Math.max(0, Math.round(to - from))} ms`;
  const end = exit(buyer) ?? now();
  if (buyer.entered === null) return `${name} has waited for ${time(buyer.came, end)}.`;
  const outcome = isLost(buyer) ? "and lost the lock" : buyer.outcome === "sold" ? "and bought a pair"
    : buyer.outcome === "sold out" ? "and found nothing left" : "so far";
  const company = together.has(buyer) ? ", together with others" : "";
  return `${name} waited for ${time(buyer.came, buyer.entered)}, was inside for ${time(buyer.entered, end)} ${outcome}${company}.`;
}

// The picture.

const SVG = "http://www.w3.org/2000/svg";
const AXIS = 22;

let drawn = false;

/** Draws in the next frame; while somebody is there, in every one. */
function draw() {
  if (drawn) return;
  drawn = true;
  const later = calm.matches ? (frame) => setTimeout(frame, 250) : requestAnimationFrame;
  later(() => {
    drawn = false;
    picture();
    if (isRunning()) draw();
  });
}

function picture() {
  const all = rows();
  const present = isRunning();
  const begun = Math.min(...all.map((buyer) => buyer.came));
  const heard = Math.max(...all.map((buyer) => exit(buyer) ?? buyer.entered ?? buyer.came));
  const ended = present ? Math.max(now(), heard) : heard;
  // How many are left was asked before the last one went: that is not yet the outcome.
  const running = present || standing.at < heard;
  const { together, most } = overlaps(all, ended);

  say($("verdict"), ...verdict(all, running, most));
  const left = standing.left;
  say($("left"), left === null ? "–" : figure(left), left < 0 ? "alarm" : "");
  say($("sold"), left === null ? 0 : hello.pieces - left, left < 0 ? "alarm" : "");
  say($("waiting"), all.filter((buyer) => buyer.entered === null && exit(buyer) === null).length);
  say($("inside"), most, most > 1 ? "alarm" : "");
  document.body.dataset.running = running;

  timeline(all, begun, ended, together);
  if (all.length > 0) $("code").dataset.sale = all.at(-1).lock === null ? "unlocked" : "locked";
  lock();
}

function timeline(all, begun, ended, together) {
  const svg = $("bars");
  const { width, height } = $("plot").getBoundingClientRect();
  // At least this much, or the first buyer would fill the page.
  const span = Math.max(ended - begun, 250);
  const x = (time) => ((time - begun) / span) * width;
  const pitch = Math.min((height - AXIS) / Math.max(all.length, 1), 18);
  const thick = Math.max(pitch - Math.min(pitch * 0.25, 3), 0.5);

  const parts = [];
  if (all.length > 0) parts.push(...axis(span, width, height));
  all.forEach((buyer, row) => {
    const y = row * pitch;
    const end = exit(buyer) ?? ended;
    const bar = (part, from, to, height) => {
      const marks = { "data-part": part, "data-buyer": buyer.id, "data-instance": buyer.instance };
      if (buyer.outcome !== null) marks["data-outcome"] = buyer.outcome;
      if (buyer.lock !== null) marks["data-lock"] = buyer.lock;
      if (buyer.instance !== hello.instance) marks["data-elsewhere"] = "";
      if (part !== "waiting" && together.has(buyer)) marks["data-overlap"] = "";
      parts.push(element("rect", { x: x(from), y: y + (thick - height) / 2, width: x(to) - x(from), height, ...marks }));
    };
    if (buyer.id === chosen) parts.push(element("rect", { class: "chosen", x: 0, y: y - 1, width, height: pitch + 1 }));
    bar("waiting", buyer.came, buyer.entered ?? end, thick / 2);
    if (buyer.entered !== null) bar(isLost(buyer) ? "lost" : "holding", buyer.entered, end, thick);
  });
  svg.replaceChildren(...parts);
  if (buyers.has(chosen)) say($("readout"), about(buyers.get(chosen), together));
}

function* axis(span, width, height) {
  const wide = width / 80;
  const step = [50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000].find((step) => span / step <= wide) ?? 30_000;
  for (let time = 0; time <= span; time += step) {
    const x = (time / span) * width;
    yield element("line", { x1: x, x2: x, y1: 0, y2: height - AXIS + 4 });
    if (x > width - 40) continue;
    const label = element("text", { x: x + (time === 0 ? 0 : 4), y: height - 4 });
    label.textContent = time >= 1000 ? `${time / 1000} s` : `${time} ms`;
    yield label;
  }
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

// The lock.

/** What the store said of it when it was asked last; the time that is left goes on. */
function lock() {
  const { lock, looked } = standing;
  const left = lock ? Math.max(0, lock.remaining - (now() - looked)) : 0;
  say($("holder"), lock ? lock.holder ?? "another program" : "nobody");
  say($("ttl"), lock ? `${Math.round(left)} ms` : "–");
  $("ttl-bar").value = left / LEASE;
  say($("queue"), lock ? inLine(lock) : "nobody");
}

/** Calls of this instance, and where instances wait for each other, those. */
function inLine({ here, processes }) {
  if (here === 0 && !processes) return "nobody";
  const calls = count(here, "call of this instance", "calls of this instance");
  return processes ? `${calls}; ${count(processes, "instance", "instances")} at the store` : calls;
}

// The functions.

function list(functions) {
  const text = (tag, name, words) => {
    const made = document.createElement(tag);
    made.className = name;
    made.textContent = words;
    return made;
  };
  $("functions").replaceChildren(...functions.map(({ function: name, template, arguments: written, place }) => {
    const item = document.createElement("li");
    item.append(text("code", "template", template || "(an expression)"), text("span", "name", `${name}, ${place}`));
    item.append(text("code", "written", written));
    const same = functions.filter((other) => other.template === template && other.place !== place && template !== "");
    if (same.length > 0) {
      item.append(text("span", "same", `The same keys as ${same.map((other) => other.function).join(", ")}: they exclude each other.`));
    }
    return item;
  }));
}

// What the reader does.

$("controls").addEventListener("submit", async (event) => {
  event.preventDefault();
  const kind = event.submitter?.value ?? "locked";
  const number = kind === "stalling" ? 1 : $("buyers").value;
  try {
    const response = await fetch(`sale/${kind}/${number}`, { method: "POST" });
    if (!response.ok) say($("verdict"), await response.text(), "alarm");
  } catch (error) {
    say($("where"), `The service does not answer: ${error.message}`, "alarm");
  }
});

function choose(row) {
  const ids = rows().map((buyer) => buyer.id);
  if (ids.length === 0) return;
  chosen = ids[Math.min(Math.max(row, 0), ids.length - 1)];
  draw();
}

$("plot").addEventListener("keydown", (event) => {
  const row = rows().findIndex((buyer) => buyer.id === chosen);
  const to = { ArrowDown: row + 1, ArrowUp: row < 0 ? 0 : row - 1, Home: 0, End: buyers.size - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(to);
});

$("plot").addEventListener("pointermove", (event) => {
  const { top, height } = $("plot").getBoundingClientRect();
  const pitch = Math.min((height - AXIS) / Math.max(buyers.size, 1), 18);
  choose(Math.floor((event.clientY - top) / pitch));
});

new ResizeObserver(draw).observe($("plot"));

// The code, without what is about this program alone.

const lines = code.split("\n").filter((line) => !/^(\/\/!|use )/.test(line)).join("\n").trim().split("\n");
$("code").replaceChildren(...lines.map((line) => {
  const row = document.createElement("span");
  row.className = line.startsWith("#[") ? "attribute" : line.trim().startsWith("//") ? "comment" : "";
  row.textContent = line;
  return row;
}));
