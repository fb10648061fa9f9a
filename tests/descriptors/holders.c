/* Servers whose sockets are read and written by others than the library, and clients that notice if that shows.
 *
 *     holders serve KIND PORT      says "serving" and serves until it is killed
 *     holders KIND NAME PORT       a client; ends with 0 when it got what it expects
 *
 * What crosses is a pattern that says of each byte where it belongs, so that a lost, doubled or moved one is found. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ntmfw.h>

/* More than all buffers on the way hold. */
#define LONG (1 << 20)

static char room[LONG];

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ntmfw_strerror(errno));
    exit(1);
}

#define expect(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno));              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The byte that belongs at a place. Its period is no power of two. */
static char byte_at(size_t place) { return (char)(place % 251); }

static void fill(char *to, size_t from, size_t count) {
    for (size_t at = 0; at < count; at++) to[at] = byte_at(from + at);
}

static void expect_pattern(const char *bytes, size_t from, size_t count) {
    for (size_t at = 0; at < count; at++) {
        if (bytes[at] != byte_at(from + at)) {
            fprintf(stderr, "byte %zu is wrong\n", from + at);
            exit(1);
        }
    }
}

static struct sockaddr_in6 any(const char *port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    return address;
}

/* What is on its way at a time fits into what the kernel keeps for a node that has no time to read. */
static int socket_of(int family, int kind) {
    int fd = ntmfw_socket(family, kind, 0), bytes = 1 << 16;
    if (fd < 0) die("socket");
    if (kind == SOCK_STREAM && (ntmfw_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) ||
                                ntmfw_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes)))
        die("setsockopt");
    return fd;
}

static int listening(const char *port) {
    int fd = socket_of(AF_INET6, SOCK_STREAM);
    struct sockaddr_in6 address = any(port);
    if (ntmfw_bind(fd, (struct sockaddr *)&address, sizeof address) || ntmfw_listen(fd, 16)) die("listen");
    return fd;
}

static void say_serving(void) {
    puts("serving");
    fflush(stdout);
}

/* Serves each connection after the other. */
static void serve_each(const char *port, void (*serve)(int fd, int listener)) {
    int listener = listening(port);
    say_serving();
    for (;;) {
        int fd = ntmfw_accept(listener, NULL, NULL);
        if (fd < 0) die("accept");
        serve(fd, listener);
        ntmfw_close(fd);
    }
}

static int connected(const char *name, const char *port, int kind) {
    struct addrinfo hints = {.ai_socktype = kind}, *found;
    int error = ntmfw_getaddrinfo(name, port, &hints, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", name, ntmfw_gai_strerror(error));
        exit(1);
    }
    int fd = socket_of(found->ai_family, kind);
    if (ntmfw_connect(fd, found->ai_addr, found->ai_addrlen)) die("connect");
    ntmfw_freeaddrinfo(found);
    return fd;
}

static void carry(int fd) {
    int yes = 1;
    if (ntmfw_setsockopt(fd, SOL_NTMFW, NTMFW_DATA_CARRYING, &yes, sizeof yes)) die("NTMFW_DATA_CARRYING");
}

/* The system's own calls from here on: nothing that has the library's name. */

static void echo(int fd) {
    static char part[65536];
    ssize_t got;
    while ((got = read(fd, part, sizeof part)) > 0) {
        for (ssize_t sent = 0; sent < got;) {
            ssize_t now = write(fd, part + sent, (size_t)(got - sent));
            if (now < 0) die("write");
            sent += now;
        }
    }
    if (got < 0) die("read");
}

static size_t read_all(int fd, char *to, size_t length) {
    size_t got = 0;
    ssize_t now;
    while (got < length && (now = read(fd, to + got, length - got)) > 0) got += (size_t)now;
    return got;
}

static void write_all(int fd, const char *from, size_t length) {
    for (size_t sent = 0; sent < length;) {
        ssize_t now = write(fd, from + sent, length - sent);
        expect(now > 0);
        sent += (size_t)now;
    }
}

/* A child for each connection, which reads and writes what it inherited. */
static void serve_forking(int fd, int listener) {
    pid_t child = fork();
    if (child == 0) {
        close(listener);
        echo(fd);
        _exit(0);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {}
}

/* As inetd does: another program, which knows nothing, has the connection as its standard input and output. */
static void serve_inetd(int fd, int listener) {
    pid_t child = fork();
    if (child == 0) {
        ntmfw_dup2(fd, 0);
        ntmfw_dup2(fd, 1);
        ntmfw_close(fd);
        ntmfw_close(listener);
        execlp("cat", "cat", (char *)NULL);
        _exit(1);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {}
}

/* Children that were there before any connection accept by themselves, and know who called. */
static void serve_preforked(const char *port) {
    int listener = listening(port);
    for (int number = 0; number < 3; number++) {
        if (fork() == 0) {
            for (;;) {
                struct sockaddr_in6 from, same, own;
                socklen_t length = sizeof from, same_length = sizeof same, own_length = sizeof own;
                int fd = ntmfw_accept(listener, (struct sockaddr *)&from, &length);
                if (fd < 0) die("accept");
                expect(from.sin6_family == AF_INET6);
                expect(ntmfw_getpeername(fd, (struct sockaddr *)&same, &same_length) == 0);
                expect(ntmfw_getsockname(fd, (struct sockaddr *)&own, &own_length) == 0);
                expect(memcmp(&from.sin6_addr, &same.sin6_addr, sizeof from.sin6_addr) == 0);
                expect(own.sin6_port == htons((uint16_t)atoi(port)));
                echo(fd);
                ntmfw_close(fd);
            }
        }
    }
    say_serving();
    pause();
}

static int passing = -1;

static void pass_on(int fd, int listener) {
    (void)listener;
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    expect(ntmfw_sendmsg(passing, &message, 0) == 1);
}

/* A process that was there before the library is passed each connection. */
static void serve_passing(const char *port) {
    int pair[2];
    expect(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    if (fork() == 0) {
        close(pair[0]);
        for (;;) {
            char byte, control[CMSG_SPACE(sizeof(int))];
            struct iovec part = {&byte, 1};
            struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
            if (recvmsg(pair[1], &message, 0) <= 0) _exit(0);
            int fd;
            memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
            echo(fd);
            close(fd);
        }
    }
    close(pair[1]);
    passing = pair[0];
    serve_each(port, pass_on);
}

/* Switches in the middle of a stream, once more has come than was read, and after the peer's end has come; every
 * connection in another order. The descriptor stays in the epoll set it was in before. */
static void serve_switching(int fd, int listener) {
    (void)listener;
    static size_t before = 0;
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77}, told;
    expect(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    if (before > LONG / 4) before = 0;
    size_t got = 0;
    while (got < before) {
        ssize_t now = ntmfw_read(fd, room + got, before - got);
        if (now <= 0) die("read");
        got += (size_t)now;
    }
    if (before % 2 == 0) {
        /* Until something lies there, which the descriptor shows. */
        struct pollfd entry = {.fd = fd, .events = POLLIN};
        expect(ntmfw_poll(&entry, 1, 20000) == 1);
    }
    carry(fd);
    expect(epoll_wait(set, &told, 1, 20000) == 1 && told.data.u64 == 77);
    got += read_all(fd, room + got, LONG - got);
    char end;
    expect(got == LONG && read(fd, &end, 1) == 0);
    expect_pattern(room, 0, LONG);
    write_all(fd, room, LONG);
    close(set);
    before = before * 3 + 1000;
}

/* Switches after the peer's end has been shown: that end is read, and the other direction is open still. */
static void serve_ended(int fd, int listener) {
    (void)listener;
    struct pollfd entry = {.fd = fd, .events = POLLRDHUP};
    char word[16];
    expect(ntmfw_recv(fd, word, 5, MSG_WAITALL) == 5 && memcmp(word, "hello", 5) == 0);
    expect(ntmfw_poll(&entry, 1, 20000) == 1);
    carry(fd);
    expect(read(fd, word, sizeof word) == 0);
    write_all(fd, "ended", 5);
}

/* Nobody reads what comes: the sender must be held up, not the memory filled. Then all of it is read. */
static void serve_slowly(int fd, int listener) {
    carry(fd);
    int other = ntmfw_accept(listener, NULL, NULL);
    char byte;
    expect(ntmfw_read(other, &byte, 1) == 1);
    echo(fd);
    ntmfw_close(other);
}

/* The peer resets; this process reads that as an error. */
static void serve_reset(int fd, int listener) {
    (void)listener;
    carry(fd);
    char byte;
    expect(read(fd, &byte, 1) == 1);
    expect(write(fd, &byte, 1) == 1);
    ssize_t got = read(fd, &byte, 1);
    puts(got < 0 && errno == ECONNRESET ? "reset" : "no reset");
    fflush(stdout);
}

/* Closes with something unread. */
static void serve_leaving(int fd, int listener) {
    (void)listener;
    carry(fd);
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    expect(poll(&entry, 1, 20000) == 1);
}

/* Datagrams of a connected socket, through a child. */
static void serve_datagrams(const char *port) {
    int fd = ntmfw_socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 address = any(port), from;
    socklen_t length = sizeof from;
    if (fd < 0 || ntmfw_bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
    say_serving();
    ssize_t got = ntmfw_recvfrom(fd, room, sizeof room, MSG_PEEK, (struct sockaddr *)&from, &length);
    if (got < 0 || ntmfw_connect(fd, (struct sockaddr *)&from, length)) die("connect");
    if (fork() == 0) {
        for (;;) {
            got = recv(fd, room, sizeof room, 0);
            if (got < 0 || send(fd, room, (size_t)got, 0) != got) _exit(1);
        }
    }
    pause();
}

/* A child has what it inherited, and the kernel's; for the rest it is told why not. */
static void try_child(const char *name, const char *port) {
    int fresh = ntmfw_socket(AF_INET6, SOCK_STREAM, 0), fd = connected(name, port, SOCK_STREAM);
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    expect(fresh >= 0 && ntmfw_getpeername(fd, (struct sockaddr *)&peer, &length) == 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct sockaddr_storage same;
        socklen_t same_length = sizeof same;
        expect(ntmfw_getpeername(fd, (struct sockaddr *)&same, &same_length) == 0 && same_length == length);
        expect(memcmp(&peer, &same, length) == 0);
        int type = 0, error = 1;
        socklen_t size = sizeof type;
        expect(ntmfw_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM);
        expect(ntmfw_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
        int own = ntmfw_socket(peer.ss_family, SOCK_STREAM, 0);
        expect(own >= 0 && ntmfw_connect(own, (struct sockaddr *)&peer, length) < 0 && errno == ENETDOWN);
        struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
        expect(ntmfw_getaddrinfo(name, port, &hints, &found) != 0);
        struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        expect(ntmfw_bind(fresh, (struct sockaddr *)&loopback, sizeof loopback) == 0 && ntmfw_listen(fresh, 1) == 0);
        expect(ntmfw_send(fd, "child ", 6, MSG_NOSIGNAL) == 6);
        exit(0);
    }
    int status;
    expect(waitpid(child, &status, 0) == child && status == 0);
    expect(ntmfw_send(fd, "parent", 6, 0) == 6 && ntmfw_shutdown(fd, SHUT_WR) == 0);
    expect(read_all(fd, room, 100) == 12 && memcmp(room, "child parent", 12) == 0);
}

static void try_echo(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM);
    fill(room, 0, LONG);
    size_t sent = 0, got = 0;
    static char back[65536];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (got < LONG) {
        struct pollfd entry = {.fd = fd, .events = (short)(POLLIN | (sent < LONG ? POLLOUT : 0))};
        expect(ntmfw_poll(&entry, 1, 20000) == 1);
        if (sent < LONG) {
            ssize_t now = ntmfw_send(fd, room + sent, LONG - sent, MSG_NOSIGNAL);
            expect(now > 0 || errno == EAGAIN);
            if (now > 0) sent += (size_t)now;
            if (sent == LONG) expect(ntmfw_shutdown(fd, SHUT_WR) == 0);
        }
        ssize_t now = ntmfw_recv(fd, back, sizeof back, 0);
        expect(now > 0 || (now < 0 && errno == EAGAIN));
        if (now > 0) {
            expect_pattern(back, got, (size_t)now);
            got += (size_t)now;
        }
    }
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    expect(ntmfw_poll(&entry, 1, 20000) == 1 && ntmfw_recv(fd, back, 1, 0) == 0);
    ntmfw_close(fd);
}

/* All of it goes out before anything is read. */
static void try_switching(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM);
    fill(room, 0, LONG);
    for (size_t sent = 0; sent < LONG;) {
        ssize_t now = ntmfw_send(fd, room + sent, LONG - sent, MSG_NOSIGNAL);
        expect(now > 0);
        sent += (size_t)now;
    }
    expect(ntmfw_shutdown(fd, SHUT_WR) == 0);
    memset(room, 0, LONG);
    expect(ntmfw_recv(fd, room, LONG, MSG_WAITALL) == LONG);
    expect_pattern(room, 0, LONG);
    expect(ntmfw_recv(fd, room, 1, 0) == 0);
    ntmfw_close(fd);
}

static void try_ended(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM);
    expect(ntmfw_send(fd, "hello", 5, 0) == 5 && ntmfw_shutdown(fd, SHUT_WR) == 0);
    expect(ntmfw_recv(fd, room, 100, MSG_WAITALL) == 5 && memcmp(room, "ended", 5) == 0);
    ntmfw_close(fd);
}

static void try_slowly(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM), other = connected(name, port, SOCK_STREAM);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    size_t sent = 0;
    for (;;) {
        size_t length = LONG / 16;
        fill(room, sent, length);
        ssize_t now = ntmfw_send(fd, room, length, MSG_NOSIGNAL);
        if (now > 0) {
            sent += (size_t)now;
            expect(sent < 4 * LONG);
            continue;
        }
        /* What is on its way arrives; when for a second there is no room, there will be none. */
        struct pollfd entry = {.fd = fd, .events = POLLOUT};
        expect(errno == EAGAIN);
        if (ntmfw_poll(&entry, 1, 1000) == 0) break;
    }
    expect(ntmfw_send(other, "", 1, 0) == 1 && ntmfw_shutdown(fd, SHUT_WR) == 0);
    fcntl(fd, F_SETFL, 0);
    size_t got = 0;
    for (ssize_t now; (now = ntmfw_recv(fd, room, sizeof room, 0)) > 0; got += (size_t)now)
        expect_pattern(room, got, (size_t)now);
    expect(got == sent);
}

static void try_reset(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM);
    char byte = 1;
    expect(ntmfw_send(fd, &byte, 1, 0) == 1 && ntmfw_recv(fd, &byte, 1, 0) == 1);
    struct linger at_once = {1, 0};
    expect(ntmfw_setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    ntmfw_close(fd);
}

static void try_leaving(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM);
    expect(ntmfw_send(fd, "unread", 6, 0) == 6);
    expect(ntmfw_recv(fd, room, 1, 0) < 0 && errno == ECONNRESET);
    ntmfw_close(fd);
}

static void try_datagrams(const char *name, const char *port) {
    static const size_t lengths[] = {1, 0, 1400, 60000, 65507, 0, 0, 7};
    int fd = connected(name, port, SOCK_DGRAM);
    for (size_t at = 0; at < sizeof lengths / sizeof *lengths; at++) {
        static char back[65536];
        struct pollfd entry = {.fd = fd, .events = POLLIN};
        ssize_t got = -1;
        fill(room, at, lengths[at]);
        /* A datagram may be lost, or come twice. */
        for (int tries = 0; got != (ssize_t)lengths[at]; tries++) {
            expect(tries < 20);
            if (tries == 0 || ntmfw_poll(&entry, 1, 2000) == 0)
                expect(ntmfw_send(fd, room, lengths[at], 0) == (ssize_t)lengths[at]);
            got = ntmfw_poll(&entry, 1, 2000) == 1 ? ntmfw_recv(fd, back, sizeof back, 0) : -1;
        }
        expect_pattern(back, at, lengths[at]);
    }
}

/* Ends with an open socket, and what was written still arrives. */
static void try_exit(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM);
    fill(room, 0, LONG / 8);
    expect(ntmfw_send(fd, room, LONG / 8, 0) == LONG / 8);
}

/* The same through a descriptor that carries data. */
static void try_carried_exit(const char *name, const char *port) {
    int fd = connected(name, port, SOCK_STREAM);
    carry(fd);
    fill(room, 0, LONG / 8);
    write_all(fd, room, LONG / 8);
}

static void serve_exits(int fd, int listener) {
    (void)listener;
    size_t got = 0;
    ssize_t now;
    while ((now = ntmfw_recv(fd, room + got, sizeof room - got, 0)) > 0) got += (size_t)now;
    expect_pattern(room, 0, got);
    printf("%s after %zu\n", now == 0 ? "end" : strerror(errno), got);
    fflush(stdout);
}

static const struct {
    const char *name;
    void (*run)(const char *port);
} servers[] = {
    {"preforked", serve_preforked},
    {"passing", serve_passing},
    {"datagrams", serve_datagrams},
};

static const struct {
    const char *name;
    void (*serve)(int fd, int listener);
} one_by_one[] = {
    {"forking", serve_forking}, {"inetd", serve_inetd}, {"switching", serve_switching}, {"ended", serve_ended},
    {"slowly", serve_slowly},   {"reset", serve_reset}, {"leaving", serve_leaving},     {"exits", serve_exits},
};

static const struct {
    const char *name;
    void (*run)(const char *name, const char *port);
} clients[] = {
    {"echo", try_echo},   {"switching", try_switching}, {"ended", try_ended},         {"slowly", try_slowly},
    {"reset", try_reset}, {"leaving", try_leaving},     {"datagrams", try_datagrams}, {"exit", try_exit},
    {"child", try_child}, {"carried-exit", try_carried_exit},
};

int main(int count, char **words) {
    if (count != 4) return 2;
    if (strcmp(words[1], "serve") == 0) {
        for (size_t at = 0; at < sizeof servers / sizeof *servers; at++)
            if (strcmp(servers[at].name, words[2]) == 0) servers[at].run(words[3]);
        for (size_t at = 0; at < sizeof one_by_one / sizeof *one_by_one; at++)
            if (strcmp(one_by_one[at].name, words[2]) == 0) serve_each(words[3], one_by_one[at].serve);
        return 2;
    }
    for (size_t at = 0; at < sizeof clients / sizeof *clients; at++) {
        if (strcmp(clients[at].name, words[1]) == 0) {
            clients[at].run(words[2], words[3]);
            return 0;
        }
    }
    return 2;
}
