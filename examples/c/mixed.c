/* One `epoll` loop that answers in capitals, on an NTM socket and on a kernel socket alike.
 *
 *   mixed PORT        port PORT of this node, and of 127.0.0.1
 *
 * NTM sockets are descriptors like all others: the loop does not ask which is which.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ntmfw.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ntmfw_strerror(errno));
    return 1;
}

static int listen_at(in_addr_t address, const char *port)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
    here.sin_addr.s_addr = htonl(address);
    int fd = ntmfw_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    ntmfw_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || ntmfw_bind(fd, (struct sockaddr *)&here, sizeof here) < 0 || ntmfw_listen(fd, 64) < 0)
        return -1;
    return fd;
}

static void watch(int set, int fd)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.fd = fd };
    ntmfw_epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    int ours = listen_at(INADDR_ANY, argv[1]), kernels = listen_at(INADDR_LOOPBACK, argv[1]);
    int set = ntmfw_epoll_create1(0);
    if (ours < 0 || kernels < 0 || set < 0)
        return fail("listen");
    watch(set, ours);
    watch(set, kernels);
    printf("serving\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int ready = ntmfw_epoll_wait(set, events, 64, -1);
        if (ready < 0 && errno != EINTR)
            return fail("epoll_wait");
        for (int at = 0; at < ready; at++) {
            int fd = events[at].data.fd;
            if (fd == ours || fd == kernels) {
                int client = ntmfw_accept4(fd, NULL, NULL, SOCK_NONBLOCK);
                if (client >= 0)
                    watch(set, client);
                continue;
            }
            char bytes[4096];
            ssize_t got = ntmfw_recv(fd, bytes, sizeof bytes, 0);
            if (got > 0) {
                for (ssize_t letter = 0; letter < got; letter++)
                    bytes[letter] = (char)toupper((unsigned char)bytes[letter]);
                ntmfw_send(fd, bytes, (size_t)got, MSG_NOSIGNAL);
            } else if (got == 0 || errno != EAGAIN) {
                ntmfw_close(fd);
            }
        }
    }
}
