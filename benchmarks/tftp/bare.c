/* Least that a server does: it answers each block in a loop of recvfrom(2) and sendto(2), and stores nothing.

   bare PORT

   The difference to another server is what that one does itself; the rest is the kernel's. Windows are
   acknowledged at their end. */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HEADER = 4, OPTIONS = 6, ACKNOWLEDGEMENT = 4, MOST = 65536 };

static unsigned char packet[MOST + 1];
static long window[MOST], block[MOST]; /* of the client of each port */

/* Note a request, and answer its options as they are. */
static size_t accept_request(int port, size_t size, unsigned char **answer)
{
    unsigned char *mode = packet + 2 + strlen((char *)packet + 2) + 1, *words = mode + strlen((char *)mode) + 1;
    window[port] = 1, block[port] = 512;
    for (char *at = (char *)words; at < (char *)packet + size;) {
        char *value = at + strlen(at) + 1;
        if (!strcmp(at, "windowsize"))
            window[port] = atol(value);
        if (!strcmp(at, "blksize"))
            block[port] = atol(value);
        at = value + strlen(value) + 1;
    }
    *answer = words - 2;
    words[-2] = 0, words[-1] = OPTIONS;
    return packet + size - *answer;
}

int main(int words, char **word)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(words > 1 ? atoi(word[1]) : 0)};
    int channel = socket(AF_INET, SOCK_DGRAM, 0), room = 2 << 20;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(channel, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(channel, (struct sockaddr *)&address, sizeof address))
        return 1;
    for (;;) {
        socklen_t length = sizeof address;
        ssize_t size = recvfrom(channel, packet, MOST, 0, (struct sockaddr *)&address, &length);
        int port = ntohs(address.sin_port);
        unsigned char *answer = packet;
        size_t bytes = HEADER;
        if (size < HEADER)
            continue;
        packet[size] = 0;
        if (packet[1] == 2)
            bytes = accept_request(port, size, &answer);
        else if (size - HEADER == block[port] && (packet[2] << 8 | packet[3]) % window[port])
            continue;
        else
            packet[1] = ACKNOWLEDGEMENT;
        sendto(channel, answer, bytes, 0, (struct sockaddr *)&address, length);
    }
}
