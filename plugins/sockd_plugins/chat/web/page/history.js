// Messages that were said before: those between, behind and before the ones that are here.

const MOST = 200; // messages of an answer
const PAGE = 100; // messages that scrolling fetches

// Fetches the messages that are missing between those that are here, as far as the server has them.
export async function fill(chat, room) {
  if (room.isFetching) return;
  room.isFetching = true;
  try {
    for (let gap = room.gap; gap; gap = room.gap) {
      const [before, behind] = gap;
      const messages = await since(chat, room, before);
      const missing = messages.filter(({ number }) => number < behind);
      for (const message of missing) chat.stored(room, message);
      if (!missing.length || room.gap?.[0] === before) break;
    }
  } catch { /* the next loss or message tries again */ } finally {
    room.isFetching = false;
    chat.renew(room);
    chat.showRooms();
  }
}

// Fetches what was said since the newest message that is here.
export async function catchUp(chat, room) {
  try {
    for (;;) {
      const messages = await since(chat, room, room.last);
      for (const message of messages) chat.stored(room, message);
      if (messages.length < MOST) break;
    }
  } catch { /* as above */ }
  await fill(chat, room);
}

// Fetches what was said before the oldest message that is here.
export async function fetchOlder(chat, room) {
  if (!room || room.isTalk || room.isComplete || room.isFetching || !room.first || !chat.line.isOpen) return;
  room.isFetching = true;
  try {
    const { messages } = await chat.line.ask({ type: "before", room: room.name, number: room.first, limit: PAGE });
    if (!messages.length || messages[0].number === 1) room.isComplete = true;
    for (const message of messages) chat.stored(room, message, { isOld: true });
    if (messages.length) chat.renew(room);
  } catch { /* scrolling tries again */ } finally {
    room.isFetching = false;
  }
}

async function since(chat, room, number) {
  const { messages } = await chat.line.ask({ type: "since", room: room.name, number, limit: MOST });
  return messages;
}
