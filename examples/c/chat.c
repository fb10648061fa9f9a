/* Lines to and from another node, as datagrams.
 *
 *   chat PORT              waits for somebody
 *   chat PORT NAME         talks to NAME, who has the same port
 *
 * Shows `poll` on a kernel descriptor (standard input) and an NTM socket at once.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ntmfw.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ntmfw_strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s PORT [NAME]\n", argv[0]);
        return 2;
    }
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])) };
    int fd = ntmfw_socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || ntmfw_bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
        return fail("bind");
    struct sockaddr_storage peer;
    socklen_t peer_length = 0;
    if (argc == 3) {
        struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_DGRAM }, *found;
        int error = ntmfw_getaddrinfo(argv[2], argv[1], &hints, &found);
        if (error) {
            fprintf(stderr, "%s: %s\n", argv[2], ntmfw_gai_strerror(error));
            return 1;
        }
        memcpy(&peer, found->ai_addr, found->ai_addrlen);
        peer_length = found->ai_addrlen;
        ntmfw_freeaddrinfo(found);
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct pollfd both[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
        if (ntmfw_poll(both, 2, -1) < 0 && errno != EINTR)
            return fail("poll");
        char line[1024];
        if (both[1].revents) {
            peer_length = sizeof peer;
            ssize_t got = ntmfw_recvfrom(fd, line, sizeof line, 0, (struct sockaddr *)&peer, &peer_length);
            if (got >= 0) {
                char name[256];
                if (ntmfw_getnameinfo((struct sockaddr *)&peer, peer_length, name, sizeof name, NULL, 0, 0))
                    strcpy(name, "?");
                printf("%s: %.*s", name, (int)got, line);
                fflush(stdout);
            }
        }
        if (both[0].revents) {
            ssize_t length = read(STDIN_FILENO, line, sizeof line);
            if (length <= 0)
                break;
            if (!peer_length)
                fprintf(stderr, "nobody is here yet\n");
            else if (ntmfw_sendto(fd, line, (size_t)length, 0, (struct sockaddr *)&peer, peer_length) < 0)
                return fail("sendto");
        }
    }
    ntmfw_close(fd);
    return 0;
}
