/* Client of TFTP: sends a file of SIZE bytes by a write request, as fast as the answers come.

   client PORT NAME SIZE BLKSIZE WINDOWSIZE

   Prints the nanoseconds from the request to the last acknowledgement, and the number of packets sent. */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { HEADER = 4, MOST_BLOCK = 65464, TIMEOUT_MS = 1000, MOST_REPEATS = 20 };

static unsigned char packet[HEADER + MOST_BLOCK], answer[65536];

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static void number(unsigned char *at, unsigned value)
{
    at[0] = value >> 8, at[1] = value;
}

/* Return the value of an option in an answer, or `otherwise`. */
static long option(const unsigned char *words, size_t size, const char *name, long otherwise)
{
    const char *at = (const char *)words, *end = at + size;
    while (at < end) {
        const char *value = at + strnlen(at, end - at) + 1;
        if (value >= end)
            break;
        if (!strcasecmp(at, name))
            return atol(value);
        at = value + strnlen(value, end - value) + 1;
    }
    return otherwise;
}

int main(int count, char **words)
{
    if (count != 6)
        fail("client PORT NAME SIZE BLKSIZE WINDOWSIZE");
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    long size = atol(words[3]), block = atol(words[4]), window = atol(words[5]);
    int channel = socket(AF_INET, SOCK_DGRAM, 0);
    struct timespec begin, end;
    unsigned char request[1024];
    int length = snprintf((char *)request, sizeof request, "%c%c%s%coctet%cblksize%c%ld%c", 0, 2, words[2], 0, 0, 0, block, 0);
    if (window > 1)
        length += snprintf((char *)request + length, sizeof request - length, "windowsize%c%ld%c", 0, window, 0);
    memset(packet, 'x', sizeof packet);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    long sent = 0, acked = -1, blocks = 1, repeats = 0;
    while (acked < blocks) {
        if (acked < 0) {
            sendto(channel, request, length, 0, (struct sockaddr *)&server, sizeof server);
            sent++;
        } else
            for (long next = acked + 1; next <= acked + window && next <= blocks; next++, sent++) {
                number(packet, 3), number(packet + 2, next & 0xffff);
                long left = size - (next - 1) * block;
                sendto(channel, packet, HEADER + (left < block ? left : block), 0, (struct sockaddr *)&server, sizeof server);
            }
        for (;;) {
            struct pollfd ready = {channel, POLLIN, 0};
            if (poll(&ready, 1, TIMEOUT_MS) == 0) {
                if (++repeats > MOST_REPEATS)
                    fail("no answer");
                break;
            }
            socklen_t room = sizeof server;
            ssize_t got = recvfrom(channel, answer, sizeof answer - 1, 0, (struct sockaddr *)&server, &room);
            if (got < HEADER)
                fail("expected an answer, found less");
            answer[got] = 0;
            if (answer[1] == 5)
                fail((char *)answer + HEADER);
            if (acked < 0) {
                int options = answer[1] == 6;
                block = options ? option(answer + 2, got - 2, "blksize", 512) : 512;
                window = options ? option(answer + 2, got - 2, "windowsize", 1) : 1;
                blocks = size / block + 1, acked = 0;
                break;
            }
            long steps = ((answer[2] << 8 | answer[3]) - acked) & 0xffff;
            if (answer[1] == 4 && steps <= window) {
                acked += steps, repeats = 0;
                break;
            }
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%lld %ld\n", (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec, sent);
    return 0;
}
