/* The floor: one thread, one epoll, two system calls a message.   c_epoll tcp|udp PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

struct connection {
    int fd;
    size_t held;                       /* bytes that the peer has not taken yet; nothing is read meanwhile */
    char *rest;
};

static int epoll;
static char buffer[CHUNK];

static void watch(int operation, struct connection *c, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &event);
}

static void end(struct connection *c)
{
    close(c->fd);
    free(c->rest);
    free(c);
}

static size_t written(struct connection *c, const char *data, size_t size)
{
    ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
    return n < 0 ? 0 : n;              /* a connection that is broken tells so when it is read */
}

static void echo(struct connection *c)
{
    ssize_t n = recv(c->fd, buffer, CHUNK, 0);
    if (n <= 0) {
        end(c);
        return;
    }
    size_t sent = written(c, buffer, n);
    if ((c->held = n - sent)) {
        c->rest = malloc(c->held);
        memcpy(c->rest, buffer + sent, c->held);
        watch(EPOLL_CTL_MOD, c, EPOLLOUT);
    }
}

static void flush(struct connection *c)
{
    size_t sent = written(c, c->rest, c->held);
    c->held -= sent;
    memmove(c->rest, c->rest + sent, c->held);
    if (!c->held) {
        free(c->rest);
        c->rest = NULL;
        watch(EPOLL_CTL_MOD, c, EPOLLIN);
    }
}

static void accept_all(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(EPOLL_CTL_ADD, c, EPOLLIN);
    }
}

static void echo_datagrams(int fd)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    ssize_t n;
    while ((n = recvfrom(fd, buffer, CHUNK, 0, (struct sockaddr *)&peer, &length)) >= 0)
        sendto(fd, buffer, n, 0, (struct sockaddr *)&peer, length);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    int udp = !strcmp(argv[1], "udp"), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    struct connection listener = {.fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener.fd, (struct sockaddr *)&address, sizeof address) < 0) return 1;
    if (!udp && listen(listener.fd, 1024) < 0) return 1;
    epoll = epoll_create1(0);
    watch(EPOLL_CTL_ADD, &listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[512];
        int n = epoll_wait(epoll, events, 512, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &listener && udp) echo_datagrams(c->fd);
            else if (c == &listener) accept_all(c->fd);
            else if (!c->held) echo(c);
            else if (events[i].events & (EPOLLERR | EPOLLHUP)) end(c);
            else flush(c);
        }
    }
}
