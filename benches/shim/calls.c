/* What calls on the kernel's own sockets cost: nanoseconds each, the best of several rounds.
 *
 *   calls       a line of name=value; the same program with and without the shim tells what that adds */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 20
#define CALLS 100000

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

#define best_of(call)                                                                                                  \
    ({                                                                                                                 \
        double best = 1e18;                                                                                            \
        for (int round = 0; round < ROUNDS; round++) {                                                                 \
            double begun = now();                                                                                      \
            for (int count = 0; count < CALLS; count++) call;                                                          \
            double each = (now() - begun) / CALLS;                                                                     \
            if (each < best) best = each;                                                                              \
        }                                                                                                              \
        best;                                                                                                          \
    })

int main(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), value;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof value, room = sizeof address;
    char byte;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return 1;
    printf("recv=%.0f", best_of(recv(fd, &byte, 1, MSG_DONTWAIT)));
    printf(" getsockopt=%.0f", best_of(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length)));
    printf(" getsockname=%.0f", best_of(getsockname(fd, (struct sockaddr *)&address, &room)));
    printf(" send=%.0f", best_of(sendto(fd, &byte, 1, MSG_DONTWAIT, (struct sockaddr *)&address, sizeof address)));
    printf(" close=%.0f\n", best_of(close(dup(fd))));
    return 0;
}
