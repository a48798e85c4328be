// The chat as this person has it: rooms, private talks, and the line to the server.

import { concerns, told } from "./events.js";
import { fetchOlder, fill } from "./history.js";
import { Line } from "./line.js";
import { kept, Room } from "./rooms.js";
import { $, Log, showPeople, showRooms } from "./view.js";

const AT_THE_DOOR = new Set(["taken", "bad_name", "confusable", "login", "denied", "bad_command"]); // another name helps
const LATER_MS = 1200; // until what came too fast is sent again
const AT_ONCE = 10;
const RETRY_MS = 5000; // until the server has noticed that an earlier line is lost

export class Chat {
  me = "";
  key = sessionStorage.getItem("chat.key") ?? "";
  limits = { text: 400, name: 24 };
  firstRoom = "";
  rooms = new Map(); // by names in lower case
  current = null;
  features = [];
  line = new Line();
  #epoch = null;
  #toOpen = kept.get("current", ""); // room that is shown as soon as this person is in it
  #wanted = new Set(kept.get("rooms", [])); // rooms to be in, after a loss too
  #keys = new Map(); // of rooms that ask for one
  #reads = kept.get("reads", {});
  #log = new Log(() => this.me, {
    onTop: () => fetchOlder(this, this.current),
    onNearEnd: () => this.markRead(),
    onAgain: (pending) => { pending.failed = ""; this.#send(this.current, pending); this.showPending(this.current); },
  });
  #ref = 0;
  #password = ""; // of the account, kept as long as the page, for the next line
  #held = 0; // timer until what came too fast is sent again
  #isIn = false; // whether the server has let us in on this line
  #visit = 0; // counts the lines on which the server has let us in
  #askName;
  #closePanels;

  constructor({ askName, closePanels }) {
    this.#askName = askName;
    this.#closePanels = closePanels;
    this.line.addEventListener("open", () => this.hello());
    this.line.addEventListener("message", ({ detail }) => told[detail.type]?.(this, detail));
    this.line.addEventListener("state", ({ detail }) => this.#stateChanged(detail));
  }

  room(name) {
    const key = name.toLowerCase();
    let room = this.rooms.get(key);
    if (!room) {
      room = new Room(name);
      room.draft = kept.get(`draft.${key}`, "");
      this.rooms.set(key, room);
      this.showRooms();
    }
    return room;
  }

  start(name, password = "") {
    this.me = name;
    this.#password = password;
    this.line.start();
  }

  hello() {
    const rooms = {};
    const open = [...this.#wanted].filter((name) => !this.#keys.has(name));
    for (const name of open.slice(0, this.limits.rooms ?? 16)) {
      rooms[name] = this.rooms.get(name.toLowerCase())?.last || null;
    }
    this.line.send({ type: "hello", name: this.me, key: this.key, epoch: this.#epoch ?? "", heartbeat: true, rooms, ...(this.#password ? { password: this.#password } : {}) });
  }

  // --- what the server tells (see events.js)

  welcomed(epoch, features) {
    this.#visit += 1;
    this.#isIn = true;
    this.line.welcomed();
    this.features = features;
    sessionStorage.setItem("chat.key", this.key);
    kept.set("name", this.me);
    if (this.#epoch !== null && this.#epoch !== epoch) {
      for (const room of this.rooms.values()) if (!room.isTalk) room.restart();
    }
    this.#epoch = epoch;
    $("me").textContent = this.me;
    $("text").maxLength = this.limits.text;
    $("search").hidden = !features.includes("search");
    if (!this.#wanted.size) this.enter(this.firstRoom);
    for (const [name, key] of this.#keys) if (this.#wanted.has(name)) this.enter(name, key);
    this.showState("");
    this.listRooms();
  }

  refusedAtTheDoor(code, text) {
    if (this.#isIn) return; // it was the second one of two
    const wasHere = $("me").textContent === this.me;
    if (!AT_THE_DOOR.has(code) || (code === "taken" && wasHere)) {
      setTimeout(() => { if (!this.#isIn) this.hello(); }, RETRY_MS);
      this.showState(`${text}; trying again`);
      return;
    }
    this.line.stop();
    this.#askName(text, code);
  }

  stored(room, message, { isLive = false, isOld = false } = {}) {
    const isOwn = message.name === this.me;
    if (isOwn && room.fulfil(message)) this.showPending(room);
    const isAtEnd = message.number > room.last;
    if (!room.add(message)) return;
    if (isLive && isAtEnd) {
      this.added(room, message, !isOwn);
    } else if (!isOwn && !isOld && message.number > (room.read || this.#reads[room.name] || 0)) {
      this.#count(room, message);
    }
  }

  // Shows something new at the end of a room.
  added(room, message, isForeign) {
    const seen = room === this.current && this.#log.isAtEnd && !document.hidden;
    this.#log.append(room, message);
    if (seen || !isForeign) {
      if (seen) this.markRead();
    } else {
      this.#count(room, message);
    }
    if (room === this.current && !this.#log.isAtEnd && isForeign) $("newer").hidden = false;
    room.trim();
  }

  note(room, text, bad = false) {
    if (!room) return;
    const note = room.note(text);
    note.bad = bad;
    this.#log.append(room, note);
    if (room === this.current) this.showPeople();
  }

  // After an entry: fetches what is missing, then sends again what was not stored.
  async filled(room, known) {
    if (known && room.gap) await fill(this, room);
    for (const pending of room.pending) {
      if (!pending.failed && pending.visit !== this.#visit) this.#send(room, pending);
    }
    this.showPending(room);
    this.showRooms();
    if (room === this.current) this.showRoom();
    else if (!this.current || room.name.toLowerCase() === this.#toOpen.toLowerCase()) this.open(room);
  }

  async recount(room) {
    try {
      const { people } = await this.line.ask({ type: "who", room: room.name });
      room.people = new Map(people.map(({ name, rank, away }) => [name, { rank, away }]));
      this.showPeople();
    } catch { /* it stays as it was */ }
  }

  parted(room) {
    room.isJoined = false;
    room.people.clear();
    this.#wanted.delete(room.name);
    kept.set("rooms", [...this.#wanted]);
    if (room === this.current) {
      const other = [...this.rooms.values()].find((each) => each.isJoined && !each.isTalk);
      if (other) this.open(other);
    }
    this.rooms.delete(room.name.toLowerCase());
    this.showRooms();
  }

  renamed(name) {
    this.me = name;
    kept.set("name", name);
    $("me").textContent = name;
    this.showPeople();
  }

  // --- what this person does

  enter(name, key = "") {
    const room = this.rooms.get(name.toLowerCase());
    if (room?.isJoined) {
      this.open(room);
      return;
    }
    this.#wanted.add(name);
    if (key) this.#keys.set(name, key);
    kept.set("rooms", [...this.#wanted]);
    this.#toOpen = name;
    this.line.send({ type: "join", room: name, key, ...(room?.last ? { since: room.last } : {}) });
  }

  leaveRoom(room) {
    if (room.isTalk) {
      this.rooms.delete(room.name.toLowerCase());
      this.open([...this.rooms.values()].find((each) => !each.isTalk) ?? null);
    } else {
      this.line.send({ type: "part", room: room.name });
    }
  }

  talk(name) {
    this.open(this.room(`@${name}`));
  }

  open(room) {
    if (this.current) this.keepDraft();
    this.current = room;
    if (!room) return;
    if (!room.isTalk) kept.set("current", room.name);
    if (room.name.toLowerCase() === this.#toOpen.toLowerCase()) this.#toOpen = "";
    const unreadAfter = room.unread && !room.isTalk ? room.read : 0;
    this.#log.show(room, unreadAfter);
    $("text").value = room.draft;
    this.showRoom();
    if (!document.hidden) this.markRead();
    this.#closePanels();
    $("text").focus();
  }

  say(room, text, kind = "said") {
    if (room.isTalk) {
      const to = room.name.slice(1);
      this.line.ask({ type: "tell", to, text, kind }).then(
        (message) => told.told(this, message),
        ({ text: reason }) => this.note(room, `not sent: ${text} (${reason})`, true));
      return;
    }
    const pending = { ref: `m${Date.now().toString(36)}.${++this.#ref}`, text, kind, after: room.last, failed: "" };
    room.pending.push(pending);
    this.#send(room, pending);
    this.showPending(room);
    this.#log.toEnd();
  }

  #send(room, pending) {
    pending.visit = this.#visit;
    this.line.send({ type: "say", room: room.name, text: pending.text, kind: pending.kind, ref: pending.ref });
  }

  // Sends a message again that came too fast, with all others that did, in their order.
  sendLater(pending) {
    pending.isHeld = true;
    this.#held ||= setTimeout(() => {
      this.#held = 0;
      for (const room of this.rooms.values()) {
        for (const each of room.pending.filter(({ isHeld }) => isHeld).slice(0, AT_ONCE)) {
          each.isHeld = false;
          this.#send(room, each);
        }
        if (room.pending.some(({ isHeld }) => isHeld)) this.sendLater(room.pending.find(({ isHeld }) => isHeld));
      }
    }, LATER_MS);
  }

  async search(words) {
    const room = this.current;
    if (!room || room.isTalk || !words.trim()) return;
    try {
      const { messages } = await this.line.ask({ type: "search", room: room.name, words });
      this.#log.showFound(room, words, messages, () => this.open(room));
    } catch ({ text }) {
      this.note(room, text, true);
    }
  }

  step(direction) {
    const all = [...this.rooms.values()];
    const at = all.indexOf(this.current);
    if (all.length > 1) this.open(all[(at + direction + all.length) % all.length]);
  }

  async listRooms() {
    try {
      const { rooms } = await this.line.ask({ type: "rooms" });
      $("known-rooms").replaceChildren(...rooms.map(({ name, people }) => new Option(`${people} here`, name)));
    } catch { /* the list is a help only */ }
  }

  // --- what is seen

  showRooms() {
    const all = [...this.rooms.values()];
    const talks = all.filter((room) => room.isTalk);
    const choose = (room) => this.open(room);
    showRooms($("rooms"), all.filter((room) => !room.isTalk), this.current, choose);
    showRooms($("talks"), talks, this.current, choose);
    $("talks-title").hidden = !talks.length;
    const elsewhere = all.reduce((sum, room) => sum + (room === this.current ? 0 : room.unread), 0);
    $("elsewhere").hidden = !elsewhere;
    $("elsewhere").textContent = elsewhere;
    const unread = all.reduce((sum, room) => sum + room.unread, 0);
    document.title = `${unread ? `(${unread}) ` : ""}${this.current?.name ?? "Chat"}`;
  }

  showRoom() {
    const room = this.current;
    $("place").textContent = room.isTalk ? room.name.slice(1) : room.name;
    $("topic").textContent = $("topic").title = room.isTalk ? "private" : room.topic;
    $("text-label").textContent = room.isTalk ? `Message to ${room.name.slice(1)}` : `Message to everybody in ${room.name}`;
    $("text").placeholder = $("text-label").textContent;
    $("leave").textContent = room.isTalk ? "Close" : "Leave";
    $("open-people").hidden = room.isTalk;
    this.showRooms();
    this.showPeople();
  }

  showPeople() {
    const room = this.current;
    if (!room || room.isTalk) return;
    $("people-count").textContent = room.people.size;
    $("topic").textContent = $("topic").title = room.topic;
    if (!$("people").hidden) showPeople($("present"), room.people, this.me, (name) => this.talk(name));
  }

  showPending(room) {
    this.#log.showPending(room);
  }

  renew(room) {
    this.#log.renew(room);
    if (room === this.current) this.showRoom();
  }

  showState(text) {
    $("state").textContent = text;
  }

  toEnd() {
    this.#log.toEnd();
    this.markRead();
  }

  page(direction) {
    this.#log.page(direction);
  }

  keepDraft() {
    const room = this.current;
    if (!room || room.draft === $("text").value) return;
    room.draft = $("text").value;
    kept.set(`draft.${room.name.toLowerCase()}`, room.draft || null);
  }

  #count(room, message) {
    room.unread += 1;
    if (room.isTalk || concerns(this, message)) room.mentions += 1;
    this.showRooms();
  }

  markRead() {
    const room = this.current;
    if (!room || document.hidden || !this.#log.isAtEnd) return;
    $("newer").hidden = true;
    if (room.read === room.last && !room.unread) return;
    room.read = room.last;
    room.unread = room.mentions = 0;
    this.#reads[room.name] = room.read;
    if (!room.isTalk) kept.set("reads", this.#reads);
    this.showRooms();
  }

  #stateChanged({ state, pause }) {
    if (state === "open") return;
    this.#isIn = false;
    for (const room of this.rooms.values()) room.isJoined = false;
    if (state === "waiting") {
      const why = navigator.onLine ? "The server cannot be reached" : "You are offline";
      this.showState(`${why}; trying again in ${Math.ceil(pause / 1000)} s. What you write is sent then.`);
    } else if (state === "connecting") {
      if (!this.#epoch) this.showState("Connecting …");
    }
    this.showRooms();
  }
}
