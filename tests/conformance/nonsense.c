/* Calls with arguments drawn by lot: what fails says why, nothing blocks, nothing breaks, nothing is left behind. */
#include <dirent.h>
#include <sys/un.h>

#include "check.h"

enum { CALLS = 20000, SEEDS = 3, POOL = 16, ROOM = 70000 };

static unsigned long long state;
static int pool[POOL];
static unsigned char room[ROOM];

static unsigned lot(unsigned below)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % below;
}

static int one_of(const int *numbers, size_t count)
{
    return numbers[lot((unsigned)count)];
}
#define ONE_OF(...) one_of((const int[]){ __VA_ARGS__ }, sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))

static int any_fd(void)
{
    return lot(20) ? pool[lot(POOL)] : ONE_OF(-1, 1000, 100000, -2147483647);
}

/* Often right, often short, sometimes absurd. */
static socklen_t any_length(socklen_t right)
{
    return lot(3) ? right : (socklen_t)ONE_OF(0, 1, 2, 4, 8, 15, 16, 24, 27, 28, 128, 129, 1000, -1, -2147483647);
}

static void *any_room(void)
{
    return lot(10) ? room : nothing;
}

static size_t any_amount(void)
{
    return (size_t)ONE_OF(0, 1, 2, 7, 8, 9, 100, 1400, 4096, 65507, 65508, 65536);
}

static int any_flags(void)
{
    return (lot(4) ? ONE_OF(0, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, MSG_MORE, MSG_OOB, MSG_ERRQUEUE, MSG_CTRUNC)
                   : (int)lot(0x7fffffff)) |
           MSG_DONTWAIT | MSG_NOSIGNAL;
}

static struct address any_place(void)
{
    variant = (enum variant)lot(3);
    int port = ONE_OF(0, 1, PEER_TCP, PEER_UDP, PEER_CLOSED, 40000);
    struct address place = lot(4) ? own_address(port) : lot(2) ? peer_address(port) : any_address(port);
    if (!lot(8))
        place.any.sa_family = (sa_family_t)ONE_OF(AF_UNSPEC, AF_NETLINK, AF_INET, AF_INET6, 12345);
    place.length = any_length(place.length);
    return place;
}

static int made(void)
{
    int ends[2] = { -1, -1 };
    variant = (enum variant)lot(3);
    switch (lot(9)) {
    case 0:
        return tcp_socket();
    case 1:
        return udp_socket();
    case 2:
        return tcp_listener((int)lot(3));
    case 3:
        return socket(family(), SOCK_DGRAM, variant == V4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
    case 4:
        return epoll_create1(0);
    case 5:
        return socket(ONE_OF(AF_INET, AF_INET6, AF_UNIX, 12345), ONE_OF(SOCK_STREAM, SOCK_DGRAM, 99),
                      ONE_OF(0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, 300));
    case 6:
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0)
            close(ends[1]);
        return ends[0];
    default:
        if ((lot(2) ? tcp_pair(ends) : udp_pair(ends)) == 0)
            close(ends[1]);
        return ends[0];
    }
}

/* A place of the pool gets something new, which does not block. */
static void renew(int *place)
{
    close(*place);
    *place = made();
    if (*place >= 0)
        set_nonblocking(*place, 1);
}

static long long on_messages(int fd)
{
    static char control[256];
    struct iovec parts[4];
    struct mmsghdr messages[3];
    struct address place = any_place();
    struct timespec time = { (time_t)ONE_OF(0, -1), (long)ONE_OF(0, 1, -1, 1000000000) };
    int several = (int)lot(2), sending = (int)lot(2);
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 4; i++)
        parts[i].iov_base = any_room(), parts[i].iov_len = lot(4) ? any_amount() / 4 : 0;
    for (size_t i = 0; i < sizeof control; i++)
        control[i] = (char)(lot(2) ? lot(256) : 0);
    for (int i = 0; i < 3; i++) {
        struct msghdr *message = &messages[i].msg_hdr;
        message->msg_iov = lot(10) ? parts : nothing;
        message->msg_iovlen = (size_t)ONE_OF(0, 1, 4, 4, 4, 1025);
        message->msg_iovlen = message->msg_iovlen > 4 && message->msg_iov ? 4 : message->msg_iovlen;
        if (lot(2))
            message->msg_name = &place.any, message->msg_namelen = place.length;
        if (lot(2))
            message->msg_control = control, message->msg_controllen = lot((unsigned)sizeof control);
        if (!sending && message->msg_namelen > sizeof place.storage)
            message->msg_namelen = sizeof place.storage;
    }
    struct mmsghdr *given = lot(20) ? messages : nothing;
    if (sending)
        return several ? sendmmsg(fd, given, lot(4), any_flags()) : sendmsg(fd, given ? &given->msg_hdr : nothing, any_flags());
    return several ? recvmmsg(fd, given, lot(4), any_flags(), lot(2) ? &time : NULL)
                   : recvmsg(fd, given ? &given->msg_hdr : nothing, any_flags());
}

static long long on_options(int fd)
{
    int level = ONE_OF(SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, 12345), name = (int)lot(77);
    socklen_t length = any_length((socklen_t)ONE_OF(1, 4, 8, 16));
    int value[4] = { ONE_OF(0, 1, -1, 7, 255, 256, 2147483647, -2147483647), (int)lot(3), 0, 0 };
    /* Lingering blocks, as it should. Names from SO_PEERPIDFD on open descriptors. */
    if (level == SOL_SOCKET && name == SO_LINGER)
        return 0;
    if (lot(2))
        return getsockopt(fd, level, name, any_room(), lot(20) ? &length : nothing);
    return setsockopt(fd, level, name, lot(20) ? value : nothing, length > sizeof value && (int)length > 0 ? sizeof value : length);
}

static long long on_names(int fd)
{
    socklen_t length = any_length(sizeof(struct sockaddr_storage)), *told = lot(20) ? &length : nothing;
    switch (lot(4)) {
    case 0:
        return getsockname(fd, any_room(), told);
    case 1:
        return getpeername(fd, any_room(), told);
    case 2:
        return recvfrom(fd, any_room(), any_amount(), any_flags(), any_room(), told);
    default: {
        int accepted = accept4(fd, any_room(), told, ONE_OF(0, SOCK_NONBLOCK, SOCK_CLOEXEC, 7));
        if (accepted >= 0)
            close(accepted);
        return accepted;
    }
    }
}

static long long on_polls(int fd)
{
    struct pollfd entries[2] = { { .fd = fd, .events = (short)lot(0x8000) }, { .fd = any_fd(), .events = POLLIN } };
    struct epoll_event event = { .events = lot(0x7fffffff) & ~(unsigned)EPOLLEXCLUSIVE };
    struct timespec time = { 0, (long)ONE_OF(0, 0, -1, 1000000000) };
    fd_set set;
    FD_ZERO(&set);
    if (fd >= 0 && fd < FD_SETSIZE)
        FD_SET(fd, &set);
    struct timeval none = { 0, 0 };
    switch (lot(5)) {
    case 0:
        return poll(lot(20) ? entries : nothing, lot(3), 0);
    case 1:
        return ppoll(entries, lot(3), &time, NULL);
    case 2:
        return select(ONE_OF(0, fd + 1, -1), lot(2) ? &set : NULL, lot(2) ? &set : NULL, NULL, &none);
    case 3:
        return epoll_ctl(any_fd(), ONE_OF(EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, 99), fd, lot(20) ? &event : nothing);
    default:
        return epoll_wait(fd, lot(20) ? (struct epoll_event *)room : nothing, ONE_OF(-1, 0, 1, 8), 0);
    }
}

static long long on_descriptors(int fd)
{
    int copy = -1, *place = &pool[lot(POOL)];
    switch (lot(6)) {
    case 0:
        copy = dup(fd);
        break;
    case 1:
        copy = fcntl(fd, ONE_OF(F_DUPFD, F_DUPFD_CLOEXEC), ONE_OF(0, 50, -1));
        break;
    case 2:
        return *place >= 0 ? dup2(fd, *place) : -2;
    case 3:
        return fcntl(fd, ONE_OF(F_GETFL, F_GETFD, 12345));
    case 4:
        return ioctl(fd, ONE_OF(FIONREAD, TIOCOUTQ, 0x12345678), any_room());
    default:
        return sendfile(fd, any_fd(), NULL, lot(100));
    }
    if (copy >= 0)
        close(copy);
    return copy;
}

static long long any_call(void)
{
    int fd = any_fd();
    struct address place = any_place();
    struct iovec parts[2] = { { any_room(), any_amount() / 2 }, { any_room(), lot(9) } };
    switch (lot(16)) {
    case 0:
        renew(&pool[lot(POOL)]);
        return 0;
    case 1:
        return bind(fd, lot(20) ? &place.any : nothing, place.length);
    case 2:
        return connect(fd, lot(20) ? &place.any : nothing, place.length);
    case 3:
        return listen(fd, ONE_OF(-1, 0, 1, 2147483647));
    case 4:
        return shutdown(fd, ONE_OF(SHUT_RD, SHUT_WR, SHUT_RDWR, 3, -1));
    case 5:
        return sendto(fd, any_room(), any_amount(), any_flags(), lot(2) ? &place.any : NULL, place.length);
    case 6:
        return recv(fd, any_room(), any_amount(), any_flags());
    case 7:
        return writev(fd, lot(20) ? parts : nothing, ONE_OF(-1, 0, 1, 2));
    case 8:
        return readv(fd, lot(20) ? parts : nothing, ONE_OF(-1, 0, 1, 2));
    case 9:
    case 10:
        return on_messages(fd);
    case 11:
    case 12:
        return on_options(fd);
    case 13:
        return on_names(fd);
    case 14:
        return on_polls(fd);
    default:
        return on_descriptors(fd);
    }
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (all && readdir(all))
        count++;
    closedir(all);
    return count;
}

static void by_lot(void)
{
    int before = open_descriptors(), ends[2];
    char byte;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        state = seed;
        for (int i = 0; i < POOL; i++)
            pool[i] = -1, renew(&pool[i]);
        int silent = 0, faults = 0;
        for (int turn = 0; turn < CALLS; turn++) {
            errno = 0;
            long long result = any_call();
            silent += result == -1 && errno == 0;
            /* What the library says of its own faults. */
            faults += result == -1 && errno == EIO;
        }
        check(silent == 0, "what fails says why", "seed %u: %d calls did not", seed, silent);
        check(faults == 0, "nothing breaks inside", "seed %u: %d calls did", seed, faults);
        for (int i = 0; i < POOL; i++)
            close(pool[i]);
        variant = (enum variant)(seed % 3);
        NEEDS(tcp_pair(ends) == 0);
        OK(send(ends[0], "x", 1, 0) == 1 && recv(ends[1], &byte, 1, 0) == 1, "all goes on after that");
        close_pair(ends);
    }
    int after = open_descriptors();
    for (int turn = 0; turn < PATIENCE_MS / 10 && after != before; turn++)
        poll(NULL, 0, 10), after = open_descriptors();
    IS(after, before, "no descriptor is left open");
}

void nonsense(void)
{
    RUN(nonsense, by_lot);
}
