/* What runs on the lab's hosts: answers others, and does what it is told on standard input. The same program for
 * ntmfw and, with -k, for the kernel's sockets.
 *
 *   agent [-k] PORT
 *
 *   probe HOST PATIENCE_MS      echoes by TCP and UDP, IPv4 and IPv6; waits so long for a direct path
 *   call HOST RATE [SIZE]       a transfer of RATE bytes a second each way by TCP, of SIZE bytes where that is given, and
 *                               50 datagrams a second by UDP
 *   stream HOST RATE            the transfer alone; there may be many
 *   hang-up                     ends all of them
 *   begin HOST                  how long it takes from the name to the first byte
 *   status                      what the library says of itself
 *
 * Each answer is a line that begins with what it answers. Times are CLOCK_MONOTONIC, in nanoseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <ntmfw.h>

#define CALL(name, ...) (kernel ? name(__VA_ARGS__) : ntmfw_##name(__VA_ARGS__))

#define SECOND 1000000000LL
/* Nothing takes longer than this where the network works. */
#define PATIENCE_SECONDS 30
#define CALL_INTERVAL (SECOND / 50)
/* What a transfer is behind by is sent so often; a slow one more rarely. */
#define SEND_INTERVAL (SECOND / 100)
#define SLOW_RATE 10000
/* Progress of a transfer is told at most so often, but around every pause. */
#define TELL_INTERVAL (5 * SECOND / 1000)

enum { ECHO = 'e', TRANSFER = 't' };

static int kernel;
static const char *port;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void sleep_until(int64_t time)
{
    struct timespec t = { .tv_sec = time / SECOND, .tv_nsec = time % SECOND };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    static pthread_mutex_t one_line = PTHREAD_MUTEX_INITIALIZER;
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&one_line);
    vprintf(format, arguments);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&one_line);
    va_end(arguments);
}

static const char *reason(void)
{
    return kernel ? strerror(errno) : ntmfw_strerror(errno);
}

static void start(void *(*work)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, argument) != 0)
        exit(1);
    pthread_detach(thread);
}

/* A connected socket, or -1. */
static int reach(const char *host, int family, int kind)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = kind }, *found;
    if (CALL(getaddrinfo, host, port, &hints, &found) != 0) {
        errno = EHOSTUNREACH;
        return -1;
    }
    int fd = CALL(socket, found->ai_family, found->ai_socktype, found->ai_protocol), one = 1;
    struct timeval patience = { .tv_sec = kind == SOCK_DGRAM ? 1 : PATIENCE_SECONDS };
    if (fd >= 0) {
        CALL(setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (kind == SOCK_STREAM)
            CALL(setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (CALL(connect, fd, found->ai_addr, found->ai_addrlen) < 0) {
            CALL(close, fd);
            fd = -1;
        }
    }
    CALL(freeaddrinfo, found);
    return fd;
}

/* ---- transfers ---- */

static unsigned char content(uint64_t offset)
{
    return (unsigned char)(offset * 131 + (offset >> 8) * 17 + 7);
}

struct transfer {
    int fd;
    int calling;
    uint32_t rate;
    /* 0: until somebody hangs up. */
    uint64_t size;
    volatile int stops;
    volatile int halves;
};

/* Set when all calls of this host end. */
static volatile int hung_up;

static void release(struct transfer *transfer)
{
    if (__sync_sub_and_fetch(&transfer->halves, 1) == 0) {
        CALL(close, transfer->fd);
        free(transfer);
    }
}

static void *send_half(void *argument)
{
    struct transfer *transfer = argument;
    const char *who = transfer->calling ? "caller" : "callee";
    unsigned char bytes[16384];
    uint64_t total = 0;
    int64_t begun = now();
    while (!transfer->stops && !(transfer->calling && hung_up) && !(transfer->size && total == transfer->size)) {
        sleep_until(now() + (transfer->rate < SLOW_RATE ? SECOND : SEND_INTERVAL));
        uint64_t due = (uint64_t)((__int128)(now() - begun) * transfer->rate / SECOND);
        if (transfer->size && due > transfer->size)
            due = transfer->size;
        while (total < due && !transfer->stops) {
            size_t size = due - total < sizeof bytes ? due - total : sizeof bytes;
            for (size_t at = 0; at < size; at++)
                bytes[at] = content(total + at);
            int64_t asked = now();
            ssize_t sent = CALL(send, transfer->fd, bytes, size, MSG_NOSIGNAL);
            /* What has a size keeps its rate: the time in which nothing could be sent is not made up for. */
            if (transfer->size)
                begun += now() - asked;
            if (sent < 0) {
                tell("%s-send-failed %llu %s", who, (unsigned long long)total, reason());
                transfer->stops = 1;
                break;
            }
            total += (uint64_t)sent;
        }
    }
    CALL(shutdown, transfer->fd, SHUT_WR);
    tell("%s-sent %llu", who, (unsigned long long)total);
    release(transfer);
    return NULL;
}

static void *receive_half(void *argument)
{
    struct transfer *transfer = argument;
    const char *who = transfer->calling ? "caller" : "callee";
    unsigned char bytes[65536];
    uint64_t total = 0;
    int64_t last = now(), told = 0;
    ssize_t got;
    while ((got = CALL(recv, transfer->fd, bytes, sizeof bytes, 0)) > 0) {
        int64_t at = now();
        for (ssize_t each = 0; each < got; each++)
            if (bytes[each] != content(total + (uint64_t)each)) {
                tell("%s-corrupt %llu", who, (unsigned long long)(total + (uint64_t)each));
                exit(1);
            }
        if (at - last >= TELL_INTERVAL && told != last)
            tell("%s-tcp %llu %lld", who, (unsigned long long)total, (long long)last);
        total += (uint64_t)got;
        if (at - told >= TELL_INTERVAL || at - last >= TELL_INTERVAL) {
            tell("%s-tcp %llu %lld", who, (unsigned long long)total, (long long)at);
            told = at;
        }
        last = at;
    }
    tell("%s-received %llu %s", who, (unsigned long long)total, got == 0 ? "whole" : reason());
    transfer->stops = 1;
    release(transfer);
    return NULL;
}

/* ---- those who are called ---- */

static void *attend(void *argument)
{
    int fd = (int)(intptr_t)argument, one = 1;
    char what;
    if (CALL(recv, fd, &what, 1, MSG_WAITALL) != 1) {
        CALL(close, fd);
        return NULL;
    }
    CALL(setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (what == TRANSFER) {
        struct transfer *transfer = calloc(1, sizeof *transfer);
        transfer->fd = fd;
        transfer->halves = 2;
        if (CALL(recv, fd, &transfer->rate, sizeof transfer->rate, MSG_WAITALL) == sizeof transfer->rate) {
            start(send_half, transfer);
            receive_half(transfer);
            return NULL;
        }
        free(transfer);
    } else {
        char bytes[4096];
        ssize_t got;
        int first = 1;
        while ((got = CALL(recv, fd, bytes, sizeof bytes, 0)) > 0) {
            if (first)
                tell("heard %lld", (long long)now());
            first = 0;
            if (CALL(send, fd, bytes, (size_t)got, MSG_NOSIGNAL) != got)
                break;
        }
    }
    CALL(close, fd);
    return NULL;
}

struct packet {
    uint64_t number;
    int64_t sent;
    char voice[144];
};

static void *attend_datagrams(void *argument)
{
    int fd = (int)(intptr_t)argument;
    struct packet packet;
    struct sockaddr_storage from;
    for (;;) {
        socklen_t length = sizeof from;
        ssize_t got = CALL(recvfrom, fd, &packet, sizeof packet, 0, (struct sockaddr *)&from, &length);
        if (got < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNREFUSED)
            return NULL;
        if (got == sizeof packet)
            tell("callee-udp %llu %lld %lld", (unsigned long long)packet.number, (long long)packet.sent, (long long)now());
        if (got > 0)
            CALL(sendto, fd, &packet, (size_t)got, 0, (struct sockaddr *)&from, length);
    }
}

static void *accept_all(void *argument)
{
    int server = (int)(intptr_t)argument;
    for (;;) {
        int fd = CALL(accept, server, NULL, NULL);
        if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
            return NULL;
        if (fd >= 0)
            start(attend, (void *)(intptr_t)fd);
    }
}

static void serve(int family, const void *address, socklen_t length)
{
    int one = 1, server = CALL(socket, family, SOCK_STREAM, 0), datagrams = CALL(socket, family, SOCK_DGRAM, 0);
    if (family == AF_INET6) {
        CALL(setsockopt, server, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        CALL(setsockopt, datagrams, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    if (CALL(bind, server, address, length) < 0 || CALL(listen, server, 64) < 0 ||
        CALL(bind, datagrams, address, length) < 0) {
        fprintf(stderr, "port %s: %s\n", port, reason());
        exit(1);
    }
    start(accept_all, (void *)(intptr_t)server);
    start(attend_datagrams, (void *)(intptr_t)datagrams);
}

/* ---- probes ---- */

static int echoes(int fd, int kind)
{
    char text[32] = "ehere and back", answer[sizeof text];
    size_t size = sizeof text - (kind == SOCK_STREAM ? 1 : 0);
    for (int tries = kind == SOCK_DGRAM ? 5 : 1; tries > 0; tries--) {
        if (CALL(send, fd, text, sizeof text, MSG_NOSIGNAL) != sizeof text)
            return 0;
        if (CALL(recv, fd, answer, size, MSG_WAITALL) == (ssize_t)size)
            return memcmp(answer, text + sizeof text - size, size) == 0;
    }
    return 0;
}

static int is_direct(int fd)
{
    struct ntmfw_path path;
    return !kernel && ntmfw_path_info(fd, &path) == 0 && path.kind == 1;
}

static void *probe(void *argument)
{
    char host[256];
    int patience, direct = 0;
    sscanf(argument, "%255s %d", host, &patience);
    free(argument);
    char outcome[256] = "";
    static const struct { const char *name; int family, kind; } kinds[] = {
        { "tcp4", AF_INET, SOCK_STREAM },
        { "tcp6", AF_INET6, SOCK_STREAM },
        { "udp4", AF_INET, SOCK_DGRAM },
        { "udp6", AF_INET6, SOCK_DGRAM },
    };
    int64_t until = now() + (int64_t)patience * (SECOND / 1000);
    for (int at = 0; at < 4; at++) {
        int fd = reach(host, kinds[at].family, kinds[at].kind);
        int good = fd >= 0 && echoes(fd, kinds[at].kind);
        size_t length = strlen(outcome);
        snprintf(outcome + length, sizeof outcome - length, " %s=%s", kinds[at].name, good ? "ok" : "failed");
        if (at == 3)
            /* A better path is looked for while there is traffic. */
            while (good && !(direct = is_direct(fd)) && now() < until && echoes(fd, kinds[at].kind))
                sleep_until(now() + SECOND / 20);
        if (fd >= 0)
            CALL(close, fd);
    }
    tell("probe %s%s path=%s", host, outcome, direct ? "direct" : "relay");
    return NULL;
}

static void *begin(void *argument)
{
    char host[256];
    sscanf(argument, "%255s", host);
    free(argument);
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
    char bytes[2] = { ECHO, '!' };
    int64_t asked = now();
    int error = CALL(getaddrinfo, host, port, &hints, &found);
    if (error) {
        tell("begin %s failed %s", host, gai_strerror(error));
        return NULL;
    }
    int64_t known = now();
    int fd = CALL(socket, found->ai_family, found->ai_socktype, 0);
    int good = fd >= 0 && CALL(connect, fd, found->ai_addr, found->ai_addrlen) == 0;
    int64_t connected = now();
    good = good && CALL(send, fd, bytes, 2, MSG_NOSIGNAL) == 2 && CALL(recv, fd, bytes, 1, 0) == 1;
    if (good)
        tell("begin %s asked=%lld known=%lld connected=%lld answered=%lld path=%s", host, (long long)asked,
             (long long)known, (long long)connected, (long long)now(), is_direct(fd) ? "direct" : "relay");
    else
        tell("begin %s failed %s", host, reason());
    CALL(freeaddrinfo, found);
    if (fd >= 0)
        CALL(close, fd);
    return NULL;
}

/* ---- calls ---- */

static int voice = -1;

static void *talk(void *argument)
{
    (void)argument;
    struct packet packet = { 0 };
    for (int64_t due = now(); !hung_up; due += CALL_INTERVAL) {
        sleep_until(due);
        packet.sent = now();
        CALL(send, voice, &packet, sizeof packet, MSG_NOSIGNAL);
        packet.number++;
    }
    tell("caller-talked %llu", (unsigned long long)packet.number);
    return NULL;
}

static void *listen_to_echo(void *argument)
{
    (void)argument;
    struct packet packet;
    while (!hung_up)
        if (CALL(recv, voice, &packet, sizeof packet, 0) == sizeof packet)
            tell("caller-udp %llu %lld %lld", (unsigned long long)packet.number, (long long)packet.sent, (long long)now());
    CALL(close, voice);
    return NULL;
}

static int begin_transfer(const char *host, uint32_t rate, uint64_t size)
{
    char what = TRANSFER;
    struct transfer *transfer = calloc(1, sizeof *transfer);
    *transfer = (struct transfer){
        .fd = reach(host, AF_INET, SOCK_STREAM), .calling = 1, .rate = rate, .size = size, .halves = 2
    };
    if (transfer->fd < 0 || CALL(send, transfer->fd, &what, 1, 0) != 1 ||
        CALL(send, transfer->fd, &rate, sizeof rate, 0) != sizeof rate) {
        free(transfer);
        return -1;
    }
    /* A transfer waits for as long as TCP does. */
    struct timeval patience = { 0 };
    CALL(setsockopt, transfer->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    start(send_half, transfer);
    start(receive_half, transfer);
    return 0;
}

static void *stream(void *argument)
{
    char host[256];
    unsigned rate;
    sscanf(argument, "%255s %u", host, &rate);
    free(argument);
    if (begin_transfer(host, rate, 0) < 0)
        tell("stream failed %s %s", host, reason());
    else
        tell("stream begun %s", host);
    return NULL;
}

static void begin_call(const char *host, uint32_t rate, uint64_t size)
{
    voice = reach(host, AF_INET, SOCK_DGRAM);
    if (voice < 0 || begin_transfer(host, rate, size) < 0) {
        tell("call failed %s", reason());
        return;
    }
    start(talk, NULL);
    start(listen_to_echo, NULL);
    tell("call begun");
}

static void print_event(const char *event, void *context)
{
    (void)context;
    tell("event %lld %s", (long long)now(), event);
}

static void obey(char *line)
{
    static char status[1 << 20];
    char host[256];
    unsigned rate;
    unsigned long long size = 0;
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "probe ", 6) == 0)
        start(probe, strdup(line + 6));
    else if (strncmp(line, "begin ", 6) == 0)
        start(begin, strdup(line + 6));
    else if (strncmp(line, "stream ", 7) == 0)
        start(stream, strdup(line + 7));
    else if (sscanf(line, "call %255s %u %llu", host, &rate, &size) >= 2)
        begin_call(host, rate, size);
    else if (strcmp(line, "hang-up") == 0)
        hung_up = 1;
    else if (strcmp(line, "status") == 0)
        tell("status %s", ntmfw_status(status, sizeof status) < 0 ? "{}" : status);
    else
        tell("what is \"%s\"?", line);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "-k") == 0) {
        kernel = 1;
        argv++;
        argc--;
    }
    if (argc != 2) {
        fprintf(stderr, "usage: agent [-k] PORT\n");
        return 2;
    }
    port = argv[1];
    if (!kernel && (ntmfw_init(NULL) < 0 || ntmfw_on_event(print_event, NULL) < 0)) {
        fprintf(stderr, "ntmfw_init: %s\n", reason());
        return 1;
    }
    struct sockaddr_in here4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    struct sockaddr_in6 here6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)) };
    serve(AF_INET, &here4, sizeof here4);
    serve(AF_INET6, &here6, sizeof here6);
    tell("ready");
    char line[512];
    while (fgets(line, sizeof line, stdin))
        obey(line);
    if (!kernel)
        ntmfw_fini();
    return 0;
}
