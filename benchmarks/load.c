/* Load program: one thread, one epoll, one message in flight on each connection; times in nanoseconds.
 *
 *   load echo    PROTOCOL PORT PID SIZE CONNECTIONS SECONDS   messages there and back, again and again
 *   load connect PROTOCOL PORT PID SIZE TOGETHER TOTAL        connect, one message there and back, close
 *   load accept  PROTOCOL PORT PID SIZE BUSY NEW BURSTS       NEW connections in a burst, while BUSY echo
 *   load hold    PROTOCOL PORT PID SIZE CONNECTIONS           one message each, then all stay open
 *   load chat    WIRE PORT PID SIZE MEMBERS FLIGHT SECONDS    FLIGHT texts to a room, until all others have them
 *   load crowd   WIRE PORT PID SIZE MEMBERS STOPPED SECONDS   one text at a time, while so many members do not read
 *   load members WIRE PORT PID SIZE MEMBERS                   a room that grows to so many members
 *
 * PROTOCOL is tcp, tls or udp; udp has echo only, and tls exists if the program was compiled with -DTLS. WIRE is
 * that of a chat (chat.h). Each TLS connection makes a full handshake; the certificate is not verified. PID is the server, at
 * 127.0.0.1:PORT. Its processor time is read by the same clock at the same moments as all other times. The
 * result is one line of JSON: seconds and bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#endif

#define PATIENCE 60                    /* seconds, after which the kernel ends this program */
#define LARGEST (256 * 1024)           /* bytes of a message at most; all that is in flight fits one read */
#define WARM_UP 200000000              /* ns */
#define WARM_UP_CONNECTIONS 200
#define BETWEEN_BURSTS 20000000        /* ns */
#define PER_CONNECT 4                  /* messages between two connects of a burst, so that busy connections stay busy */
#define SETTLING 200000                /* us, for the server to notice opened and closed connections */
#define HELD_TOGETHER 32               /* connects in progress at once, fewer than any backlog */
#define FINENESS 32                    /* buckets for each power of two: the histogram is exact to 3 % */

struct connection {
    int fd, steady;
    size_t unsent, unread;
    int64_t since;                     /* start of its message, or of its connect if that is measured */
    void *tls;
};

static const char *protocol;
static struct sockaddr_in server = {.sin_family = AF_INET};
static clockid_t server_clock;
static int epoll;
static size_t size;
static char message[LARGEST], inbox[LARGEST];
static uint64_t numbered;
static void (*answered)(struct connection *, int64_t);  /* called with the time when a whole message is back */

static int64_t count, began, server_cpu, load_cpu, histogram[64 * FINENESS];

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0) fail("clock of the server");
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

/* Measurements. */

static void begin(void)
{
    count = 0;
    memset(histogram, 0, sizeof histogram);
    server_cpu = read_clock(server_clock);
    load_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    began = now();
}

static void tally(int64_t ns)
{
    int shift = ns < FINENESS ? 0 : 63 - __builtin_clzll(ns) - __builtin_ctz(FINENESS);
    histogram[shift * FINENESS + (ns >> shift)]++;
    count++;
}

static double percentile(double share)
{
    int64_t below = 0;
    for (int i = 0; i < 64 * FINENESS; i++)
        if ((below += histogram[i]) > share * (count - 1)) {
            int shift = i < 2 * FINENESS ? 0 : i / FINENESS - 1;
            return ((i - shift * FINENESS) + 0.5) * ((int64_t)1 << shift) / 1e9;
        }
    return 0;
}

static void report(int64_t ended, long grown)
{
    printf("{\"count\": %ld, \"seconds\": %.9f, \"server_cpu\": %.9f, \"load_cpu\": %.9f, "
           "\"p50\": %.9f, \"p99\": %.9f, \"grown\": %ld}\n",
           (long)count, (ended - began) / 1e9, (read_clock(server_clock) - server_cpu) / 1e9,
           (read_clock(CLOCK_PROCESS_CPUTIME_ID) - load_cpu) / 1e9, percentile(0.5), percentile(0.99), grown);
}

static long resident(const char *pid)
{
    char path[64], line[256];
    long kilobytes = -1;
    snprintf(path, sizeof path, "/proc/%s/smaps_rollup", pid);
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    while (fgets(line, sizeof line, file) && sscanf(line, "Rss: %ld", &kilobytes) != 1) {}
    fclose(file);
    return kilobytes * 1024;
}

/* Plain and encrypted connections. */

#ifdef TLS
static SSL_CTX *tls;

static int use_tls(void)
{
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls) fail("TLS");
    signal(SIGPIPE, SIG_IGN);          /* OpenSSL writes without MSG_NOSIGNAL */
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return 1;
}

static void encrypt(struct connection *c)
{
    if (!tls) return;
    c->tls = SSL_new(tls);
    if (!c->tls || !SSL_set_fd(c->tls, c->fd)) fail("TLS");
    SSL_set_connect_state(c->tls);
}

static void say_goodbye(struct connection *c)
{
    if (!c->tls) return;
    SSL_shutdown(c->tls);
    SSL_free(c->tls);
    ERR_clear_error();                 /* an old error must not be taken for the next connection's */
}

static ssize_t tls_result(struct connection *c, int n)
{
    if (n > 0) return n;
    int error = SSL_get_error(c->tls, n);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return -1;
}

static ssize_t put(struct connection *c, const char *data, size_t length)
{
    return c->tls ? tls_result(c, SSL_write(c->tls, data, length)) : send(c->fd, data, length, MSG_NOSIGNAL);
}

static ssize_t take(struct connection *c)
{
    return c->tls ? tls_result(c, SSL_read(c->tls, inbox, LARGEST)) : recv(c->fd, inbox, LARGEST, 0);
}
#else
static int use_tls(void) { return 0; }
static void encrypt(struct connection *c) { (void)c; }
static void say_goodbye(struct connection *c) { (void)c; }

static ssize_t put(struct connection *c, const char *data, size_t length)
{
    return send(c->fd, data, length, MSG_NOSIGNAL);
}

static ssize_t take(struct connection *c) { return recv(c->fd, inbox, LARGEST, 0); }
#endif

/* Connections and their messages. */

static void connect_one(int steady)
{
    int udp = !strcmp(protocol, "udp"), one = 1;
    struct connection *c = malloc(sizeof *c);
    *c = (struct connection){.steady = steady, .unsent = size, .unread = size, .since = now()};
    c->fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket");
    if (!udp) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) fail("connect");
    encrypt(c);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl");
}

static void disconnect(struct connection *c)
{
    say_goodbye(c);
    close(c->fd);
    free(c);
}

static void send_rest(struct connection *c)
{
    while (c->unsent) {
        /* All differ: a server may take a repeated datagram for a loop of two servers. */
        if (c->unsent == size) memcpy(message, &numbered, size < sizeof numbered ? size : sizeof numbered), numbered++;
        ssize_t n = put(c, message + size - c->unsent, c->unsent);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) fail("send");
        c->unsent -= n;
    }
}

static void receive(struct connection *c)
{
    do {                               /* a read of TLS is one record; a message may have several */
        ssize_t n = take(c);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) fail("recv");
        if (n == 0 || (size_t)n > c->unread) {
            fprintf(stderr, "expected %zu bytes, found %zd\n", c->unread, n);
            exit(1);
        }
        c->unread -= n;
    } while (c->tls && c->unread);
    if (!c->unread) answered(c, now());
}

static void again(struct connection *c, int64_t time)
{
    c->unsent = c->unread = size;
    c->since = time;
    send_rest(c);
}

static void turn(void)
{
    struct epoll_event events[512];
    int n = epoll_wait(epoll, events, 512, 10);
    if (n < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->unsent) send_rest(c);
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(c);
    }
}

static void go_on(int64_t ns)
{
    for (int64_t end = now() + ns; now() < end;) turn();
}

/* The kinds of load. */

static void echo_on(struct connection *c, int64_t time)
{
    tally(time - c->since);
    again(c, time);
}

static void echo(int connections, double seconds)
{
    answered = echo_on;
    for (int i = 0; i < connections; i++) connect_one(1);
    go_on(WARM_UP);
    begin();
    go_on(seconds * 1e9);
    report(now(), 0);
}

static int to_open, to_answer;

static void close_and_connect(struct connection *c, int64_t time)
{
    tally(time - c->since);
    disconnect(c);
    to_answer--;
    if (to_open-- > 0) connect_one(0);
}

static void keep_and_connect(struct connection *c, int64_t time)
{
    tally(time - c->since);
    to_answer--;
    if (to_open-- > 0) connect_one(0);
}

static void connect_all(int together, int total)
{
    to_answer = total;
    to_open = total - together;
    for (int i = 0; i < together; i++) connect_one(0);
    while (to_answer) turn();
}

static void connects(int together, int total)
{
    answered = close_and_connect;
    connect_all(together, WARM_UP_CONNECTIONS);
    usleep(SETTLING);
    begin();
    connect_all(together, total);
    int64_t ended = now();
    usleep(SETTLING);
    report(ended, 0);
}

static void hold(const char *pid, int connections)
{
    answered = keep_and_connect;
    connect_all(1, 1);
    usleep(SETTLING);
    long before = resident(pid);
    begin();
    connect_all(HELD_TOGETHER, connections);
    int64_t ended = now();
    usleep(SETTLING);
    report(ended, resident(pid) - before);
}

static int64_t burst_began;            /* with the first connect */

static void echo_or_close(struct connection *c, int64_t time)
{
    if (!c->steady) {
        disconnect(c);
        if (--to_answer == 0) tally(time - burst_began);
        return;
    }
    again(c, time);
    if (to_open > 0 && to_open-- % PER_CONNECT == 0) connect_one(0);
}

static void accepts(int busy, int fresh, int bursts)
{
    answered = echo_or_close;
    for (int i = 0; i < busy; i++) connect_one(1);
    go_on(WARM_UP);
    begin();
    for (int burst = 0; burst < bursts; burst++) {
        to_answer = fresh;
        to_open = fresh * PER_CONNECT;
        burst_began = now();
        while (to_answer) turn();
        go_on(BETWEEN_BURSTS);
    }
    report(now(), 0);
}

#include "chat.h"

int main(int argc, char **argv)
{
    if (argc < 7) return 2;
    const char *kind = argv[1], *pid = argv[4];
    protocol = argv[2];
    server.sin_port = htons(atoi(argv[3]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = atoi(argv[5]);
    epoll = epoll_create1(0);
    alarm(PATIENCE);
    if (size < 1 || size > LARGEST) return 2;
    if (!strcmp(protocol, "tls") && !use_tls()) return 2;
    find_wire(protocol);
    if (clock_getcpuclockid(atoi(pid), &server_clock)) fail("clock of the server");

    if (!strcmp(kind, "echo") && argc == 8) echo(atoi(argv[6]), atof(argv[7]));
    else if (!strcmp(kind, "connect") && argc == 8) connects(atoi(argv[6]), atoi(argv[7]));
    else if (!strcmp(kind, "accept") && argc == 9) accepts(atoi(argv[6]), atoi(argv[7]), atoi(argv[8]));
    else if (!strcmp(kind, "hold") && argc == 7) hold(pid, atoi(argv[6]));
    else if (!wire || size < 2) return 2;
    else if (!strcmp(kind, "chat") && argc == 9) chat(atoi(argv[6]), atoi(argv[7]), atof(argv[8]));
    else if (!strcmp(kind, "crowd") && argc == 9) crowd(pid, atoi(argv[6]), atoi(argv[7]), atof(argv[8]));
    else if (!strcmp(kind, "members") && argc == 7) members(pid, atoi(argv[6]));
    else return 2;
    return 0;
}
