// Sends files over tus 1.0, piece by piece. A bar shows what is on the server's disk, and faintly what was sent.
"use strict";

const PARALLEL = 3; // files at once
const LEAST = 1 << 20; // bytes of a piece: the server answers each when its disk has it
const MOST = 32 << 20;
const PIECE_SECONDS = 3; // that a piece should take: what is sent again after a break
const PAUSES = [1, 2, 4, 8, 15]; // seconds before another try
const CHECKED = 64 << 20; // bytes of a file whose digest is compared here; it has to fit into memory
const REMEMBERED = `sockd ${location.pathname} `; // begins the keys of unfinished uploads in the storage

const $ = (id) => document.getElementById(id);

// A script that fails is seen by whoever looks for it, and by tests.
const fault = (what) => { document.documentElement.dataset.error = String(what); };
addEventListener("error", (event) => fault(event.message));
addEventListener("unhandledrejection", (event) => fault(event.reason));

// ---- how values are written

function scaled(number, units) {
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) { number /= 1000; unit += 1; }
  return `${number.toFixed(unit === 0 || number >= 100 ? 0 : 1)} ${units[unit]}`;
}

const bytes = (number) => scaled(number, ["B", "kB", "MB", "GB", "TB"]);

function time(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

function element(tag, name, parent, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  parent.append(made);
  return made;
}

function button(label, parent, act) {
  const made = element("button", "small", parent, label);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// ---- requests

class Refused extends Error {} // an answer that trying again does not change

// Sends a request; gives its answer whatever the status is, and throws if there is none.
function ask(method, url, headers = {}, body = null, upload = null) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.onload = () => resolve(request);
    request.onerror = request.onabort = () => reject(new Error("the server does not answer"));
    if (upload) {
      upload.request = request;
      request.upload.onprogress = (event) => upload.sends(event.loaded);
    }
    request.send(body);
  });
}

const offset = (answer) => Number(answer.getResponseHeader("Upload-Offset"));

function digest(answer) {
  const found = /sha-256=:([^:]+):/.exec(answer.getResponseHeader("Repr-Digest") ?? "");
  return found ? Array.from(atob(found[1]), (char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("") : "";
}

const sleep = (seconds) => new Promise((wake) => {
  const timer = setTimeout(wake, seconds * 1000);
  addEventListener("online", () => { clearTimeout(timer); wake(); }, { once: true });
});

// ---- files

const settings = { folders: false, max_size: null, serve: false };
const uploads = new Map(); // by key
let pausing = false;

class Upload {
  // State: waiting, sending, broken (no answer), paused, missing (to be chosen again), done, failed.
  constructor(path, size, key) {
    Object.assign(this, { path, size, key, file: null, state: "waiting", stored: 0, sent: 0, url: null, why: "" });
    this.piece = LEAST;
    this.show();
  }

  show() {
    this.item = element("li", this.state, $("list"));
    const row = element("div", "row", this.item);
    element("span", "name", row, this.path);
    element("span", "size", row, bytes(this.size));
    this.pauses = button("Pause", row, () => (this.state === "paused" ? this.resume() : this.pause()));
    this.forgets = button("Give up", row, () => this.forget());
    this.bar = element("div", "bar", this.item);
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-label", this.path);
    this.bars = ["sent", "stored"].map((name) => element("i", name, this.bar));
    this.says = element("div", "says", this.item);
    this.render();
  }

  render() {
    const { state, stored, sent, size } = this;
    const share = (number) => (size ? (100 * Math.min(number, size)) / size : state === "done" ? 100 : 0);
    this.item.className = state;
    this.bars[0].style.width = `${share(Math.max(sent, stored))}%`;
    this.bars[1].style.width = `${share(stored)}%`;
    this.bar.setAttribute("aria-valuenow", Math.floor(share(stored)));
    this.pauses.hidden = ["done", "failed", "missing"].includes(state);
    this.forgets.textContent = ["done", "failed"].includes(state) ? "Hide" : "Give up";
    this.pauses.textContent = state === "paused" ? "Resume" : "Pause";
    const there = `${bytes(stored)} on the disk`;
    this.says.textContent = {
      waiting: "waits",
      sending: there,
      broken: `${there}; ${this.why}, trying again`,
      paused: `paused, ${there}`,
      missing: `${there}; choose the file again, and the rest is sent`,
      done: this.why || "stored",
      failed: this.why,
    }[state];
    if (this.digest) {
      element("a", "receipt", this.says, "receipt").href = `${this.url}/receipt`;
      element("span", "digest", this.says, `sha256 ${this.digest}`);
    }
    summarize();
  }

  become(state, why = "") {
    Object.assign(this, { state, why });
    this.render();
  }

  sends(loaded) {
    this.sent = this.stored + loaded;
    this.render();
  }

  pause() {
    this.become("paused");
    this.request?.abort();
  }

  resume() {
    this.become("waiting");
    go();
  }

  async forget() {
    const { state } = this;
    this.state = "failed"; // so that its requests end
    this.request?.abort();
    uploads.delete(this.key);
    localStorage.removeItem(REMEMBERED + this.key);
    this.item.remove();
    summarize();
    go();
    if (this.url && state !== "done") await ask("DELETE", this.url, { "Tus-Resumable": "1.0.0" }).catch(() => {});
  }

  remember() {
    try {
      const { path, size, url, stored } = this;
      localStorage.setItem(REMEMBERED + this.key, JSON.stringify({ path, size, url, stored }));
    } catch { /* a browser that stores nothing does not resume after a reload */ }
  }

  // Sends until the file is stored, refused or paused; through breaks of any length.
  async send() {
    this.become("sending");
    for (let tries = 0; this.active; ) {
      const had = this.stored;
      try {
        if (await this.step()) return;
        tries = 0;
      } catch (error) {
        if (!this.active) break;
        if (error instanceof Refused) return void this.become("failed", error.message);
        if (this.stored > had) tries = 0;
        this.asked = false; // where the server is
        this.become("broken", error.message);
        await sleep(PAUSES[Math.min(tries, PAUSES.length - 1)]);
        tries += 1;
        if (this.active) this.become("sending");
      }
    }
  }

  get active() {
    return this.state === "sending" || this.state === "broken";
  }

  // Makes the next request; tells whether the file is stored.
  async step() {
    if (!this.url) return this.take(await this.create());
    if (!this.asked) return this.take(await ask("HEAD", this.url, { "Tus-Resumable": "1.0.0" }));
    const from = this.stored;
    const began = performance.now();
    const answer = await ask("PATCH", this.url, {
      "Tus-Resumable": "1.0.0",
      "Upload-Offset": from,
      "Content-Type": "application/offset+octet-stream",
    }, this.file.slice(from, from + this.piece), this);
    const seconds = (performance.now() - began) / 1000;
    const wanted = ((offset(answer) - from) / seconds) * PIECE_SECONDS;
    if (wanted > 0) this.piece = Math.min(MOST, Math.max(LEAST, Math.min(wanted, 2 * this.piece)));
    return this.take(answer);
  }

  async create() {
    const names = this.path.split("/");
    const metadata = { filename: names.at(-1), type: this.file.type };
    if (settings.folders && names.length > 1) metadata.relativePath = this.path;
    const answer = await ask("POST", "./", {
      "Tus-Resumable": "1.0.0",
      "Upload-Length": this.size,
      "Upload-Metadata": Object.entries(metadata).map(([name, value]) => `${name} ${encoded(value)}`).join(","),
    });
    if (answer.status === 201) {
      this.url = new URL(answer.getResponseHeader("Location"), location.href).href;
      this.remember();
    }
    return answer;
  }

  // Takes what an answer tells; throws if it is none to go on with.
  take(answer) {
    const { status } = answer;
    if (status === 401) $("ask").hidden = false;
    if ((status === 404 || status === 410 || status === 403) && this.url && !this.digest) {
      this.url = null; // it has expired: begin anew
      this.stored = this.sent = 0;
      return false;
    }
    if (status >= 400) {
      const why = answer.responseText.replace(/^error.*?: /, "").trim() || `the server answered ${status}`;
      const later = status > 500 ? !answer.responseText.startsWith("error quota") : [408, 409, 423, 429, 500].includes(status);
      throw later ? new Error(why) : new Refused(why);
    }
    this.asked = true;
    this.stored = this.sent = offset(answer);
    if (this.stored === this.size) return this.finish(digest(answer));
    this.remember();
    this.render();
    return false;
  }

  finish(found) {
    localStorage.removeItem(REMEMBERED + this.key);
    this.digest = found;
    this.become("done", "stored");
    this.compare(found);
    if (settings.serve) list();
    return true;
  }

  async compare(found) {
    if (!found || this.size > CHECKED || !globalThis.crypto?.subtle) return;
    const own = new Uint8Array(await crypto.subtle.digest("SHA-256", await this.file.arrayBuffer()));
    const same = Array.from(own, (byte) => byte.toString(16).padStart(2, "0")).join("") === found;
    if (same) this.become("done", "stored, and the same as your file");
    else this.become("failed", "stored, but not the same as your file: was it changed meanwhile?");
  }
}

function go() {
  if (pausing) return;
  const all = [...uploads.values()];
  let free = PARALLEL - all.filter((upload) => upload.running).length;
  for (const upload of all) {
    if (free > 0 && upload.state === "waiting" && !upload.running) {
      free -= 1;
      upload.running = true;
      upload.send().finally(() => { upload.running = false; go(); });
    }
  }
}

function add(file, path) {
  const key = `${path}|${file.size}|${file.lastModified}`;
  let upload = uploads.get(key);
  if (upload?.state === "done" || upload?.state === "failed") {
    upload.item.remove();
    upload = null;
  }
  if (!upload) uploads.set(key, upload = new Upload(path, file.size, key));
  upload.file = file;
  if (upload.state === "missing") upload.become("waiting");
}

// ---- what is dropped or chosen

async function files(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    return [[file, entry.fullPath.replace(/^\//, "")]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) return found;
    for (const inner of some) found.push(...await files(inner));
  }
}

function take(found) {
  for (const [file, path] of found) add(file, path);
  if (!settings.folders && found.some(([, path]) => path.includes("/"))) {
    notify("This service has no folders: the files arrive side by side.");
  }
  go();
}

function notify(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
}

const drop = $("drop");
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
addEventListener("drop", async (event) => {
  // The entries are gone once this function has waited.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  for (const entry of entries) take(await files(entry));
});
for (const id of ["files", "folders"]) {
  $(id).addEventListener("change", (event) => {
    take([...event.target.files].map((file) => [file, file.webkitRelativePath || file.name]));
    event.target.value = ""; // so that the same file can be chosen again
  });
}
addEventListener("beforeunload", (event) => {
  if ([...uploads.values()].some((upload) => upload.active)) event.preventDefault();
});

$("pause").addEventListener("click", () => {
  pausing = !pausing;
  $("pause").textContent = pausing ? "Resume all" : "Pause all";
  for (const upload of uploads.values()) {
    if (pausing && (upload.active || upload.state === "waiting")) upload.pause();
    else if (!pausing && upload.state === "paused") upload.become("waiting");
  }
  go();
});
$("clear").addEventListener("click", () => {
  for (const upload of [...uploads.values()]) if (["done", "failed"].includes(upload.state)) upload.forget();
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  location.href = `${location.pathname.replace(/t\/[^/]+\/$/, "")}t/${encodeURIComponent($("token").value.trim())}/`;
});

// ---- the whole

const rates = []; // bytes on the disk, and when
function summarize() {
  const all = [...uploads.values()];
  const sum = (of) => all.reduce((total, upload) => total + of(upload), 0);
  const [size, stored] = [sum((upload) => upload.size), sum((upload) => upload.stored)];
  const done = all.filter((upload) => upload.state === "done").length;
  $("main").hidden = !all.length;
  $("summary").textContent = `${done} of ${all.length} ${all.length === 1 ? "file" : "files"} stored, ${bytes(stored)} of ${bytes(size)}`;
  const now = performance.now() / 1000;
  rates.push([now, stored]);
  while (rates.length > 2 && now - rates[0][0] > 10) rates.shift();
  const rate = (stored - rates[0][1]) / Math.max(now - rates[0][0], 0.1);
  const moving = rate > 0 && all.some((upload) => upload.state === "sending");
  $("pace").textContent = moving ? `${bytes(rate)}/s, ${time((size - stored) / rate)} left` : "";
}

async function list() {
  const answer = await ask("GET", "./", { Accept: "application/json" }).catch(() => null);
  if (answer?.status !== 200) return;
  $("received").replaceChildren();
  for (const { name, size } of JSON.parse(answer.responseText)) {
    const item = element("li", "", $("received"));
    const link = element("a", "", item, name);
    link.href = name.split("/").map(encodeURIComponent).join("/");
    element("span", "size", item, size === undefined ? "" : bytes(size));
  }
  $("there").hidden = false;
}

async function start() {
  const answer = await ask("GET", "-/page.json").catch(() => null);
  if (answer?.status === 200) Object.assign(settings, JSON.parse(answer.responseText));
  $("folder").hidden = !("webkitdirectory" in $("folders"));
  if (settings.max_size) $("limits").textContent = `each up to ${bytes(settings.max_size)}`;
  for (const name of Object.keys(localStorage)) {
    if (!name.startsWith(REMEMBERED)) continue;
    const { path, size, ...known } = JSON.parse(localStorage.getItem(name));
    const key = name.slice(REMEMBERED.length);
    const upload = new Upload(path, size, key);
    uploads.set(key, Object.assign(upload, known));
    upload.become("missing"); // another page may send it; asking the server would end that
  }
  if (settings.serve) list();
  document.documentElement.dataset.ready = "yes";
}
start();
