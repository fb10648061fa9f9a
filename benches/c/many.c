/* Many at once, connections or peers: how fast they are met, what each holds, and what they cost the others.
 *
 *   many serve PORT             accepts, keeps, and answers
 *   many hold HOST PORT COUNT   makes COUNT connections and keeps them: connects a second, bytes of memory a
 *                               connection at both ends, and the Gbit/s of one stream before and among them
 *
 *   many meet PORT BYTES HOST...   a stream of BYTES to each host, all at the same time: milliseconds until all are
 *                               connected, Gbit/s to the first alone and to all together, bytes of memory a host
 *
 * Both ends need three descriptors a connection (ulimit -n). The answer is a line of name=value.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <ntmfw.h>

/* Connections that are on their way at the same time. */
enum { WINDOW = 128 };
static const double STREAM_SECONDS = 2;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ntmfw_strerror(errno));
    exit(1);
}

/* Bytes of memory that this process has. */
static double resident(void)
{
    long pages = 0, all = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &all, &pages) != 2)
        die("/proc/self/statm");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* The first byte says what a connection is for: 's' a stream, 'm' to ask for the memory in use; most say nothing. */
static void *attend(void *argument)
{
    int fd = (int)(long)argument;
    static __thread char bytes[1 << 18];
    if (ntmfw_recv(fd, bytes, 1, MSG_WAITALL) == 1) {
        double answer = resident();
        if (bytes[0] == 's')
            for (answer = 0;;) {
                ssize_t got = ntmfw_recv(fd, bytes, sizeof bytes, 0);
                if (got <= 0)
                    break;
                answer += (double)got;
            }
        ntmfw_send(fd, &answer, sizeof answer, 0);
    }
    ntmfw_close(fd);
    return NULL;
}

static void serve(int port)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int server = ntmfw_socket(AF_INET, SOCK_STREAM, 0);
    if (ntmfw_bind(server, (struct sockaddr *)&here, sizeof here) < 0 || ntmfw_listen(server, 4096) < 0)
        die("listen");
    printf("serving\n");
    fflush(stdout);
    /* Whoever speaks gets a thread; the others are only kept. */
    int control = ntmfw_socket(AF_INET, SOCK_STREAM, 0);
    here.sin_port = htons((unsigned short)(port + 1));
    if (ntmfw_bind(control, (struct sockaddr *)&here, sizeof here) < 0 || ntmfw_listen(control, 16) < 0)
        die("listen");
    struct pollfd both[2] = { { .fd = server, .events = POLLIN }, { .fd = control, .events = POLLIN } };
    ntmfw_fcntl(server, F_SETFL, O_NONBLOCK);
    while (ntmfw_poll(both, 2, -1) >= 0) {
        if (both[0].revents)
            while (ntmfw_accept(server, NULL, NULL) >= 0)
                ;
        if (both[1].revents) {
            pthread_t thread;
            int fd = ntmfw_accept(control, NULL, NULL);
            if (fd >= 0 && pthread_create(&thread, NULL, attend, (void *)(long)fd) == 0)
                pthread_detach(thread);
        }
    }
    die("poll");
}

static struct sockaddr_in find(const char *host, const char *port, int beside)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_INET }, *found;
    int error = ntmfw_getaddrinfo(host, port, &hints, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
        exit(1);
    }
    struct sockaddr_in address = *(struct sockaddr_in *)found->ai_addr;
    address.sin_port = htons((unsigned short)(ntohs(address.sin_port) + beside));
    ntmfw_freeaddrinfo(found);
    return address;
}

static int reach(struct sockaddr_in address, const char *purpose)
{
    int fd = ntmfw_socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || ntmfw_connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    ntmfw_send(fd, purpose, 1, 0);
    return fd;
}

static double ask(int fd)
{
    double answer;
    if (ntmfw_recv(fd, &answer, sizeof answer, MSG_WAITALL) != sizeof answer)
        die("the other end's answer");
    ntmfw_close(fd);
    return answer;
}

static double gigabits(struct sockaddr_in control)
{
    static char bytes[1 << 18];
    int fd = reach(control, "s");
    double begun = now();
    while (now() < begun + STREAM_SECONDS)
        if (ntmfw_send(fd, bytes, sizeof bytes, 0) < 0)
            die("send");
    ntmfw_shutdown(fd, SHUT_WR);
    double received = ask(fd);
    return received * 8e-9 / (now() - begun);
}

/* Makes `count` connections, WINDOW of them at a time; gives the seconds that took. */
static double make(struct sockaddr_in server, int count)
{
    struct pollfd waiting[WINDOW];
    int pending = 0, begun_ones = 0;
    double begun = now();
    while (begun_ones < count || pending > 0) {
        while (pending < WINDOW && begun_ones < count) {
            int fd = ntmfw_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            if (fd < 0)
                die("socket");
            if (ntmfw_connect(fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
                die("connect");
            waiting[pending++] = (struct pollfd){ .fd = fd, .events = POLLOUT };
            begun_ones++;
        }
        if (ntmfw_poll(waiting, (nfds_t)pending, 10000) <= 0)
            die("poll");
        int left = 0;
        for (int at = 0; at < pending; at++) {
            int error = 0;
            socklen_t length = sizeof error;
            if (!waiting[at].revents)
                waiting[left++] = waiting[at];
            else if (ntmfw_getsockopt(waiting[at].fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error) {
                errno = error ? error : errno;
                die("connect");
            }
        }
        pending = left;
    }
    return now() - begun;
}

static void hold(const char *host, const char *port, int count)
{
    struct sockaddr_in server = find(host, port, 0), control = find(host, port, 1);
    double alone = gigabits(control);
    double own = resident(), other = ask(reach(control, "m"));
    double seconds = make(server, count);
    own = resident() - own;
    other = ask(reach(control, "m")) - other;
    double among = gigabits(control);
    printf("connects=%.0f own_bytes=%.0f other_bytes=%.0f gbit_alone=%.3f gbit_among=%.3f\n", count / seconds,
           own / count, other / count, alone, among);
}

/* One host among those that are met. */
struct met {
    struct sockaddr_in control;
    const char *name, *port;
    double bytes, received;
    pthread_t thread;
};

static pthread_barrier_t all_connected;

static double deliver(struct met *one, int fd)
{
    static char bytes[1 << 18];
    for (double left = one->bytes; left > 0;) {
        ssize_t sent = ntmfw_send(fd, bytes, left < sizeof bytes ? (size_t)left : sizeof bytes, 0);
        if (sent < 0)
            die("send");
        left -= (double)sent;
    }
    ntmfw_shutdown(fd, SHUT_WR);
    return ask(fd);
}

static void *meet_one(void *argument)
{
    struct met *one = argument;
    one->control = find(one->name, one->port, 1);
    int fd = reach(one->control, "s");
    pthread_barrier_wait(&all_connected);
    one->received = deliver(one, fd);
    return NULL;
}

static void meet(const char *port, double bytes, char **names, int count)
{
    struct met *hosts = calloc((size_t)count, sizeof *hosts);
    double begun = now(), own = resident(), received = 0;
    pthread_barrier_init(&all_connected, NULL, (unsigned)count + 1);
    for (int at = 0; at < count; at++) {
        hosts[at] = (struct met){ .name = names[at], .port = port, .bytes = bytes };
        if (pthread_create(&hosts[at].thread, NULL, meet_one, &hosts[at]))
            die("pthread_create");
    }
    pthread_barrier_wait(&all_connected);
    double connected = now();
    for (int at = 0; at < count; at++) {
        pthread_join(hosts[at].thread, NULL);
        received += hosts[at].received;
    }
    double done = now();
    own = resident() - own;
    if (received != bytes * count)
        die("not every byte came");
    double alone_begun = now();
    hosts[0].bytes *= count;
    deliver(&hosts[0], reach(hosts[0].control, "s"));
    double alone = hosts[0].bytes * 8e-9 / (now() - alone_begun);
    printf("connected_ms=%.1f gbit_all=%.3f gbit_alone=%.3f own_bytes=%.0f\n", (connected - begun) * 1e3,
           received * 8e-9 / (done - connected), alone, own / count);
}

int main(int argc, char **argv)
{
    if (ntmfw_init(NULL) < 0)
        die("ntmfw_init");
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(atoi(argv[2]));
    else if (argc == 5 && strcmp(argv[1], "hold") == 0)
        hold(argv[2], argv[3], atoi(argv[4]));
    else if (argc >= 5 && strcmp(argv[1], "meet") == 0)
        meet(argv[2], atof(argv[3]), argv + 4, argc - 4);
    else {
        fprintf(stderr, "usage: see the head of many.c\n");
        return 2;
    }
    return 0;
}
