/* poll, select, epoll: what they tell, and of what they tell it together. */
#include "check.h"

static void of_a_connection(void)
{
    int ends[2];
    char room[4];
    NEEDS(tcp_pair(ends) == 0);
    IS(events_now(ends[0]), POLLOUT, "a new connection is writable");
    NEEDS(send(ends[1], "x", 1, 0) == 1);
    IS(wait_exactly(ends[0], POLLIN | POLLOUT | POLLRDHUP, POLLIN | POLLOUT), POLLIN | POLLOUT, "with a byte readable too");
    IS(recv(ends[0], room, 1, 0), 1, "the byte is read");
    IS(events_now(ends[0]), POLLOUT, "and it is not readable any more");
    NEEDS(shutdown(ends[1], SHUT_WR) == 0);
    IS(wait_exactly(ends[0], POLLIN | POLLOUT | POLLRDHUP, POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP,
       "the other side's end is readable and POLLRDHUP");
    IS(wait_exactly(ends[0], POLLIN, POLLIN), POLLIN, "which is told to those who ask");
    NEEDS(shutdown(ends[0], SHUT_WR) == 0);
    OK(wait_for(ends[0], 0) & POLLHUP, "both sides' ends are a hang-up, which needs no asking");
    close_pair(ends);
}

static void of_a_listener(void)
{
    int listener, client, accepted;
    NEEDS((listener = tcp_listener(2)) >= 0);
    IS(events_now(listener), 0, "a listener with nobody waiting is nothing");
    struct address here = local_of(listener);
    NEEDS((client = tcp_socket()) >= 0 && connect(client, &here.any, here.length) == 0);
    IS(wait_for(listener, POLLIN | POLLOUT), POLLIN, "somebody waiting makes it readable");
    NEEDS((accepted = accept(listener, NULL, NULL)) >= 0);
    IS(events_now(listener), 0, "accepted, it is nothing again");
    close(listener), close(client), close(accepted);
}

static void of_a_fresh_stream(void)
{
    int fd;
    NEEDS((fd = tcp_socket()) >= 0);
    OK(events_now(fd) & POLLOUT, "a stream that is not connected polls writable");
    OK(events_now(fd) & POLLHUP, "and hung up");
    close(fd);
}

static void of_shut_reading(void)
{
    int ends[2];
    NEEDS(tcp_pair(ends) == 0 && shutdown(ends[0], SHUT_RD) == 0);
    IS(events_now(ends[0]), POLLIN | POLLOUT | POLLRDHUP, "shut for reading it polls as ended");
    close_pair(ends);
}

static void poll_itself(void)
{
    int ends[2], closed, timeout = 20;
    NEEDS(tcp_pair(ends) == 0 && (closed = dup(ends[0])) >= 0 && close(closed) == 0);
    struct pollfd entries[3] = { { .fd = ends[0], .events = POLLIN, .revents = 7 },
                                 { .fd = -1, .events = POLLIN, .revents = 7 },
                                 { .fd = ends[1], .events = POLLIN, .revents = 7 } };
    IS(poll(entries, 3, timeout), 0, "the time ends it");
    OK(entries[0].revents == 0 && entries[1].revents == 0 && entries[2].revents == 0, "and nothing is left in it");
    NEEDS(send(ends[0], "x", 1, 0) == 1);
    IS(poll(entries, 3, PATIENCE_MS), 1, "one is ready");
    OK(entries[0].revents == 0 && entries[2].revents == POLLIN, "the right one");
    entries[1].fd = closed;
    IS(poll(entries, 3, PATIENCE_MS), 2, "one more where a descriptor is none");
    IS(entries[1].revents, POLLNVAL, "which is told");
    IS(poll(NULL, 0, 1), 0, "nothing at all can be waited for");
    struct timespec brief = { .tv_nsec = 1000000 }, wrong = { .tv_nsec = -1 };
    entries[0].events = POLLOUT;
    IS(ppoll(entries, 1, &brief, NULL), 1, "ppoll tells the same");
    FAILS(ppoll(entries, 1, &wrong, NULL), EINVAL, "a time that is none is refused");
    struct timespec late = { .tv_nsec = 1000000000 };
    FAILS(ppoll(entries, 1, &late, NULL), EINVAL, "and a second of nanoseconds");
    FAILS(poll(nothing, 1, 0), EFAULT, "entries that are nowhere");
    close_pair(ends);
}

static void select_itself(void)
{
    int ends[2];
    fd_set reading, writing;
    struct timeval brief = { .tv_usec = 10000 };
    struct timespec short_time = { .tv_nsec = 10000000 };
    NEEDS(tcp_pair(ends) == 0);
    OK(ends[0] < FD_SETSIZE && ends[1] < FD_SETSIZE, "descriptors are low enough for select");
    int count = (ends[0] > ends[1] ? ends[0] : ends[1]) + 1;
    FD_ZERO(&reading);
    FD_SET(ends[1], &reading);
    IS(select(count, &reading, NULL, NULL, &brief), 0, "the time ends it");
    OK(!FD_ISSET(ends[1], &reading), "and the set is empty");
    OK(brief.tv_sec == 0 && brief.tv_usec == 0, "and no time is left");
    NEEDS(send(ends[0], "x", 1, 0) == 1);
    FD_ZERO(&reading);
    FD_SET(ends[0], &reading);
    FD_SET(ends[1], &reading);
    FD_ZERO(&writing);
    FD_SET(ends[0], &writing);
    brief.tv_sec = 5;
    IS(select(count, &reading, &writing, NULL, &brief), 2, "one is readable and one is writable");
    OK(FD_ISSET(ends[1], &reading) && !FD_ISSET(ends[0], &reading), "the right one is readable");
    OK(FD_ISSET(ends[0], &writing), "the right one is writable");
    OK(brief.tv_sec > 0, "time was left");
    FD_ZERO(&reading);
    FD_SET(ends[1], &reading);
    IS(pselect(count, &reading, NULL, NULL, &short_time, NULL), 1, "pselect tells the same");
    FAILS(select(-1, NULL, NULL, NULL, &brief), EINVAL, "a negative count is refused");
    struct timeval wrong = { .tv_sec = -1 };
    FAILS(select(0, NULL, NULL, NULL, &wrong), EINVAL, "and a negative time");
    brief.tv_sec = 0, brief.tv_usec = 1;
    IS(select(0, NULL, NULL, NULL, &brief), 0, "nothing at all can be waited for");
    int gone = dup(ends[0]);
    close(gone);
    FD_ZERO(&reading);
    FD_SET(gone, &reading);
    FAILS(select(gone + 1, &reading, NULL, NULL, &brief), EBADF, "a descriptor that is none");
    close_pair(ends);
}

static int epoll_one(int set, struct epoll_event *event, int time)
{
    memset(event, 0, sizeof *event);
    return epoll_wait(set, event, 1, time);
}

static void epoll_by_level(void)
{
    int ends[2], set;
    char room[4];
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.u64 = 0x123456789abcdef0u };
    NEEDS(tcp_pair(ends) == 0 && (set = epoll_create1(EPOLL_CLOEXEC)) >= 0);
    OK(fcntl(set, F_GETFD) & FD_CLOEXEC, "EPOLL_CLOEXEC makes the set close on exec");
    IS(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event), 0, "a socket is watched");
    FAILS(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event), EEXIST, "once");
    FAILS(epoll_ctl(set, EPOLL_CTL_MOD, ends[1], &event), ENOENT, "another one is not");
    IS(epoll_one(set, &event, 10), 0, "the time ends the wait");
    NEEDS(send(ends[1], "ab", 2, 0) == 2);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "bytes are told");
    OK(event.events == EPOLLIN && event.data.u64 == 0x123456789abcdef0u, "with the data that was given");
    IS(epoll_one(set, &event, 0), 1, "and again while they are there");
    NEEDS(recv(ends[0], room, 1, 0) == 1);
    IS(epoll_one(set, &event, 0), 1, "and while one is there");
    NEEDS(recv(ends[0], room, 1, 0) == 1);
    IS(epoll_one(set, &event, 0), 0, "and no more");
    event.events = EPOLLOUT;
    IS(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event), 0, "something else can be asked");
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "and is told");
    IS(event.events, EPOLLOUT, "alone");
    IS(epoll_ctl(set, EPOLL_CTL_DEL, ends[0], NULL), 0, "it need not be watched");
    IS(epoll_one(set, &event, 0), 0, "and then is not");
    FAILS(epoll_ctl(set, EPOLL_CTL_DEL, ends[0], NULL), ENOENT, "nor was");
    FAILS(epoll_wait(set, &event, 0, 0), EINVAL, "there must be room for an event");
    FAILS(epoll_wait(ends[0], &event, 1, 0), EINVAL, "a socket is no set");
    FAILS(epoll_wait(-1, &event, 1, 0), EBADF, "nor is what is not open");
    FAILS(epoll_create1(12345), EINVAL, "there is one flag");
    close_pair(ends), close(set);
}

static void epoll_by_edge(void)
{
    int ends[2], set;
    char room[8];
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
    NEEDS(tcp_pair(ends) == 0 && (set = epoll_create1(0)) >= 0);
    NEEDS(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) == 0);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "what is so at first is told");
    IS(event.events, EPOLLOUT, "writable");
    IS(epoll_one(set, &event, 0), 0, "once");
    NEEDS(send(ends[1], "ab", 2, 0) == 2);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "bytes are told");
    OK(event.events & EPOLLIN, "as readable");
    IS(epoll_one(set, &event, 0), 0, "once");
    NEEDS(send(ends[1], "cd", 2, 0) == 2);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "more bytes are told, though the first are unread");
    NEEDS(recv(ends[0], room, sizeof room, MSG_WAITALL | MSG_DONTWAIT) == 4);
    FAILS(recv(ends[0], room, sizeof room, MSG_DONTWAIT), EAGAIN, "all was read");
    NEEDS(send(ends[1], "e", 1, 0) == 1);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "after that a new byte is told");
    NEEDS(recv(ends[0], room, sizeof room, 0) == 1);
    NEEDS(shutdown(ends[1], SHUT_WR) == 0);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "the end is told");
    OK(event.events & EPOLLRDHUP && event.events & EPOLLIN, "as EPOLLRDHUP and readable");
    close_pair(ends), close(set);
}

static void epoll_once(void)
{
    int ends[2], set;
    struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };
    NEEDS(tcp_pair(ends) == 0 && (set = epoll_create1(0)) >= 0);
    NEEDS(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) == 0 && send(ends[1], "x", 1, 0) == 1);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "EPOLLONESHOT tells");
    IS(epoll_one(set, &event, 0), 0, "once");
    event.events = EPOLLIN | EPOLLONESHOT;
    IS(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event), 0, "until asked again");
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "and then tells");
    close_pair(ends), close(set);
}

static void epoll_before_connect(void)
{
    int listener, client, accepted, set;
    char room[4];
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = 42 };
    NEEDS((listener = tcp_listener(2)) >= 0 && (set = epoll_create1(0)) >= 0);
    struct address here = local_of(listener);
    NEEDS((client = socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
    IS(epoll_ctl(set, EPOLL_CTL_ADD, client, &event), 0, "a socket is watched before it is connected");
    while (epoll_one(set, &event, 0) > 0)
        ;
    NEEDS(connect(client, &here.any, here.length) == -1 && errno == EINPROGRESS);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "and tells when it is");
    OK(event.data.u32 == 42 && event.events & EPOLLOUT, "that it is writable");
    NEEDS((accepted = accept(listener, NULL, NULL)) >= 0 && send(accepted, "x", 1, 0) == 1);
    do {
        NEEDS(epoll_one(set, &event, PATIENCE_MS) == 1);
    } while (!(event.events & EPOLLIN));
    IS(recv(client, room, sizeof room, 0), 1, "and when something came");
    close(listener), close(client), close(accepted), close(set);
}

static void epoll_before_kernel_connect(void)
{
    struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int listener, client, accepted, set;
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = 43 };
    NEEDS((listener = socket(AF_INET, SOCK_STREAM, 0)) >= 0 && (set = epoll_create1(0)) >= 0);
    IS(bind(listener, (struct sockaddr *)&loopback, sizeof loopback), 0, "binds to the host's loopback");
    IS(listen(listener, 1), 0, "listens there");
    struct address here = local_of(listener);
    IS(here.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK), "which is its address");
    NEEDS((client = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    NEEDS(epoll_ctl(set, EPOLL_CTL_ADD, client, &event) == 0);
    while (epoll_one(set, &event, 0) > 0 && !(event.events & EPOLLHUP))
        ;
    IS(connect(client, &here.any, here.length), 0, "connects to the host's loopback");
    NEEDS((accepted = accept(listener, NULL, NULL)) >= 0 && send(accepted, "x", 1, 0) == 1);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "what was watched before is watched still");
    OK(event.data.u32 == 43 && event.events == EPOLLIN, "with the same data");
    close(listener), close(client), close(accepted), close(set);
}

static void mixed(void)
{
    int ends[2], tube[2], local[2], file = open("/dev/zero", O_RDONLY);
    NEEDS(file >= 0 && tcp_pair(ends) == 0 && pipe(tube) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, local) == 0);
    struct pollfd entries[4] = { { .fd = ends[1], .events = POLLIN },
                                 { .fd = tube[0], .events = POLLIN },
                                 { .fd = local[0], .events = POLLIN },
                                 { .fd = ends[0], .events = POLLIN } };
    IS(poll(entries, 4, 10), 0, "sockets, pipes and local sockets are waited for together");
    IS(write(tube[1], "x", 1), 1, "write is for pipes too");
    IS(poll(entries, 4, PATIENCE_MS), 1, "the pipe is told");
    IS(entries[1].revents, POLLIN, "as the one");
    IS(send(ends[0], "y", 1, 0), 1, "the socket has something");
    for (int turn = 0; turn < 1000 && poll(entries, 4, 10) < 2; turn++)
        ;
    OK(entries[0].revents == POLLIN && entries[1].revents == POLLIN, "both are told");
    IS(send(local[1], "z", 1, 0), 1, "send is for local sockets too");
    for (int turn = 0; turn < 1000 && poll(entries, 4, 10) < 3; turn++)
        ;
    OK(entries[2].revents == POLLIN && entries[3].revents == 0, "all three are told");
    char room[4];
    IS(read(tube[0], room, 4), 1, "read is for pipes too");
    IS(recv(local[0], room, 4, 0), 1, "recv is for local sockets too");
    close_pair(ends), close_pair(tube), close_pair(local), close(file);
}

static void of_the_peer(void)
{
    int fd, tube[2], set;
    char room[4];
    struct epoll_event event = { .events = EPOLLIN };
    NEEDS((fd = tcp_peer(ECHO)) >= 0 && pipe(tube) == 0 && (set = epoll_create1(0)) >= 0);
    event.data.fd = fd;
    NEEDS(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    event.data.fd = tube[0];
    NEEDS(epoll_ctl(set, EPOLL_CTL_ADD, tube[0], &event) == 0);
    IS(epoll_one(set, &event, QUIET_MS), 0, "the peer says nothing");
    NEEDS(send(fd, "x", 1, 0) == 1);
    IS(epoll_one(set, &event, PATIENCE_MS), 1, "the peer's answer ends an epoll_wait");
    IS(event.data.fd, fd, "of its socket");
    NEEDS(recv(fd, room, 4, 0) == 1 && send(fd, "y", 1, 0) == 1);
    fd_set reading;
    FD_ZERO(&reading);
    FD_SET(fd, &reading);
    IS(select(fd + 1, &reading, NULL, NULL, NULL), 1, "and a select");
    NEEDS(recv(fd, room, 4, 0) == 1 && send(fd, "z", 1, 0) == 1);
    IS(wait_for(fd, POLLIN), POLLIN, "and a poll");
    close(fd), close_pair(tube), close(set);
}

void polling(void)
{
    RUN_VARIANTS(polling, of_a_connection);
    RUN_VARIANTS(polling, of_a_listener);
    RUN(polling, of_a_fresh_stream);
    RUN(polling, of_shut_reading);
    RUN(polling, poll_itself);
    RUN(polling, select_itself);
    RUN_VARIANTS(polling, epoll_by_level);
    RUN_VARIANTS(polling, epoll_by_edge);
    RUN(polling, epoll_once);
    RUN_VARIANTS(polling, epoll_before_connect);
    RUN(polling, epoll_before_kernel_connect);
    RUN(polling, mixed);
    RUN_VARIANTS(polling, of_the_peer);
}
