// Asks for /status.json every second and shows what it says. All text goes in by textContent.
"use strict";

const PERIOD = 1000; // milliseconds between two looks
const PATIENCE = 6000; // milliseconds; a little more than the daemon takes to say that it cannot tell
const SHOWN = 120; // seconds that a plot goes back

const $ = (id) => document.getElementById(id);
const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);

// A script that fails is seen by whoever looks for it, and by tests.
const failed = (what) => { document.documentElement.dataset.error = String(what); };
addEventListener("error", (event) => failed(event.message));
addEventListener("unhandledrejection", (event) => failed(event.reason));

// ---- how values are written

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (number) => (number == null ? NONE : whole.format(number));

function scaled(number, units, step) {
  let unit = 0;
  while (number >= step * 0.9995 && unit < units.length - 1) { number /= step; unit += 1; }
  const digits = number >= 100 || (unit === 0 && Number.isInteger(number)) ? 0 : number >= 10 ? 1 : 2;
  return `${number.toFixed(digits)} ${units[unit]}`;
}

const rate = (bytes) => (bytes == null ? NONE : scaled(Math.round(bytes), ["B/s", "kB/s", "MB/s", "GB/s"], 1000));
const delay = (seconds) => (seconds == null ? NONE : scaled(seconds * 1e6, ["µs", "ms", "s"], 1000));

function time(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = Math.max(0, units.findIndex(([, length]) => seconds >= length));
  const parts = [];
  for (const [name, length] of units.slice(first, first + 2)) {
    const number = Math.floor(seconds / length);
    seconds -= number * length;
    if (number) parts.push(`${number} ${name}`);
  }
  return parts.join(" ") || "0 s";
}

// ---- tables

// A column: its label, what it says of a row, how that looks, and whether it is a number.
class Table {
  constructor(table, key, columns) {
    Object.assign(this, { key, columns, rows: new Map(), body: document.createElement("tbody") });
    const head = document.createElement("thead").appendChild(document.createElement("tr"));
    for (const { label, number } of columns) {
      const cell = head.appendChild(document.createElement("th"));
      cell.textContent = label;
      cell.scope = "col";
      cell.classList.toggle("number", Boolean(number));
    }
    table.append(head.parentNode, this.body);
  }

  // Rows that stay are changed in place, so that what somebody has selected stays selected.
  show(items) {
    const keys = items.map((item, index) => `${this.key(item)} ${index}`);
    for (const [key, row] of this.rows) {
      if (!keys.includes(key)) { row.remove(); this.rows.delete(key); }
    }
    items.forEach((item, index) => {
      let row = this.rows.get(keys[index]);
      if (!row) {
        row = this.body.appendChild(document.createElement("tr"));
        for (const { label } of this.columns) row.appendChild(document.createElement("td")).dataset.label = label;
        this.rows.set(keys[index], row);
      }
      if (this.body.children[index] !== row) this.body.insertBefore(row, this.body.children[index]);
      this.columns.forEach(({ text, look, number }, place) => {
        const cell = row.children[place], says = text(item);
        if (cell.textContent !== says) cell.textContent = says;
        cell.className = `${number ? "number" : ""} ${look?.(item) ?? ""}`;
      });
    });
  }
}

const counted = (service, event) => sum(service.counts.filter((counts) => counts[0] === event), (counts) => counts[2]);
const refused = (service) => counted(service, "connection refused") + counted(service, "datagram dropped");
const faults = (service) => counted(service, "plugin fault");
const of = (now, limit) => (limit == null ? count(now) : `${count(now)} / ${count(limit)}`);

const quiet = () => "quiet";
const quietIf = (zero) => (zero ? "quiet" : "");
const state = (item) => (item.state === "open" || item.state === "ready" ? "" : "warn");
const full = (now, limit) => (limit && now >= limit ? "bad" : limit && now >= 0.8 * limit ? "warn" : "");

const services = new Table($("services"), (service) => service.name, [
  { label: "Service", text: (service) => service.name },
  { label: "Plugin", text: (service) => service.plugin, look: quiet },
  { label: "State", text: (service) => service.state, look: state },
  {
    label: "Live / limit",
    number: true,
    text: (service) => of(service.connections, service.limits.max_connections),
    look: (service) => full(service.connections, service.limits.max_connections),
  },
  {
    label: "Datagrams",
    number: true,
    text: (service) => count(service.datagrams_received),
    look: (service) => quietIf(!service.datagrams_received),
  },
  { label: "Refused", number: true, text: (service) => count(refused(service)), look: (service) => quietIf(!refused(service)) },
  { label: "Faults", number: true, text: (service) => count(faults(service)), look: (service) => (faults(service) ? "bad" : "quiet") },
  { label: "In", number: true, text: (service) => rate(service.rates.received), look: (service) => quietIf(!service.rates.received) },
  { label: "Out", number: true, text: (service) => rate(service.rates.sent), look: (service) => quietIf(!service.rates.sent) },
]);

const SOON = 14 * 86400; // seconds; a certificate that is not renewed by then wants somebody
const left = (listener) => listener.certificate_expires - Date.now() / 1000;

const listeners = new Table($("listeners"), (listener) => listener.address, [
  { label: "Address", text: (listener) => listener.address },
  { label: "Service", text: (listener) => listener.service, look: quiet },
  { label: "Protocol", text: (listener) => listener.protocol, look: quiet },
  {
    label: "Certificate",
    number: true,
    text: (listener) => (!listener.tls ? "" : left(listener) > 0 ? `${time(left(listener))} left` : "expired"),
    look: (listener) => (!listener.tls ? "" : left(listener) <= 0 ? "bad" : left(listener) < SOON ? "warn" : ""),
  },
  {
    label: "Queue",
    number: true,
    text: (listener) => (listener.queue == null ? "" : of(listener.queue, listener.backlog)),
    look: (listener) => full(listener.queue, listener.backlog) || quietIf(!listener.queue),
  },
  {
    label: "Dropped",
    number: true,
    text: (listener) => (listener.drops == null ? "" : count(listener.drops)),
    look: (listener) => (listener.drops ? "warn" : "quiet"),
  },
]);

const workers = new Table($("workers"), (worker) => worker.worker, [
  { label: "Worker", text: (worker) => String(worker.worker) },
  { label: "State", text: (worker) => worker.state, look: state },
  { label: "Process", number: true, text: (worker) => String(worker.pid ?? NONE), look: quiet },
  { label: "Generation", number: true, text: (worker) => String(worker.generation ?? NONE), look: quiet },
  { label: "Connections", number: true, text: (worker) => count(sum(worker.services ?? [], (service) => service.connections)) },
  {
    label: "Descriptors",
    number: true,
    text: (worker) => of(worker.descriptors?.used, worker.descriptors?.limit),
    look: (worker) => full(worker.descriptors?.used, worker.descriptors?.limit),
  },
  { label: "Delay", number: true, text: (worker) => delay(worker.reactor_delay) },
]);

// ---- plots

// Points are [time in seconds, value of each line]; a value that is null is a gap.
class Plot {
  constructor(canvas, colors, written, least) {
    Object.assign(this, { canvas, colors, written, least, points: [] });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  add(now, values) {
    this.points.push([now, ...values]);
    this.points = this.points.filter(([when]) => when >= now - SHOWN - 5);
    this.draw();
  }

  draw() {
    const { canvas, points } = this;
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    pen.scale(ratio, ratio);
    const most = roundUp(Math.max(this.least, ...points.flatMap((point) => point.slice(1))));
    const bottom = height - 1, top = 16, now = points.at(-1)?.[0] ?? 0;
    const x = (when) => width - ((now - when) / SHOWN) * width;
    const y = (value) => bottom - (value / most) * (bottom - top);

    pen.font = `11px ${getComputedStyle(canvas).fontFamily}`;
    pen.fillStyle = style.getPropertyValue("--quiet");
    pen.fillText(this.written(most).replace(/\.0+ /, " "), 0, top - 5);
    pen.strokeStyle = style.getPropertyValue("--line");
    for (const level of [0, most / 2, most]) {
      const line = Math.round(y(level)) + 0.5;
      pen.beginPath();
      pen.moveTo(0, line);
      pen.lineTo(width, line);
      pen.stroke();
    }
    this.colors.forEach((name, line) => {
      pen.strokeStyle = pen.fillStyle = style.getPropertyValue(name);
      for (const run of runs(points, line + 1)) {
        const path = new Path2D();
        run.forEach(([when, value], place) => path[place ? "lineTo" : "moveTo"](x(when), y(value)));
        pen.lineWidth = 1.5;
        pen.lineJoin = "round";
        pen.stroke(path);
        path.lineTo(x(run.at(-1)[0]), bottom);
        path.lineTo(x(run[0][0]), bottom);
        pen.globalAlpha = 0.1;
        pen.fill(path);
        pen.globalAlpha = 1;
      }
    });
  }
}

// The parts of one line between its gaps, as [time, value].
function runs(points, line) {
  const found = [[]];
  for (const point of points) {
    if (point[line] == null) found.push([]);
    else found.at(-1).push([point[0], point[line]]);
  }
  return found.filter((run) => run.length);
}

// The least of 1, 2, 5, 10, 20 … that is not below.
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return power * ([1, 2, 5].find((step) => number <= step * power * 1.0001) ?? 10);
}

const plots = {
  connections: new Plot($("connections"), ["--first"], count, 10),
  throughput: new Plot($("throughput"), ["--first", "--second"], rate, 1000),
  delay: new Plot($("delay"), ["--first"], delay, 0.001),
};

// ---- the daemon

let before = null; // the snapshot before, of the same process
let heard = null; // when the daemon was last heard of

// Bytes a second since the snapshot before; null where there is none to compare with.
function rates(service, old, seconds) {
  const each = (key) => (old && seconds > 0 && service[key] >= old[key] ? (service[key] - old[key]) / seconds : null);
  return { received: each("received"), sent: each("sent") };
}

function show(status) {
  const now = status.time ?? Date.now() / 1000;
  if (before && (before.started !== status.started || before.pid !== status.pid)) before = null;
  if (before && now <= before.now) return; // the same one again
  for (const [index, service] of status.services.entries()) {
    const old = before?.services[index]?.name === service.name ? before.services[index] : null;
    service.rates = rates(service, old, now - before?.now);
  }
  const total = (key) => (before ? sum(status.services, (service) => service.rates[key] ?? 0) : null);
  const connections = sum(status.services, (service) => service.connections);

  $("state").textContent = status.state;
  $("state").className = `state ${status.state === "ready" ? "good" : "warn"}`;
  document.title = `sockd – ${status.state}`;
  $("about").textContent = [
    `version ${status.version}`, status.reactor, `process ${status.pid}`, `up ${time(now - status.started)}`,
  ].filter(Boolean).map((part) => part.replaceAll(" ", "\u00a0")).join(" · "); // a narrow screen breaks only between them
  const { used, limit } = status.descriptors ?? {};
  $("totals").textContent = used == null ? "" : `${of(used, limit)} file descriptors`;
  $("connections-now").textContent = count(connections);
  $("received-now").textContent = `in ${rate(total("received"))}`;
  $("sent-now").textContent = `out ${rate(total("sent"))}`;
  $("delay-now").textContent = delay(status.reactor_delay);

  services.show(status.services);
  listeners.show(status.services.flatMap((service) =>
    service.listeners.map((listener) => ({ ...listener, service: service.name }))));
  $("unserved").hidden = status.config_ok !== false;
  $("workers-section").hidden = !status.workers;
  workers.show(status.workers ?? []);
  plots.connections.add(now, [connections]);
  plots.throughput.add(now, [total("received"), total("sent")]);
  plots.delay.add(now, [status.reactor_delay ?? null]);
  before = { ...status, now };
}

function showGone() {
  $("state").textContent = "no answer";
  $("state").className = "state bad";
  document.title = "sockd – no answer";
  $("gone").textContent = heard
    ? `The daemon has not answered since ${heard.toLocaleTimeString()}. Trying again every second.`
    : "The daemon does not answer. Trying again every second.";
  if (before) plots.throughput.add(before.now, [null, null]);
  before = null;
}

async function look() {
  setTimeout(look, PERIOD);
  let status = null;
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.ok) status = await answer.json();
  } catch { /* nobody answers; the page says so below */ }
  $("gone").hidden = Boolean(status);
  $("main").classList.toggle("stale", !status);
  if (status) {
    show(status);
    heard = new Date();
  } else {
    showGone();
  }
}

look();
