/* Clients of TFTP: each sends a file of SIZE bytes by a write request, as fast as the answers come.

   client PORT NAME SIZE BLKSIZE WINDOWSIZE CLIENTS

   All are in one process, so that the load costs less than the server. A client sends a window and waits for its
   acknowledgement. Its file is NAME-NUMBER. */

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { HEADER = 4, MOST_BLOCK = 65464, MOST_CLIENTS = 256, TIMEOUT_MS = 1000, MOST_REPEATS = 20 };

struct client {
    struct sockaddr_in server;         /* with the port of the last answer */
    long block, window, blocks, acked; /* acked is -1 before the answer to the request */
};

static struct client clients[MOST_CLIENTS];
static struct pollfd channels[MOST_CLIENTS];
static unsigned char packet[HEADER + MOST_BLOCK], answer[65536];
static const char *name;
static long size;

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static int done(const struct client *one)
{
    return one->acked == one->blocks;
}

static void put(unsigned char *at, unsigned value)
{
    at[0] = value >> 8, at[1] = value;
}

/* Return the value of an option in an answer, or `otherwise`. */
static long option(const unsigned char *words, size_t length, const char *wanted, long otherwise)
{
    const char *at = (const char *)words, *end = at + length;
    while (at < end) {
        const char *value = at + strnlen(at, end - at) + 1;
        if (value >= end)
            break;
        if (!strcasecmp(at, wanted))
            return atol(value);
        at = value + strnlen(value, end - value) + 1;
    }
    return otherwise;
}

static void send_packet(int number, const void *bytes, size_t length)
{
    const struct client *one = clients + number;
    sendto(channels[number].fd, bytes, length, 0, (const struct sockaddr *)&one->server, sizeof one->server);
}

/* Send the request, or the window after the last acknowledgement. */
static void send_on(int number)
{
    const struct client *one = clients + number;
    if (one->acked < 0) {
        char request[1024];
        int length = snprintf(request, sizeof request, "%c%c%s-%d%coctet%cblksize%c%ld%c", 0, 2, name, number, 0, 0, 0, one->block, 0);
        if (one->window > 1)
            length += snprintf(request + length, sizeof request - length, "windowsize%c%ld%c", 0, one->window, 0);
        send_packet(number, request, length);
        return;
    }
    for (long next = one->acked + 1; next <= one->acked + one->window && next <= one->blocks; next++) {
        long left = size - (next - 1) * one->block;
        put(packet, 3), put(packet + 2, next & 0xffff);
        send_packet(number, packet, HEADER + (left < one->block ? left : one->block));
    }
}

/* Take an answer; return whether the client may go on. */
static int take(int number)
{
    struct client *one = clients + number;
    socklen_t room = sizeof one->server;
    ssize_t got = recvfrom(channels[number].fd, answer, sizeof answer - 1, 0, (struct sockaddr *)&one->server, &room);
    if (got < HEADER)
        fail("expected an answer, found less");
    answer[got] = 0;
    if (answer[1] == 5)
        fail((char *)answer + HEADER);
    if (one->acked < 0) {
        int options = answer[1] == 6;
        one->block = options ? option(answer + 2, got - 2, "blksize", 512) : 512;
        one->window = options ? option(answer + 2, got - 2, "windowsize", 1) : 1;
        one->blocks = size / one->block + 1, one->acked = 0;
        return 1;
    }
    long steps = ((answer[2] << 8 | answer[3]) - one->acked) & 0xffff;
    if (answer[1] != 4 || steps > one->window)
        return 0;
    one->acked += steps;
    return 1;
}

int main(int words, char **word)
{
    if (words != 7 || atoi(word[6]) > MOST_CLIENTS)
        fail("client PORT NAME SIZE BLKSIZE WINDOWSIZE CLIENTS");
    int count = atoi(word[6]), left = count, repeats = 0;
    name = word[2], size = atol(word[3]);
    memset(packet, 'x', sizeof packet);
    for (int number = 0; number < count; number++) {
        clients[number] = (struct client){{.sin_family = AF_INET, .sin_port = htons(atoi(word[1]))}, atol(word[4]), atol(word[5]), 1, -1};
        clients[number].server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        channels[number] = (struct pollfd){socket(AF_INET, SOCK_DGRAM, 0), POLLIN, 0};
        send_on(number);
    }
    while (left) {
        int ready = poll(channels, count, TIMEOUT_MS);
        if (ready == 0 && ++repeats > MOST_REPEATS)
            fail("no answer");
        if (ready)
            repeats = 0;
        for (int number = 0; number < count; number++) {
            if (done(clients + number) || (ready && !channels[number].revents))
                continue;
            if (!ready || (take(number) && !done(clients + number)))
                send_on(number);
            if (done(clients + number))
                left--, channels[number].fd = -1;
        }
    }
    return 0;
}
