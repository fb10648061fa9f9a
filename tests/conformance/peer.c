/* The other node: services that a test asks for by the first byte of a connection, and datagrams sent back. */
#include "check.h"

static void *serve_stream(void *argument)
{
    int fd = *(int *)argument;
    static _Thread_local char room[65536];
    unsigned char asked = 0, octets[8];
    unsigned long long count = 0;
    struct linger abrupt = { .l_onoff = 1 };
    ssize_t got;
    free(argument);
    switch (recv(fd, &asked, 1, 0) == 1 ? asked : 0) {
    case ECHO:
        while ((got = recv(fd, room, sizeof room, 0)) > 0 && send_all(fd, room, (size_t)got) == 0)
            ;
        break;
    case COUNT:
        while ((got = recv(fd, room, sizeof room, 0)) > 0)
            count += (unsigned long long)got;
        for (int octet = 0; octet < 8; octet++)
            octets[octet] = (unsigned char)(count >> (56 - 8 * octet));
        send_all(fd, octets, 8);
        break;
    case SOURCE:
        if (recv_all(fd, octets, 8) == 0) {
            unsigned long long at = 0;
            for (int octet = 0; octet < 8; octet++)
                count = count << 8 | octets[octet];
            while (at < count) {
                size_t step = count - at < sizeof room ? (size_t)(count - at) : sizeof room;
                pattern((unsigned char *)room, step, (size_t)at);
                if (send_all(fd, room, step) < 0)
                    break;
                at += step;
            }
        }
        break;
    case RESET:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt);
        break;
    case UNREAD:
        wait_for(fd, POLLIN);
        break;
    case GOODBYE:
        shutdown(fd, SHUT_WR);
        while (recv(fd, room, sizeof room, 0) > 0)
            ;
        break;
    case HOLD:
        wait_for(fd, POLLRDHUP);
        break;
    default:
        break;
    }
    close(fd);
    return NULL;
}

static void *serve_datagrams(void *argument)
{
    int fd = *(int *)argument;
    static char room[65536];
    for (;;) {
        struct address from;
        from.length = sizeof from.storage;
        ssize_t got = recvfrom(fd, room, sizeof room, 0, &from.any, &from.length);
        if (got >= 0)
            sendto(fd, room, (size_t)got, 0, &from.any, from.length);
    }
    return NULL;
}

/* Serves until it is ended. */
int serve_peer(void)
{
    pthread_attr_t detached;
    pthread_t thread;
    variant = V6;
    struct address tcp = any_address(PEER_TCP), udp = any_address(PEER_UDP);
    int one = 1, listener = tcp_socket(), datagrams = udp_socket();
    signal(SIGPIPE, SIG_IGN);
    if (listener < 0 || datagrams < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(listener, &tcp.any, tcp.length) < 0 || listen(listener, 64) < 0 ||
        bind(datagrams, &udp.any, udp.length) < 0) {
        perror("conformance serve");
        return 2;
    }
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, serve_datagrams, &datagrams) != 0)
        return 2;
    printf("serving\n");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL), *argument = malloc(sizeof *argument);
        if (fd < 0 || !argument) {
            perror("conformance serve");
            return 2;
        }
        *argument = fd;
        if (pthread_create(&thread, &detached, serve_stream, argument) != 0)
            return 2;
    }
}
