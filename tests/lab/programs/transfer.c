/* Transfers over a link with trouble, the same program for ntmfw and for the kernel.
 *
 *   transfer [-k] serve PORT
 *   transfer [-k] bulk HOST PORT CONTROL SKIP SECONDS      bytes that arrived in SECONDS, which begin SKIP seconds after
 *                                                          the first byte arrived
 *   transfer [-k] short HOST PORT CONTROL COUNT SIZE WIDTH COUNT connections that carry SIZE bytes each, WIDTH of them at
 *                                                          a time: milliseconds from connect() to the other end's close
 *
 * -k: the kernel's sockets. CONTROL is the congestion control. The answer is a line of name=value.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../../benches/c/both.h"

/* What a client asks the server for: to take everything until the end, or to count for a while. */
struct wish {
    double skip, seconds;
};

static void *attend(void *argument)
{
    int fd = (int)(long)argument;
    static __thread char bytes[1 << 18];
    struct wish wish;
    if (CALL(recv, fd, &wish, sizeof wish, MSG_WAITALL) == sizeof wish) {
        double begun = 0, counted = 0;
        ssize_t got;
        while ((got = CALL(recv, fd, bytes, sizeof bytes, 0)) > 0) {
            double at = now();
            if (!begun)
                begun = at;
            if (wish.seconds > 0 && at >= begun + wish.skip + wish.seconds) {
                CALL(send, fd, &counted, sizeof counted, 0);
                /* What still comes is not counted; it ends when the client has read its answer. */
                while (CALL(recv, fd, bytes, sizeof bytes, 0) > 0)
                    continue;
                break;
            }
            if (at >= begun + wish.skip)
                counted += (double)got;
        }
    }
    CALL(close, fd);
    return NULL;
}

static void serve(int port)
{
    int server = listen_at(port);
    printf("serving\n");
    fflush(stdout);
    for (;;) {
        int fd = CALL(accept, server, NULL, NULL);
        if (fd < 0)
            die("accept");
        pthread_t thread;
        if (pthread_create(&thread, NULL, attend, (void *)(long)fd))
            die("pthread_create");
        pthread_detach(thread);
    }
}

static int reach(const struct addrinfo *to, const char *control)
{
    int fd = CALL(socket, AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || CALL(setsockopt, fd, IPPROTO_TCP, TCP_CONGESTION, control, (socklen_t)strlen(control)) < 0)
        die(control);
    if (CALL(connect, fd, to->ai_addr, to->ai_addrlen) < 0)
        die("connect");
    return fd;
}

static void bulk(const struct addrinfo *to, const char *control, double skip, double seconds)
{
    static char bytes[1 << 18];
    struct wish wish = { skip, seconds };
    int fd = reach(to, control);
    if (CALL(send, fd, &wish, sizeof wish, 0) != sizeof wish)
        die("send");
    for (;;) {
        struct pollfd ready = { .fd = fd, .events = POLLIN | POLLOUT };
        if (CALL(poll, &ready, 1, -1) < 0)
            die("poll");
        if (ready.revents & POLLIN)
            break;
        if (CALL(send, fd, bytes, sizeof bytes, MSG_DONTWAIT) < 0 && errno != EAGAIN)
            die("send");
    }
    double counted;
    if (CALL(recv, fd, &counted, sizeof counted, MSG_WAITALL) != sizeof counted)
        die("recv");
    printf("bytes=%.0f\n", counted);
    fflush(stdout);
    struct linger at_once = { .l_onoff = 1 };
    CALL(setsockopt, fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    CALL(close, fd);
}

struct shorts {
    const struct addrinfo *to;
    const char *control;
    int count, size;
    atomic_int next;
    double *times;
};

static void *one_after_another(void *argument)
{
    struct shorts *shorts = argument;
    char *bytes = calloc(1, (size_t)shorts->size);
    const struct wish wish = { 0, 0 };
    for (int at; (at = atomic_fetch_add(&shorts->next, 1)) < shorts->count;) {
        double begun = now();
        int fd = reach(shorts->to, shorts->control);
        if (CALL(send, fd, &wish, sizeof wish, MSG_MORE) != sizeof wish ||
            CALL(send, fd, bytes, (size_t)shorts->size, 0) != shorts->size || CALL(shutdown, fd, SHUT_WR) < 0)
            die("send");
        char end;
        if (CALL(recv, fd, &end, 1, 0) != 0)
            die("recv");
        shorts->times[at] = (now() - begun) * 1e3;
        CALL(close, fd);
    }
    free(bytes);
    return NULL;
}

static void transfer_shorts(const struct addrinfo *to, const char *control, int count, int size, int width)
{
    struct shorts shorts = { .to = to, .control = control, .count = count, .size = size };
    shorts.times = calloc((size_t)count, sizeof *shorts.times);
    pthread_t threads[64];
    for (int at = 0; at < width; at++)
        if (pthread_create(&threads[at], NULL, one_after_another, &shorts))
            die("pthread_create");
    for (int at = 0; at < width; at++)
        pthread_join(threads[at], NULL);
    qsort(shorts.times, (size_t)count, sizeof *shorts.times, by_size);
    double sum = 0;
    for (int at = 0; at < count; at++)
        sum += shorts.times[at];
    printf("mean=%.2f p50=%.2f p99=%.2f\n", sum / count, shorts.times[count / 2], shorts.times[count * 99 / 100]);
    free(shorts.times);
}

int main(int argc, char **argv)
{
    begin(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(atoi(argv[2]));
    else if (argc == 7 && strcmp(argv[1], "bulk") == 0)
        bulk(find(argv[2], argv[3], SOCK_STREAM), argv[4], atof(argv[5]), atof(argv[6]));
    else if (argc == 8 && strcmp(argv[1], "short") == 0 && atoi(argv[5]) > 0 && atoi(argv[7]) > 0 && atoi(argv[7]) <= 64)
        transfer_shorts(find(argv[2], argv[3], SOCK_STREAM), argv[4], atoi(argv[5]), atoi(argv[6]), atoi(argv[7]));
    else {
        fprintf(stderr, "usage: see the head of transfer.c\n");
        return 2;
    }
    return 0;
}
