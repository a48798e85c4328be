// Line to the server: a WebSocket, or server-sent events where no WebSocket goes through.
//
// A browser notices a lost network only after minutes, so the line asks for a sign of life by itself, and opens
// another one as soon as there is none. It tells `open`, `message` and `state` to whoever listens.

const CONNECT_MS = 10_000;
const HEARTBEAT_MS = 15_000; // timers of hidden pages run once a minute at most; the server waits longer
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const ANSWER_MS = 20_000;
const TRIES_OF_SOCKET = 2; // that fail before they are open, until events are tried in between

export class Line extends EventTarget {
  #carrier = null; // what is used, or tried, now; what was given up is not listened to any more
  #tries = 0;
  #unopened = 0;
  #timer = 0;
  #heartbeat = 0;
  #unanswered = false;
  #wanted = false;
  #ref = 0;
  #asked = new Map(); // ref -> functions of the promise

  isOpen = false;

  start() {
    this.#wanted = true;
    this.#tries = 0;
    this.#open();
  }

  stop() {
    this.#wanted = false;
    this.#drop();
    this.#tell("stopped");
  }

  retryNow() {
    if (this.#wanted && !this.isOpen) {
      this.#tries = 0;
      this.#open();
    }
  }

  // Sends a command; returns whether there was a line to send it on.
  send(command) {
    if (!this.isOpen) return false;
    this.#carrier.send(JSON.stringify(command));
    return true;
  }

  // Sends a command; returns a promise of its answer, which is rejected with the refusal.
  ask(command) {
    const ref = `q${++this.#ref}`;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...command, ref })) {
        reject({ code: "offline", text: "there is no connection" });
        return;
      }
      const timer = setTimeout(() => this.#settle(ref, { type: "refused", code: "late", text: "no answer came" }), ANSWER_MS);
      this.#asked.set(ref, { resolve, reject, timer });
    });
  }

  #settle(ref, answer) {
    const asked = this.#asked.get(ref);
    if (!asked) return false;
    this.#asked.delete(ref);
    clearTimeout(asked.timer);
    (answer.type === "refused" ? asked.reject : asked.resolve)(answer);
    return true;
  }

  #open() {
    this.#drop();
    this.#tell("connecting");
    const byEvents = this.#unopened >= TRIES_OF_SOCKET && this.#unopened % 2 === 0;
    const carrier = byEvents ? new Events() : new Socket();
    this.#carrier = carrier;
    this.#timer = setTimeout(() => this.#lost(carrier), CONNECT_MS);
    carrier.start({
      opened: () => {
        if (carrier !== this.#carrier) return;
        clearTimeout(this.#timer);
        this.#unopened = 0;
        this.isOpen = true;
        this.#unanswered = false;
        this.#heartbeat = setInterval(() => this.#beat(carrier), HEARTBEAT_MS);
        this.dispatchEvent(new Event("open"));
      },
      received: (text) => {
        if (carrier === this.#carrier) this.#received(JSON.parse(text));
      },
      lost: () => this.#lost(carrier),
    });
  }

  // Notes that the server has let us in: the next loss begins with the shortest pause again.
  welcomed() {
    this.#tries = 0;
    this.#tell("open");
  }

  #received(message) {
    this.#unanswered = false;
    if (message.type === "pong") return;
    if (message.ref !== undefined && this.#settle(message.ref, message)) return;
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  #beat(carrier) {
    if (carrier !== this.#carrier) return;
    if (this.#unanswered) {
      this.#lost(carrier);
      return;
    }
    this.#unanswered = true;
    this.send({ type: "ping" });
  }

  #lost(carrier) {
    if (carrier !== this.#carrier) return;
    if (!this.isOpen) this.#unopened += 1;
    this.#drop();
    if (!this.#wanted) return;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** this.#tries, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
    this.#tries += 1;
    this.#timer = setTimeout(() => this.#open(), pause);
    this.#tell("waiting", pause);
  }

  // Gives up what there is, and does not wait for its end: that may take a minute.
  #drop() {
    clearTimeout(this.#timer);
    clearInterval(this.#heartbeat);
    const carrier = this.#carrier;
    this.#carrier = null;
    this.isOpen = false;
    carrier?.stop();
    for (const ref of [...this.#asked.keys()]) {
      this.#settle(ref, { type: "refused", code: "offline", text: "the connection was lost" });
    }
  }

  #tell(state, pause = 0) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, pause } }));
  }
}

class Socket {
  #socket;

  start({ opened, received, lost }) {
    const url = new URL("socket", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#socket = new WebSocket(url);
    this.#socket.onopen = opened;
    this.#socket.onmessage = ({ data }) => received(data);
    this.#socket.onclose = lost;
  }

  send(text) {
    this.#socket.send(text);
  }

  stop() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
  }
}

class Events {
  #source;
  #path = "";
  #posting = Promise.resolve(); // one after the other, so that the order stays
  #lost = () => {};

  start({ opened, received, lost }) {
    this.#lost = lost;
    this.#source = new EventSource("events");
    this.#source.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type !== "stream") {
        received(data);
        return;
      }
      if (this.#path) lost(); // it has connected again by itself, and is nobody yet
      this.#path = message.path.replace(/^\//, "");
      opened();
    };
    this.#source.onerror = lost;
  }

  send(text) {
    this.#posting = this.#posting
      .then(() => fetch(this.#path, { method: "POST", body: text, signal: AbortSignal.timeout(CONNECT_MS) }))
      .then((answer) => { if (!answer.ok) this.#lost(); })
      .catch(() => this.#lost());
  }

  stop() {
    this.#source.onmessage = this.#source.onerror = null;
    this.#lost = () => {};
    this.#source.close();
  }
}
