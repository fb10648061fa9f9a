/* One socket in two threads. */
#include "check.h"

enum { AMOUNT = 2 << 20 };

static void *write_pattern(void *argument)
{
    static unsigned char bytes[30000];
    size_t at = 0;
    while (at < AMOUNT) {
        size_t step = AMOUNT - at < sizeof bytes ? AMOUNT - at : sizeof bytes;
        pattern(bytes, step, at);
        if (send_all(*(int *)argument, bytes, step) < 0)
            break;
        at += step;
    }
    shutdown(*(int *)argument, SHUT_WR);
    return NULL;
}

static void read_pattern(int fd)
{
    static unsigned char bytes[50000];
    size_t at = 0;
    int right = 1;
    ssize_t got;
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0) {
        right &= is_pattern(bytes, (size_t)got, at);
        at += (size_t)got;
    }
    IS(got, 0, "the stream ends");
    IS(at, AMOUNT, "every byte comes");
    OK(right, "in its place");
}

static void one_reads_one_writes(void)
{
    int fd;
    pthread_t writer;
    NEEDS((fd = tcp_peer(ECHO)) >= 0);
    NEEDS(pthread_create(&writer, NULL, write_pattern, &fd) == 0);
    read_pattern(fd);
    IS(pthread_join(writer, NULL), 0, "the writing thread is done");
    close(fd);
}

static void both_ends_in_threads(void)
{
    int ends[2];
    pthread_t writer;
    NEEDS(tcp_pair(ends) == 0);
    NEEDS(pthread_create(&writer, NULL, write_pattern, &ends[1]) == 0);
    read_pattern(ends[0]);
    IS(pthread_join(writer, NULL), 0, "the writing thread is done");
    close_pair(ends);
}

struct sleeper {
    int fd;
    int kind;
    ssize_t result;
    int error;
    _Atomic int began;
};

static void *sleep_in_call(void *argument)
{
    struct sleeper *sleeper = argument;
    static _Thread_local char room[16];
    struct pollfd entry = { .fd = sleeper->fd, .events = POLLIN };
    sleeper->began = 1;
    sleeper->result = sleeper->kind == 'p'   ? poll(&entry, 1, PATIENCE_MS)
                      : sleeper->kind == 'a' ? accept(sleeper->fd, NULL, NULL)
                                             : recv(sleeper->fd, room, sizeof room, 0);
    sleeper->error = errno;
    return NULL;
}

/* Gives the thread time to be inside its call; the check holds whether it is or not. */
static void let_it_sleep(struct sleeper *sleeper)
{
    while (!sleeper->began)
        poll(NULL, 0, 1);
    poll(NULL, 0, 20);
}

static void shutdown_wakes(void)
{
    int ends[2], listener;
    pthread_t thread;
    NEEDS(tcp_pair(ends) == 0 && (listener = tcp_listener(1)) >= 0);
    struct sleeper reader = { .fd = ends[0], .kind = 'r', .result = -2 };
    NEEDS(pthread_create(&thread, NULL, sleep_in_call, &reader) == 0);
    let_it_sleep(&reader);
    IS(shutdown(ends[0], SHUT_RDWR), 0, "another thread shuts the socket down");
    pthread_join(thread, NULL);
    IS(reader.result, 0, "the reader wakes and reads the end");
    struct sleeper accepter = { .fd = listener, .kind = 'a', .result = -2 };
    NEEDS(pthread_create(&thread, NULL, sleep_in_call, &accepter) == 0);
    let_it_sleep(&accepter);
    IS(shutdown(listener, SHUT_RDWR), 0, "another thread shuts the listener down");
    pthread_join(thread, NULL);
    check(accepter.result == -1 && accepter.error == EINVAL, "the accepter wakes with EINVAL", "%zd: %s", accepter.result,
          strerror(accepter.error));
    close_pair(ends), close(listener);
}

static void bytes_wake(void)
{
    int ends[2];
    pthread_t threads[2];
    NEEDS(tcp_pair(ends) == 0);
    struct sleeper reader = { .fd = ends[0], .kind = 'r', .result = -2 };
    NEEDS(pthread_create(&threads[0], NULL, sleep_in_call, &reader) == 0);
    let_it_sleep(&reader);
    NEEDS(send(ends[1], "abc", 3, 0) == 3);
    pthread_join(threads[0], NULL);
    IS(reader.result, 3, "bytes wake a reader");
    struct sleeper poller = { .fd = ends[0], .kind = 'p', .result = -2 };
    NEEDS(pthread_create(&threads[0], NULL, sleep_in_call, &poller) == 0);
    let_it_sleep(&poller);
    NEEDS(send(ends[1], "abc", 3, 0) == 3);
    pthread_join(threads[0], NULL);
    IS(poller.result, 1, "bytes wake a poller");
    char room[4];
    IS(recv(ends[0], room, 4, 0), 3, "and are there");
    struct sleeper two[2] = { { .fd = ends[0], .kind = 'r', .result = -2 }, { .fd = ends[0], .kind = 'r', .result = -2 } };
    for (int i = 0; i < 2; i++)
        NEEDS(pthread_create(&threads[i], NULL, sleep_in_call, &two[i]) == 0);
    let_it_sleep(&two[0]), let_it_sleep(&two[1]);
    NEEDS(shutdown(ends[1], SHUT_WR) == 0);
    pthread_join(threads[0], NULL), pthread_join(threads[1], NULL);
    OK(two[0].result == 0 && two[1].result == 0, "the end wakes every reader");
    close_pair(ends);
}

static void *connect_and_talk(void *argument)
{
    long ok = 0;
    (void)argument;
    for (int turn = 0; turn < 10; turn++) {
        char room[4];
        int fd = tcp_peer(ECHO);
        if (fd < 0)
            break;
        ok += send(fd, "ping", 4, 0) == 4 && recv(fd, room, 4, MSG_WAITALL) == 4 && !memcmp(room, "ping", 4);
        close(fd);
    }
    return (void *)ok;
}

static void many_at_once(void)
{
    pthread_t all[8];
    long ok = 0;
    for (int i = 0; i < 8; i++)
        NEEDS(pthread_create(&all[i], NULL, connect_and_talk, NULL) == 0);
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(all[i], &result);
        ok += (long)result;
    }
    IS(ok, 80, "eight threads with ten connections each are all answered");
}

void threads(void)
{
    RUN_VARIANTS(threads, one_reads_one_writes);
    RUN_VARIANTS(threads, both_ends_in_threads);
    RUN_VARIANTS(threads, shutdown_wakes);
    RUN_VARIANTS(threads, bytes_wake);
    RUN_VARIANTS(threads, many_at_once);
}
