// What this person writes: messages, and commands that begin with a slash.

const HELP = "/join ROOM, /part, /msg NAME TEXT, /me TEXT, /nick NAME, /topic TEXT, /invite NAME, /kick NAME REASON, /mode +x ARGUMENT, /redact NUMBER REASON, /away TEXT, /who, /help; two slashes begin a message with one";
const MOST_LINES = 20;

export function act(chat, text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  if (lines.length > MOST_LINES) {
    chat.note(chat.current, `at most ${MOST_LINES} lines at once`, true);
    return;
  }
  for (const line of lines) {
    if (line.startsWith("//")) chat.say(chat.current, line.slice(1));
    else if (line.startsWith("/")) command(chat, line);
    else chat.say(chat.current, line);
  }
}

function command(chat, line) {
  const [, name, rest] = /^\/(\S*)\s*(.*)$/s.exec(line);
  const room = chat.current;
  switch (name.toLowerCase()) {
    case "join": {
      const [, name, key] = /^#?(\S*)\s*(.*)$/s.exec(rest);
      chat.enter(name, key);
      break;
    }
    case "part":
    case "leave":
      chat.leaveRoom(room);
      break;
    case "msg": {
      const [, to, text] = /^(\S+)\s*(.*)$/s.exec(rest) ?? [null, "", ""];
      if (!to) chat.note(room, "/msg NAME TEXT", true);
      else {
        chat.talk(to);
        if (text) chat.say(chat.current, text);
      }
      break;
    }
    case "me":
      chat.say(room, rest, "action");
      break;
    case "nick":
      chat.line.send({ type: "rename", name: rest.trim() });
      break;
    case "topic":
      chat.line.send({ type: "topic", room: room.name, text: rest });
      break;
    case "invite":
      chat.line.send({ type: "invite", room: room.name, name: rest.trim() });
      break;
    case "kick": {
      const [, who, reason] = /^(\S*)\s*(.*)$/s.exec(rest);
      chat.line.send({ type: "remove", room: room.name, name: who, reason });
      break;
    }
    case "mode": {
      const [, sign, mode, argument] = /^([+-]?)(\w?)\s*(.*)$/s.exec(rest);
      chat.line.send({ type: "mode", room: room.name, adds: sign !== "-", mode, argument });
      break;
    }
    case "redact": {
      const [, number, reason] = /^#?(\d*)\s*(.*)$/s.exec(rest);
      chat.line.send({ type: "redact", room: room.name, number: Number(number), reason });
      break;
    }
    case "away":
      chat.line.send({ type: "away", text: rest });
      break;
    case "who":
      chat.note(room, `here: ${[...room.people.keys()].join(", ")}`);
      break;
    case "help":
      chat.note(room, HELP);
      break;
    default:
      chat.note(room, `unknown command: ${HELP}`, true);
  }
}
