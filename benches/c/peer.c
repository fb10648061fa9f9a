/* Two ends of a measurement, the same program for ntmfw and for the kernel.
 *
 *   peer [-k] serve PORT                    takes what comes, and answers pings
 *   peer [-k] stream HOST PORT SECONDS      one TCP stream: Gbit/s, and processor seconds per gigabyte
 *   peer [-k] flood HOST PORT SECONDS SIZE BURST  datagrams as fast as they go, BURST a call: how many a second arrive
 *   peer [-k] ping HOST PORT COUNT SIZE     TCP ping-pong: microseconds, median and 99th percentile
 *   peer [-k] udp HOST PORT COUNT SIZE      UDP ping-pong: the same
 *   peer init                               how long the library takes to be ready
 *   peer idle HOST PORT SECONDS             how often a process wakes that has a connection and does nothing
 *
 * -k: the kernel's sockets. The answer is a line of name=value.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "both.h"

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Datagrams of a flood that have come: the first byte of theirs is FLOOD, of a ping's it is not. */
enum { FLOOD = 'f', MOST = 64 };
static atomic_ullong flooded;

/* The first byte says what the connection is for: 's' a stream, 'f' a flood of datagrams beside it, 'p' pings of
 * the size that follows. */
static void *attend(void *argument)
{
    int fd = (int)(long)argument;
    static __thread char bytes[1 << 18];
    char what;
    if (CALL(recv, fd, &what, 1, MSG_WAITALL) != 1) {
        CALL(close, fd);
        return NULL;
    }
    if (what == 's') {
        double begun = cpu();
        unsigned long long total = 0;
        ssize_t got;
        while ((got = CALL(recv, fd, bytes, sizeof bytes, 0)) > 0)
            total += (unsigned long long)got;
        double report[2] = { (double)total, cpu() - begun };
        CALL(send, fd, report, sizeof report, 0);
    } else if (what == FLOOD) {
        unsigned long long before = atomic_load(&flooded);
        double begun = cpu();
        CALL(recv, fd, bytes, sizeof bytes, 0);
        double report[2] = { (double)(atomic_load(&flooded) - before), cpu() - begun };
        CALL(send, fd, report, sizeof report, 0);
    } else {
        int one = 1, size;
        CALL(setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (CALL(recv, fd, &size, sizeof size, MSG_WAITALL) == sizeof size && size > 0 && size <= (int)sizeof bytes)
            while (CALL(recv, fd, bytes, (size_t)size, MSG_WAITALL) == size)
                if (CALL(send, fd, bytes, (size_t)size, 0) != size)
                    break;
    }
    CALL(close, fd);
    return NULL;
}

static void *attend_udp(void *argument)
{
    int fd = (int)(long)argument;
    static char bytes[65536];
    struct sockaddr_storage from;
    ssize_t got;
    for (socklen_t length = sizeof from;
         (got = CALL(recvfrom, fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length)) >= 0;
         length = sizeof from)
        if (got > 0 && bytes[0] == FLOOD)
            atomic_fetch_add_explicit(&flooded, 1, memory_order_relaxed);
        else
            CALL(sendto, fd, bytes, (size_t)got, 0, (struct sockaddr *)&from, length);
    die("recvfrom");
    return NULL;
}

static void serve(int port)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int server = listen_at(port), datagrams = CALL(socket, AF_INET, SOCK_DGRAM, 0);
    if (CALL(bind, datagrams, (struct sockaddr *)&here, sizeof here) < 0)
        die("bind");
    pthread_t thread;
    pthread_create(&thread, NULL, attend_udp, (void *)(long)datagrams);
    printf("serving\n");
    fflush(stdout);
    for (;;) {
        int fd = CALL(accept, server, NULL, NULL);
        if (fd < 0)
            die("accept");
        pthread_create(&thread, NULL, attend, (void *)(long)fd);
        pthread_detach(thread);
    }
}

static int reach(const char *host, const char *port, int kind)
{
    struct addrinfo *found = find(host, port, kind);
    int fd = CALL(socket, found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd < 0 || CALL(connect, fd, found->ai_addr, found->ai_addrlen) < 0)
        die(host);
    return fd;
}

enum { LONGEST_WRITE = 1 << 18 };

static void stream(const char *host, const char *port, double seconds, size_t size)
{
    static char bytes[LONGEST_WRITE];
    int fd = reach(host, port, SOCK_STREAM);
    CALL(send, fd, "s", 1, 0);
    /* Half a second to get going, which does not count. */
    for (double until = now() + 0.5; now() < until;)
        CALL(send, fd, bytes, size, 0);
    double begun = now(), begun_cpu = cpu(), until = begun + seconds;
    unsigned long long total = 0;
    while (now() < until) {
        ssize_t sent = CALL(send, fd, bytes, size, 0);
        if (sent < 0)
            die("send");
        total += (unsigned long long)sent;
    }
    double time = now() - begun, used = cpu() - begun_cpu;
    CALL(shutdown, fd, SHUT_WR);
    double report[2] = { 0, 0 };
    CALL(recv, fd, report, sizeof report, MSG_WAITALL);
    printf("gbit=%.3f bytes=%.0f sender_cpu=%.3f receiver_cpu=%.3f\n", total * 8e-9 / time, report[0],
           used / (total * 1e-9), report[1] / (report[0] * 1e-9));
    CALL(close, fd);
}

/* The stream beside the datagrams tells the other end when the flood begins and ends, and brings its count. */
static void flood(const char *host, const char *port, double seconds, int size, int burst)
{
    static char bytes[65536] = { FLOOD };
    int control = reach(host, port, SOCK_STREAM), fd = reach(host, port, SOCK_DGRAM);
    CALL(send, control, "f", 1, 0);
    double begun = now(), begun_cpu = cpu(), until = begun + seconds;
    unsigned long long sent = 0;
    struct iovec part = { .iov_base = bytes, .iov_len = (size_t)size };
    struct mmsghdr messages[MOST];
    for (int at = 0; at < MOST; at++)
        messages[at] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &part, .msg_iovlen = 1 } };
    while (now() < until)
        for (int call = 0; call < MOST / burst; call++) {
            int gone = burst > 1 ? CALL(sendmmsg, fd, messages, (unsigned)burst, 0)
                                 : CALL(send, fd, bytes, (size_t)size, 0) == size ? 1 : -1;
            if (gone < 0 && errno != ENOBUFS && errno != EAGAIN)
                die("send");
            sent += gone > 0 ? (unsigned)gone : 0;
        }
    double time = now() - begun, used = cpu() - begun_cpu, report[2] = { 0, 0 };
    CALL(shutdown, control, SHUT_WR);
    if (CALL(recv, control, report, sizeof report, MSG_WAITALL) != sizeof report)
        die("the other end's count");
    printf("sent=%.0f received=%.0f sender_cpu=%.3f receiver_cpu=%.3f\n", sent / time, report[0] / time,
           used / sent * 1e6, report[1] / report[0] * 1e6);
    CALL(close, fd);
    CALL(close, control);
}

static void ping(const char *host, const char *port, int count, int size, int kind)
{
    static char bytes[65536];
    double *times = calloc((size_t)count, sizeof *times);
    int fd = reach(host, port, kind), one = 1;
    if (kind == SOCK_STREAM) {
        CALL(setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        CALL(send, fd, "p", 1, 0);
        CALL(send, fd, &size, sizeof size, 0);
    } else {
        struct timeval patience = { .tv_sec = 1 };
        CALL(setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    for (int at = -count / 10; at < count; at++) {
        double begun = now();
        if (CALL(send, fd, bytes, (size_t)size, 0) != size)
            die("send");
        if (CALL(recv, fd, bytes, (size_t)size, MSG_WAITALL) != size && kind == SOCK_STREAM)
            die("recv");
        if (at >= 0)
            times[at] = now() - begun;
    }
    qsort(times, (size_t)count, sizeof *times, by_size);
    printf("p50=%.2f p99=%.2f\n", times[count / 2] * 1e6, times[count * 99 / 100] * 1e6);
    CALL(close, fd);
}

/* How often the threads of this process have gone to sleep. */
static long sleeps(void)
{
    long total = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        die("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks));) {
        char path[300], line[200];
        long count;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1)
                total += count;
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return total;
}

static void idle(const char *host, const char *port, unsigned seconds)
{
    int fd = reach(host, port, SOCK_STREAM);
    CALL(send, fd, "s", 1, 0);
    /* What the connection's beginning still has to do: paths are proven, alternatives tried. */
    sleep(10);
    long before = sleeps();
    sleep(seconds);
    /* This thread's own two. */
    printf("wakes_a_minute=%.1f\n", (double)(sleeps() - before - 2) * 60 / seconds);
    CALL(close, fd);
}

int main(int argc, char **argv)
{
    double begun = now();
    begin(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(atoi(argv[2]));
    else if (argc == 2 && strcmp(argv[1], "init") == 0)
        printf("ready_ms=%.3f\n", (now() - begun) * 1e3);
    else if (argc == 5 && strcmp(argv[1], "idle") == 0)
        idle(argv[2], argv[3], (unsigned)atoi(argv[4]));
    else if (argc == 5 && strcmp(argv[1], "stream") == 0)
        stream(argv[2], argv[3], atof(argv[4]), LONGEST_WRITE);
    else if (argc == 6 && strcmp(argv[1], "stream") == 0 && atoi(argv[5]) > 0 && atoi(argv[5]) <= LONGEST_WRITE)
        stream(argv[2], argv[3], atof(argv[4]), (size_t)atoi(argv[5]));
    else if (argc == 7 && strcmp(argv[1], "flood") == 0 && atoi(argv[6]) > 0 && atoi(argv[6]) <= MOST)
        flood(argv[2], argv[3], atof(argv[4]), atoi(argv[5]), atoi(argv[6]));
    else if (argc == 6 && strcmp(argv[1], "ping") == 0)
        ping(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), SOCK_STREAM);
    else if (argc == 6 && strcmp(argv[1], "udp") == 0)
        ping(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), SOCK_DGRAM);
    else {
        fprintf(stderr, "usage: see the head of peer.c\n");
        return 2;
    }
    return 0;
}
