/* For programs that measure ntmfw and the kernel in the same way: calls that are either's, and what all of them need. */
#ifndef BOTH_H
#define BOTH_H

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <ntmfw.h>

/* Whether the sockets are the kernel's. */
static int kernel;

#define CALL(name, ...) (kernel ? name(__VA_ARGS__) : ntmfw_##name(__VA_ARGS__))

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static inline void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, kernel ? strerror(errno) : ntmfw_strerror(errno));
    exit(1);
}

static inline int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A port that listens. */
static inline int listen_at(int port)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int server = CALL(socket, AF_INET, SOCK_STREAM, 0), again = 1;
    CALL(setsockopt, server, SOL_SOCKET, SO_REUSEADDR, &again, sizeof again);
    if (CALL(bind, server, (struct sockaddr *)&here, sizeof here) < 0 || CALL(listen, server, 128) < 0)
        die("listen");
    return server;
}

/* Where HOST has its IPv4 port of this kind. */
static inline struct addrinfo *find(const char *host, const char *port, int kind)
{
    struct addrinfo hints = { .ai_socktype = kind, .ai_family = AF_INET }, *found;
    int error = CALL(getaddrinfo, host, port, &hints, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
        exit(1);
    }
    return found;
}

/* Takes `-k`, the kernel's sockets, from the arguments, or begins the library. */
static inline void begin(int *argc, char ***argv)
{
    if (*argc > 1 && strcmp((*argv)[1], "-k") == 0) {
        kernel = 1;
        --*argc;
        ++*argv;
    } else if (ntmfw_init(NULL) < 0)
        die("ntmfw_init");
}

#endif
