// What the server tells, brought into the rooms of this person. `chat` is the page.

import { catchUp, fill } from "./history.js";
import { mentions } from "./view.js";

export const told = {
  welcome(chat, { name, key, room, limits, epoch = "", features = [] }) {
    chat.me = name;
    chat.key = key;
    chat.limits = limits;
    chat.firstRoom = room;
    chat.welcomed(epoch, features);
  },

  entered(chat, { room: name, others, recent, topic }) {
    const room = chat.room(name);
    room.isJoined = true;
    room.topic = topic?.text ?? "";
    room.people = new Map(others.map(({ name: other, rank, away }) => [other, { rank, away }]));
    room.people.set(chat.me, { rank: "", away: false });
    const isKnown = room.last > 0;
    const known = room.last;
    for (const message of recent) chat.stored(room, message, { isOld: !isKnown });
    if (!room.read) room.read = room.last;
    if (!isKnown && recent.length && recent[0].number === 1) room.isComplete = true;
    chat.filled(room, known);
    chat.renew(room);
  },

  said(chat, message) {
    const room = chat.room(message.room);
    const last = room.last;
    chat.stored(room, message, { isLive: true });
    if (last && message.number > last + 1) fill(chat, room);
  },

  unsaid(chat, { room: name, text, reason, ref }) {
    const room = chat.room(name);
    const pending = room.pending.find((each) => each.ref === ref);
    if (pending) pending.failed = `not sent: ${reason}`;
    else chat.note(room, `not sent: ${text} (${reason})`, true);
    chat.showPending(room);
  },

  told(chat, message) {
    const other = message.name === chat.me ? message.to : message.name;
    const room = chat.room(`@${other}`);
    room.addTalk(message);
    chat.added(room, room.messages.at(-1), message.name !== chat.me);
  },

  joined(chat, { room: name, name: who }) {
    const room = chat.room(name);
    room.people.set(who, { rank: "", away: false });
    chat.note(room, `${who} came in`);
  },

  left(chat, { room: name, name: who, reason }) {
    const room = chat.room(name);
    room.people.delete(who);
    chat.note(room, reason ? `${who} left (${reason})` : `${who} left`);
  },

  removed(chat, { room: name, name: who, by, reason }) {
    const room = chat.room(name);
    room.people.delete(who);
    chat.note(room, `${who} was removed by ${by}${reason ? ` (${reason})` : ""}`, who === chat.me);
    if (who === chat.me) chat.parted(room);
  },

  parted(chat, { room: name }) {
    chat.parted(chat.room(name));
  },

  gone(chat, { name: who, reason }) {
    for (const room of chat.rooms.values()) {
      if (room.people.delete(who)) chat.note(room, reason ? `${who} left the chat (${reason})` : `${who} left the chat`);
    }
  },

  renamed(chat, { name: old, new_name: now }) {
    for (const room of chat.rooms.values()) {
      const person = room.people.get(old);
      if (!person) continue;
      room.people.delete(old);
      room.people.set(now, person);
      chat.note(room, `${old} is now ${now}`);
    }
    if (old === chat.me) chat.renamed(now);
  },

  topic_set(chat, { room: name, name: by, text }) {
    const room = chat.room(name);
    room.topic = text;
    chat.note(room, text ? `${by} set the topic: ${text}` : `${by} removed the topic`);
  },

  mode_set(chat, { room: name, by, changes }) {
    const words = changes.map(({ adds, mode, argument }) => `${adds ? "+" : "−"}${mode}${argument ? ` ${argument}` : ""}`);
    chat.note(chat.room(name), `${by} set ${words.join(", ")}`);
    chat.recount(chat.room(name));
  },

  away_set(chat, { name: who, text }) {
    for (const room of chat.rooms.values()) {
      const person = room.people.get(who);
      if (person) person.away = Boolean(text);
    }
    chat.showPeople();
  },

  invited(chat, { room: name, by }) {
    chat.note(chat.current, `${by} invites you to ${name}: /join ${name}`);
  },

  redacted(chat, { room: name, number, by, reason }) {
    const room = chat.room(name);
    const message = room.messages.find((each) => each.note === undefined && each.number === number);
    if (message) message.text = `(removed${by ? ` by ${by}` : ""}${reason ? `: ${reason}` : ""})`;
    chat.renew(room);
  },

  skipped(chat, { room: name }) {
    if (!name) return;
    const room = chat.room(name);
    catchUp(chat, room);
    chat.recount(room);
  },

  refused(chat, { command, room: name, code, text, ref }) {
    if (command === "hello") {
      chat.refusedAtTheDoor(code, text);
      return;
    }
    for (const room of chat.rooms.values()) {
      const pending = ref && room.pending.find((each) => each.ref === ref);
      if (pending) {
        if (code === "too_fast") chat.sendLater(pending);
        else pending.failed = `not sent: ${text}`;
        chat.showPending(room);
        return;
      }
    }
    const room = name && chat.rooms.get(name.toLowerCase());
    chat.note(room || chat.current, text, true);
  },

  ended(chat, { code, reason }) {
    if (code === "replaced") { // a copy of this page: the two would end each other for ever
      chat.line.stop();
      chat.showState("Another page goes on under this name. Reload this one to go on here.");
      return;
    }
    chat.showState(reason);
  },
};

// Tells whether a message concerns this person in particular.
export function concerns(chat, message) {
  return mentions(message.text, chat.me);
}
