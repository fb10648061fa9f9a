/* Signals while a call waits, and the signal of a broken pipe. */
#include "check.h"

static _Atomic int pipes;

static void note_pipe(int number)
{
    int error = errno;
    (void)number;
    pipes++;
    errno = error;
}

static void broken_pipes(void)
{
    int ends[2];
    struct sigaction action = { .sa_handler = note_pipe }, before;
    struct iovec part = { "x", 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    NEEDS(tcp_pair(ends) == 0 && shutdown(ends[0], SHUT_WR) == 0 && sigaction(SIGPIPE, &action, &before) == 0);
    pipes = 0;
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE, "send with MSG_NOSIGNAL fails");
    FAILS(sendmsg(ends[0], &message, MSG_NOSIGNAL), EPIPE, "and sendmsg");
    IS(pipes, 0, "without a signal");
    FAILS(send(ends[0], "x", 1, 0), EPIPE, "send without it fails");
    IS(pipes, 1, "with one");
    FAILS(write(ends[0], "x", 1), EPIPE, "write fails");
    IS(pipes, 2, "with one");
    FAILS(writev(ends[0], &part, 1), EPIPE, "writev fails");
    IS(pipes, 3, "with one");
    FAILS(sendmsg(ends[0], &message, 0), EPIPE, "sendmsg fails");
    IS(pipes, 4, "with one");
    sigaction(SIGPIPE, &before, NULL);
    close_pair(ends);
}

static void interrupted(void)
{
    int ends[2], listener, pair[2], set;
    char room[4];
    struct epoll_event event = { .events = EPOLLIN };
    NEEDS(tcp_pair(ends) == 0 && udp_pair(pair) == 0 && (listener = tcp_listener(1)) >= 0);
    NEEDS((set = epoll_create1(0)) >= 0);
    struct pollfd entry = { .fd = ends[0], .events = POLLIN };
    fd_set reading;
    start_ticking(0);
    FAILS(recv(ends[0], room, sizeof room, 0), EINTR, "a signal ends recv");
    FAILS(read(ends[0], room, sizeof room), EINTR, "and read");
    FAILS(recv(pair[0], room, sizeof room, 0), EINTR, "and recv of datagrams");
    FAILS(accept(listener, NULL, NULL), EINTR, "and accept");
    FAILS(poll(&entry, 1, -1), EINTR, "and poll");
    FD_ZERO(&reading);
    FD_SET(ends[0], &reading);
    FAILS(select(ends[0] + 1, &reading, NULL, NULL, NULL), EINTR, "and select");
    FAILS(epoll_wait(set, &event, 1, -1), EINTR, "and epoll_wait");
    stop_ticking();
    OK(ticks >= 7, "there was a signal for each");
    start_ticking(SA_RESTART);
    FAILS(poll(&entry, 1, -1), EINTR, "SA_RESTART does not restart poll");
    FD_ZERO(&reading);
    FD_SET(ends[0], &reading);
    FAILS(select(ends[0] + 1, &reading, NULL, NULL, NULL), EINTR, "nor select");
    FAILS(epoll_wait(set, &event, 1, -1), EINTR, "nor epoll_wait");
    struct timeval patience = { .tv_sec = 20 };
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    FAILS(recv(ends[0], room, sizeof room, 0), EINTR, "nor recv with a time-out");
    stop_ticking();
    close_pair(ends), close_pair(pair), close(listener), close(set);
}

/* Sends when some signals have been handled, so that the call has met them. */
static void *send_after_ticks(void *argument)
{
    int until = ticks + 5;
    while (ticks < until)
        poll(NULL, 0, 2);
    return (void *)(long)send(*(int *)argument, "x", 1, 0);
}

static void *connect_after_ticks(void *argument)
{
    int until = ticks + 5, fd = tcp_socket();
    struct address *there = argument;
    while (ticks < until)
        poll(NULL, 0, 2);
    connect(fd, &there->any, there->length);
    return (void *)(long)fd;
}

static int start_quietly(pthread_t *thread, void *(*function)(void *), void *argument)
{
    sigset_t alarm, before;
    sigemptyset(&alarm), sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, &before);
    int made = pthread_create(thread, NULL, function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return made;
}

static void restarted(void)
{
    int ends[2], pair[2], listener, accepted;
    char room[4];
    pthread_t thread;
    void *result;
    NEEDS(tcp_pair(ends) == 0 && udp_pair(pair) == 0 && (listener = tcp_listener(1)) >= 0);
    start_ticking(SA_RESTART);
    NEEDS(start_quietly(&thread, send_after_ticks, &ends[1]) == 0);
    IS(recv(ends[0], room, sizeof room, 0), 1, "SA_RESTART restarts recv");
    pthread_join(thread, NULL);
    NEEDS(start_quietly(&thread, send_after_ticks, &pair[1]) == 0);
    IS(recv(pair[0], room, sizeof room, 0), 1, "and recv of datagrams");
    pthread_join(thread, NULL);
    struct address here = local_of(listener);
    NEEDS(start_quietly(&thread, connect_after_ticks, &here) == 0);
    accepted = (int)WORKS(accept(listener, NULL, NULL), "and accept");
    pthread_join(thread, &result);
    stop_ticking();
    close((int)(long)result), close(accepted), close(listener), close_pair(ends), close_pair(pair);
}

static void partly_done(void)
{
    int ends[2];
    char room[4];
    NEEDS(tcp_pair(ends) == 0 && send(ends[1], "ab", 2, 0) == 2);
    start_ticking(0);
    IS(recv(ends[0], room, sizeof room, MSG_WAITALL), 2, "a signal ends MSG_WAITALL with what there is");
    stop_ticking();
    close_pair(ends);
}

static void masks(void)
{
    int ends[2], set;
    sigset_t alarm, before, none;
    struct epoll_event event = { .events = EPOLLIN };
    struct timespec patience = { .tv_sec = 10 }, brief = { .tv_nsec = 50000000 };
    NEEDS(tcp_pair(ends) == 0 && (set = epoll_create1(0)) >= 0);
    struct pollfd entry = { .fd = ends[0], .events = POLLIN };
    fd_set reading;
    sigemptyset(&none), sigemptyset(&alarm), sigaddset(&alarm, SIGALRM);
    start_ticking(0);
    IS(ppoll(&entry, 1, &brief, &alarm), 0, "ppoll with the signal masked is not ended by it");
    IS(epoll_pwait(set, &event, 1, 50, &alarm), 0, "nor epoll_pwait");
    pthread_sigmask(SIG_BLOCK, &alarm, &before);
    IS(poll(&entry, 1, 50), 0, "poll with the signal blocked neither");
    FAILS(ppoll(&entry, 1, &patience, &none), EINTR, "ppoll that unblocks it is ended by it");
    FAILS(epoll_pwait(set, &event, 1, 10000, &none), EINTR, "and epoll_pwait");
    FD_ZERO(&reading);
    FD_SET(ends[0], &reading);
    FAILS(pselect(ends[0] + 1, &reading, NULL, NULL, &patience, &none), EINTR, "and pselect");
    stop_ticking();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close_pair(ends), close(set);
}

void signals(void)
{
    RUN_VARIANTS(signals, broken_pipes);
    RUN_VARIANTS(signals, interrupted);
    RUN_VARIANTS(signals, restarted);
    RUN(signals, partly_done);
    RUN(signals, masks);
}
