// What this person knows of the chat: rooms with their messages by number, and private talks.

const MOST_KEPT = 2000; // messages of a room in memory; older ones are fetched again
const MOST_TALK = 500;

// Messages of a room, or of a private talk, whose name begins with "@".
export class Room {
  messages = []; // in the order of their numbers; notes among them have the number that they came after
  known = new Set();
  first = 0; // number of the oldest message that is here
  last = 0;  // number of the newest
  read = 0;  // number up to which this person has read
  unread = 0;
  mentions = 0;
  draft = "";
  topic = "";
  people = new Map(); // name -> {rank, away}
  pending = []; // own messages that the server has not stored yet: {ref, text, kind, after, sent, failed}
  isJoined = false;
  isComplete = false; // whether there is nothing older on the server
  isFetching = false;

  constructor(name) {
    this.name = name;
  }

  get isTalk() {
    return this.name.startsWith("@");
  }

  // Adds a message; returns whether it is new.
  add(message) {
    if (this.known.has(message.number)) return false;
    this.known.add(message.number);
    let at = this.messages.length;
    while (at > 0 && this.messages[at - 1].number > message.number) at -= 1;
    this.messages.splice(at, 0, message);
    this.first = this.first ? Math.min(this.first, message.number) : message.number;
    this.last = Math.max(this.last, message.number);
    return true;
  }

  // Adds a line that is no message of the room: who came, or what was refused.
  note(text, at = Date.now() / 1000) {
    const note = { note: text, number: this.last, at };
    this.messages.push(note);
    return note;
  }

  addTalk(message) {
    this.add({ ...message, number: this.last + 1 });
    if (this.messages.length > MOST_TALK) this.#dropOldest(MOST_TALK);
  }

  // Forgets what is older than the newest, when nobody looks at it.
  trim() {
    if (this.messages.length > MOST_KEPT) {
      this.#dropOldest(MOST_KEPT / 2);
      this.isComplete = false;
    }
  }

  // Forgets all numbers: the server has begun anew.
  restart() {
    this.messages = [];
    this.known.clear();
    this.first = this.last = this.read = 0;
    this.isComplete = false;
    for (const pending of this.pending) pending.after = 0;
  }

  // Numbers that are missing between two that are here, as [number before, number behind]; null for none.
  get gap() {
    let before = 0;
    for (const { number, note } of this.messages) {
      if (note !== undefined) continue;
      if (before && number > before + 1) return [before, number];
      before = number;
    }
    return null;
  }

  // Removes the pending message that a stored one of this person fulfils.
  fulfil(message) {
    const at = this.pending.findIndex(({ ref, text, kind, after }) =>
      message.ref !== undefined
        ? ref === message.ref
        : message.number > after && kind === message.kind && plain(text) === plain(message.text));
    if (at >= 0) this.pending.splice(at, 1);
    return at >= 0;
  }

  #dropOldest(kept) {
    for (const { number, note } of this.messages.splice(0, this.messages.length - kept)) {
      if (note === undefined) this.known.delete(number);
    }
    this.first = this.messages.find(({ note }) => note === undefined)?.number ?? 0;
  }
}

// Text without what the server writes in another way.
function plain(text) {
  return text.replace(/[^\p{L}\p{N}\p{P}\p{S}]/gu, "");
}

// What stays on this machine, where the browser permits it.
export const kept = {
  get(name, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`chat.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`chat.${name}`, JSON.stringify(value));
    } catch { /* it stays until the page is closed */ }
  },
};
