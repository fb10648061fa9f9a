/* Both ends of an exchange, as every language has them: exchange.rb and Exchange.java say the same.
 *
 *   exchange PORT            answers what comes there by TCP and UDP, and says "ready"
 *
 * It obeys lines on standard input:
 *
 *   exchange HOST            sends a numbered message by TCP and one by UDP, 50 times a second, and tells of every
 *                            fiftieth answer: "tcp 50", "udp 50"
 *   stop                     ends it: "exchanged tcp SENT ANSWERED udp SENT ANSWERED"
 *
 * Answers by TCP have to be the messages in their order, else it says so and ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ntmfw.h>

enum { MESSAGE = 16, TOLD = 50 };

static const char *port;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void tell(const char *protocol, int number)
{
    if (number % TOLD != 0)
        return;
    printf("%s %d\n", protocol, number);
    fflush(stdout);
}

static void start(pthread_t *thread, void *(*work)(void *), void *argument)
{
    if (pthread_create(thread, NULL, work, argument) != 0)
        die("no thread");
}

/* ---- who is asked ---- */

static void *answer_stream(void *argument)
{
    int fd = (int)(long)argument;
    char bytes[4096];
    for (ssize_t got; (got = ntmfw_recv(fd, bytes, sizeof bytes, 0)) > 0;)
        if (ntmfw_send(fd, bytes, (size_t)got, MSG_NOSIGNAL) != got)
            break;
    ntmfw_close(fd);
    return NULL;
}

static void *accept_streams(void *argument)
{
    for (int server = (int)(long)argument, fd; (fd = ntmfw_accept(server, NULL, NULL)) >= 0;) {
        pthread_t thread;
        start(&thread, answer_stream, (void *)(long)fd);
        pthread_detach(thread);
    }
    return NULL;
}

static void *answer_datagrams(void *argument)
{
    int fd = (int)(long)argument;
    char bytes[MESSAGE];
    struct sockaddr_storage from;
    for (;;) {
        socklen_t length = sizeof from;
        ssize_t got = ntmfw_recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length);
        if (got > 0)
            ntmfw_sendto(fd, bytes, (size_t)got, 0, (struct sockaddr *)&from, length);
    }
    return NULL;
}

static void serve(int kind, void *(*work)(void *))
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
    int fd = ntmfw_socket(AF_INET, kind, 0);
    if (ntmfw_bind(fd, (struct sockaddr *)&here, sizeof here) < 0 ||
        (kind == SOCK_STREAM && ntmfw_listen(fd, 8) < 0))
        die("the port is not free");
    pthread_t thread;
    start(&thread, work, (void *)(long)fd);
}

/* ---- who asks ---- */

static atomic_int stopped, sent[2], answered[2];
static int sockets[2];

static int reach(const char *host, int kind)
{
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = kind }, *found;
    int error = ntmfw_getaddrinfo(host, port, &hints, &found);
    if (error)
        die(ntmfw_gai_strerror(error));
    int fd = ntmfw_socket(found->ai_family, kind, 0);
    if (ntmfw_connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        die("not connected");
    ntmfw_freeaddrinfo(found);
    return fd;
}

static void *ask(void *unused)
{
    char message[MESSAGE + 1];
    while (!stopped) {
        for (int which = 0; which < 2; which++) {
            snprintf(message, sizeof message, "%*d", MESSAGE, sent[which] + 1);
            if (ntmfw_send(sockets[which], message, MESSAGE, MSG_NOSIGNAL) == MESSAGE)
                sent[which]++;
            else if (which == 0)
                die("a message could not be sent");
        }
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    ntmfw_shutdown(sockets[0], SHUT_WR);
    return unused;
}

static void *hear_stream(void *unused)
{
    char bytes[MESSAGE + 1] = "";
    while (ntmfw_recv(sockets[0], bytes, MESSAGE, MSG_WAITALL) == MESSAGE) {
        if (atoi(bytes) != answered[0] + 1)
            die("an answer is not the one that follows");
        tell("tcp", ++answered[0]);
    }
    return unused;
}

static void *hear_datagrams(void *unused)
{
    char bytes[MESSAGE];
    while (!stopped)
        if (ntmfw_recv(sockets[1], bytes, sizeof bytes, 0) == MESSAGE)
            tell("udp", ++answered[1]);
    return unused;
}

static pthread_t asking, hearing, counting;

static void begin(const char *host)
{
    stopped = sent[0] = sent[1] = answered[0] = answered[1] = 0;
    sockets[0] = reach(host, SOCK_STREAM);
    sockets[1] = reach(host, SOCK_DGRAM);
    struct timeval soon = { .tv_usec = 100000 };
    ntmfw_setsockopt(sockets[1], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    start(&hearing, hear_stream, NULL);
    start(&counting, hear_datagrams, NULL);
    start(&asking, ask, NULL);
}

static void stop(void)
{
    stopped = 1;
    pthread_join(asking, NULL);
    pthread_join(hearing, NULL);
    pthread_join(counting, NULL);
    for (int which = 0; which < 2; which++)
        ntmfw_close(sockets[which]);
    printf("exchanged tcp %d %d udp %d %d\n", sent[0], answered[0], sent[1], answered[1]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        die("usage: exchange PORT");
    port = argv[1];
    if (ntmfw_init(NULL) < 0)
        die(ntmfw_strerror(errno));
    serve(SOCK_STREAM, accept_streams);
    serve(SOCK_DGRAM, answer_datagrams);
    printf("ready\n");
    fflush(stdout);
    char line[256], host[256];
    while (fgets(line, sizeof line, stdin))
        if (sscanf(line, "exchange %255s", host) == 1)
            begin(host);
        else
            stop();
    ntmfw_fini();
    return 0;
}
