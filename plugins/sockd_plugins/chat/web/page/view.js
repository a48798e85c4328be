// What is seen: the log of the present room, the lists beside it. It changes nothing but the page.

export const $ = (id) => document.getElementById(id);

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", year: "numeric", month: "long", day: "numeric" });
const TOGETHER_S = 300; // within which the name is not repeated
const NEAR_PX = 80; // from the end, that counts as being there
const HUES = 12;
const LINK = /\bhttps?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]}']/g;

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function hue(name) {
  let hash = 0;
  for (const letter of name.toLowerCase()) hash = (hash * 31 + letter.codePointAt(0)) % 9973;
  return `h${hash % HUES}`;
}

// Log of one room.
export class Log {
  #list = $("log");
  #room = null;
  #me = () => "";
  #onAgain;

  constructor(me, { onTop, onNearEnd, onAgain }) {
    this.#me = me;
    this.#onAgain = onAgain;
    this.#list.addEventListener("scroll", () => {
      if (this.#list.scrollTop < 200) onTop();
      if (this.isAtEnd) onNearEnd();
    }, { passive: true });
  }

  get isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  // Shows a room from scratch, without a reader reading all of it aloud.
  show(room, unreadAfter = 0) {
    this.#room = room;
    this.#list.setAttribute("aria-live", "off");
    this.#list.replaceChildren();
    this.#list.setAttribute("aria-label", room.isTalk ? `Private with ${room.name.slice(1)}` : `Messages in ${room.name}`);
    let marked = !unreadAfter || unreadAfter >= room.last;
    const items = [];
    let before = null;
    for (const message of room.messages) {
      if (!marked && message.number > unreadAfter) {
        items.push(make("li", { className: "new", textContent: "new" }));
        marked = true;
        before = null;
      }
      items.push(...this.#items(message, before));
      before = message;
    }
    this.#list.append(...items);
    this.showPending(room);
    this.toEnd();
    requestAnimationFrame(() => this.#list.setAttribute("aria-live", "polite"));
  }

  // Shows what a search has found, in place of the room.
  showFound(room, words, messages, back) {
    this.#room = null;
    const text = messages.length ? `${messages.length} found for “${words}”` : `nothing found for “${words}”`;
    const button = make("button", { type: "button", textContent: `Back to ${room.name}`, onclick: back });
    this.#list.replaceChildren(make("li", { className: "found-head" }, text, " ", button));
    let before = null;
    for (const message of messages) {
      this.#list.append(...this.#items(message, before));
      before = message;
    }
    this.#list.scrollTop = 0;
    button.focus();
  }

  // Shows what was added to the room at its end.
  append(room, message) {
    if (room !== this.#room) return;
    const stays = this.isAtEnd;
    const at = room.messages.indexOf(message);
    this.#firstPending().before(...this.#items(message, room.messages[at - 1] ?? null));
    if (stays) this.toEnd();
  }

  // Shows a room again after something was added before its end, with the same line in view.
  renew(room) {
    if (room !== this.#room) return;
    const { scrollHeight, scrollTop } = this.#list;
    const atEnd = this.isAtEnd;
    this.show(room);
    if (!atEnd) this.#list.scrollTop = scrollTop + this.#list.scrollHeight - scrollHeight;
  }

  showPending(room) {
    if (room !== this.#room) return;
    const stays = this.isAtEnd;
    for (const item of this.#list.querySelectorAll(".pending")) item.remove();
    for (const pending of room.pending) {
      const { text, kind, failed } = pending;
      const item = make("li", { className: `pending own ${kind}` }, make("p", { className: "text", textContent: text }));
      item.append(make("span", { className: failed ? "state bad" : "state", textContent: failed || "sending …" }));
      if (failed) item.append(" ", make("button", { type: "button", textContent: "Send again", onclick: () => this.#onAgain(pending) }));
      this.#list.append(item);
    }
    if (stays) this.toEnd();
  }

  toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  page(direction) {
    this.#list.scrollBy({ top: direction * this.#list.clientHeight * 0.9 });
  }

  // Brings a message into view; returns whether it is there.
  reveal(number) {
    const item = this.#list.querySelector(`[data-number="${number}"]`);
    item?.scrollIntoView({ block: "center" });
    item?.classList.add("found");
    return Boolean(item);
  }

  #firstPending() {
    return this.#list.querySelector(".pending") ?? { before: (...items) => this.#list.append(...items) };
  }

  #items(message, before) {
    const date = new Date(message.at * 1000);
    const items = [];
    if (!before || new Date(before.at * 1000).toDateString() !== date.toDateString()) {
      items.push(make("li", { className: "day", textContent: DAY.format(date) }));
      before = null;
    }
    items.push(message.note !== undefined ? noteItem(message) : this.#messageItem(message, before, date));
    return items;
  }

  #messageItem(message, before, date) {
    const isOwn = message.name === this.#me();
    const follows = before && before.note === undefined && before.name === message.name
      && before.kind === message.kind && message.kind !== "action" && message.at - before.at < TOGETHER_S;
    const time = make("time", { dateTime: date.toISOString(), textContent: TIME.format(date), title: date.toLocaleString() });
    const name = make("span", { className: `name ${hue(message.name)}`, textContent: message.name });
    const head = make("p", { className: follows ? "head unseen" : "head" }, name, " ", time);
    if (message.kind === "notice") head.append(make("span", { className: "tag", textContent: "notice" }));
    const text = make("p", { className: "text" }, ...linked(message.text));
    if (message.kind === "action") text.prepend(make("span", { className: `name ${hue(message.name)}`, textContent: message.name, ariaHidden: "true" }), " ");
    const item = make("li", { className: `message ${message.kind}${isOwn ? " own" : ""}${follows ? " follows" : ""}` }, head, text);
    if (!this.#room?.isTalk) {
      item.dataset.number = message.number;
      item.append(make("span", { className: "number", textContent: message.number, title: `message ${message.number} of ${this.#room?.name}` }));
    }
    if (!isOwn && mentions(message.text, this.#me())) item.classList.add("mention");
    return item;
  }
}

function noteItem({ note, at, bad }) {
  const date = new Date(at * 1000);
  return make("li", { className: bad ? "note bad" : "note" }, note, " ", make("time", { dateTime: date.toISOString(), textContent: TIME.format(date) }));
}

export function mentions(text, name) {
  if (!name) return false;
  const escaped = name.replace(/[.\-]/g, "\\$&");
  return new RegExp(`(?<![\\w.-])${escaped}(?![\\w-])`, "i").test(text);
}

function linked(text) {
  const parts = [];
  let from = 0;
  for (const { 0: url, index } of text.matchAll(LINK)) {
    parts.push(text.slice(from, index), make("a", { href: url, rel: "noopener noreferrer nofollow", target: "_blank", textContent: url }));
    from = index + url.length;
  }
  parts.push(text.slice(from));
  return parts;
}

// Shows the list of rooms, or of private talks.
export function showRooms(list, rooms, current, choose) {
  const items = rooms.map((room) => {
    const button = make("button", { type: "button", onclick: () => choose(room) });
    button.append(make("span", { textContent: room.isTalk ? room.name.slice(1) : room.name }));
    if (room === current) button.setAttribute("aria-current", "page");
    if (room.unread) {
      const count = make("span", { className: room.mentions ? "count mention" : "count", textContent: room.unread > 99 ? "99+" : room.unread });
      count.append(make("span", { className: "unseen", textContent: " unread" }));
      button.append(count);
    }
    if (!room.isTalk && !room.isJoined) button.classList.add("away");
    return make("li", {}, button);
  });
  const focused = list.contains(document.activeElement) ? [...list.children].findIndex((item) => item.contains(document.activeElement)) : -1;
  list.replaceChildren(...items);
  list.children[focused]?.firstChild.focus();
}

export function showPeople(list, people, me, choose) {
  const sorted = [...people].sort(([a], [b]) => a.localeCompare(b));
  list.replaceChildren(...sorted.map(([name, { rank, away }]) => {
    const button = make("button", { type: "button", disabled: name === me, onclick: () => choose(name) });
    button.append(make("span", { className: `name ${hue(name)}`, textContent: name }));
    if (name === me) button.append(" (you)");
    if (rank) button.append(make("span", { className: "tag", textContent: rank }));
    if (away) button.append(make("span", { className: "tag", textContent: "away" }));
    return make("li", {}, button);
  }));
}
