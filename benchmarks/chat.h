/* Members of a chat room, for the load program: what one says, all others get.
 *
 * Every text ends with MARK, which no server sends otherwise, so that texts are counted alike on each wire.
 */
#define MARK '$'
#define QUIET 200                      /* ms without anything from the server, until all members have entered */
#define FIRST_MEMBERS 20               /* who enter before memory is measured */
#define WINDOW 4096                    /* bytes that the kernel keeps for a member who does not read */
#define ENTERING 20                    /* members who enter at once, so that the server gets room to tell others */

struct wire {
    const char *name;
    const char *enter;                 /* what a member begins with; its number is put in */
    const char *before, *after;        /* what stands around a text */
    int echoes;                        /* whether a member gets its own texts too */
    int frames;                        /* whether all of this travels in frames of WebSockets (RFC 6455) */
};

static const struct wire wires[] = {
    {"lines", "m%d\n", "", "\n"},
    {"irc", "NICK m%d\r\nUSER m 0 * :m\r\nJOIN #lobby\r\n", "PRIVMSG #lobby :", "\r\n"},
    {"nats", "CONNECT {\"verbose\":false,\"echo\":false,\"name\":\"m%d\"}\r\nSUB lobby 1\r\n", "PUB lobby %zu\r\n", "\r\n"},
    {"web", "{\"type\":\"hello\",\"name\":\"m%d\",\"rooms\":{\"lobby\":null}}",
     "{\"type\":\"say\",\"room\":\"lobby\",\"text\":\"", "\"}", 1, 1},
};

static const struct wire *wire;

static void find_wire(const char *name)
{
    for (size_t i = 0; i < sizeof wires / sizeof *wires; i++)
        if (!strcmp(wires[i].name, name)) wire = &wires[i];
}

static const char upgrade[] =
    "GET /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

#define FRAME 8                        /* bytes before a frame at most: its head, and a mask of zeros */

/* Put a text into a frame, in place. */
static size_t frame(char *words, size_t length)
{
    char head[FRAME] = {(char)0x81, (char)(0x80 | length)};
    size_t size_of_head = 6;
    if (!wire->frames) return length;
    if (length > 125) {
        head[1] = (char)(0x80 | 126);
        head[2] = (char)(length >> 8);
        head[3] = (char)length;
        size_of_head = FRAME;
    }
    memmove(words + size_of_head, words, length);
    memcpy(words, head, size_of_head);
    return size_of_head + length;
}

static void open_socket(int fd)
{
    size_t got = 0;
    if (send(fd, upgrade, sizeof upgrade - 1, MSG_NOSIGNAL) != sizeof upgrade - 1) fail("send");
    while (got < 4 || memcmp(inbox + got - 4, "\r\n\r\n", 4)) {
        ssize_t n = recv(fd, inbox + got, 1, 0);
        if (n <= 0) fail("upgrade");
        got += n;
    }
    if (memcmp(inbox, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "no WebSocket: %.30s\n", inbox);
        exit(1);
    }
}

static struct connection *enter(int number, int window)
{
    char words[256];
    int length = frame(words, snprintf(words, sizeof words - FRAME, wire->enter, number)), one = 1;
    struct connection *c = calloc(1, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (window && setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window) < 0) fail("buffer");
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0) fail("connect");
    if (wire->frames) open_socket(c->fd);
    if (send(c->fd, words, length, MSG_NOSIGNAL) != length) fail("send");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl");
    return c;
}

static int64_t texts(struct connection *c)
{
    int64_t found = 0;
    ssize_t n = recv(c->fd, inbox, LARGEST, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) fail("recv");
    if (n == 0) {
        fprintf(stderr, "a member was disconnected\n");
        exit(1);
    }
    for (ssize_t i = 0; i < n; i++) found += inbox[i] == MARK;
    return found;
}

/* Return the texts that all members, perhaps but one, have got in one wait; -1 if nothing came for so many milliseconds. */
static int64_t heard(struct connection *speaker, int patience)
{
    struct epoll_event events[512];
    int64_t found = 0;
    int n = epoll_wait(epoll, events, 512, patience);
    if (n < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        int64_t own = texts(c);
        if (c != speaker) found += own;
    }
    return n ? found : -1;
}

static void speak(struct connection *speaker, const char *words, size_t length, int64_t due)
{
    int64_t since = now();
    if (send(speaker->fd, words, length, MSG_NOSIGNAL) != (ssize_t)length) fail("send");
    while (due > 0) {
        int64_t found = heard(wire->echoes ? NULL : speaker, 1000);
        if (found > 0) due -= found;
    }
    tally(now() - since);
}

/* Append a text of `size` bytes, its end on a line included, as it is sent; return the bytes. */
static size_t write_text(char *words, size_t room)
{
    size_t used = snprintf(words, room, wire->before, size - 1);
    memset(words + used, 'x', size - 2);
    used += size - 2;
    words[used++] = MARK;
    return frame(words, used + snprintf(words + used, room - used, "%s", wire->after));
}

static void chat(int members, int flight, double seconds)
{
    struct connection *member[members];
    size_t room = flight * (size + 128), length = 0;
    char *words = malloc(room);
    for (int i = 0; i < flight; i++) length += write_text(words + length, room - length);
    for (int i = 0; i < members; i++) member[i] = enter(i, 0);
    while (heard(NULL, QUIET) >= 0) {}
    begin();
    int64_t end = began + seconds * 1e9;
    int64_t due = (int64_t)(wire->echoes ? members : members - 1) * flight;
    for (int turn = 0; now() < end; turn++) speak(member[turn % members], words, length, due);
    report(now(), 0);
}

/* One text at a time to a room in which some have stopped reading; the time is that of each delivery. */
static void crowd(const char *pid, int members, int stopped, double seconds)
{
    struct connection *member[members];
    char words[LARGEST];
    size_t length = write_text(words, sizeof words);
    for (int i = 0; i < members; i++) {
        member[i] = enter(i, i < stopped ? WINDOW : 0);
        if (i % ENTERING == 0) while (heard(NULL, 1) >= 0) {}
    }
    while (heard(NULL, QUIET) >= 0) {}
    for (int i = 0; i < stopped; i++)
        if (epoll_ctl(epoll, EPOLL_CTL_DEL, member[i]->fd, NULL) < 0) fail("epoll_ctl");
    long before = resident(pid);
    begin();
    int64_t end = began + seconds * 1e9;
    for (int turn = 0; now() < end; turn++) {
        struct connection *speaker = member[stopped + turn % (members - stopped)];
        int64_t since = now(), due = members - stopped - !wire->echoes;
        if (send(speaker->fd, words, length, MSG_NOSIGNAL) != (ssize_t)length) fail("send");
        while (due > 0) {
            int64_t found = heard(wire->echoes ? NULL : speaker, 1000), took = now() - since;
            for (due -= found > 0 ? found : 0; found > 0; found--) tally(took);
        }
    }
    report(now(), resident(pid) - before);
}

static void members(const char *pid, int number)
{
    for (int i = 0; i < FIRST_MEMBERS; i++) enter(i, 0);
    while (heard(NULL, QUIET) >= 0) {}
    long before = resident(pid);
    begin();
    for (int i = 0; i < number; i++) {
        enter(FIRST_MEMBERS + i, 0);
        if (i % ENTERING == 0) while (heard(NULL, 1) >= 0) {}
    }
    while (heard(NULL, QUIET) >= 0) {}
    count = number;
    report(now(), resident(pid) - before);
}
