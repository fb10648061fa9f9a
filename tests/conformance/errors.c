/* What is refused, and with which error number. */
#include "check.h"

static void bad_descriptors(void)
{
    struct address there = own_address(9);
    struct address room;
    char byte = 0;
    int value = 0;
    socklen_t length = sizeof value, room_length = sizeof room.storage;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    struct mmsghdr messages = { .msg_hdr = message };
    struct epoll_event event = { .events = EPOLLIN };
    int set = epoll_create1(0);
    for (int turn = 0; turn < 2; turn++) {
        int fd = turn ? 1000 : -1;
        FAILS(bind(fd, &there.any, there.length), EBADF, "bind of what is not open");
        FAILS(listen(fd, 1), EBADF, "listen of what is not open");
        FAILS(accept(fd, NULL, NULL), EBADF, "accept of what is not open");
        FAILS(accept4(fd, NULL, NULL, 0), EBADF, "accept4 of what is not open");
        FAILS(connect(fd, &there.any, there.length), EBADF, "connect of what is not open");
        FAILS(shutdown(fd, SHUT_WR), EBADF, "shutdown of what is not open");
        FAILS(close(fd), EBADF, "close of what is not open");
        FAILS(read(fd, &byte, 1), EBADF, "read of what is not open");
        FAILS(write(fd, &byte, 1), EBADF, "write of what is not open");
        FAILS(readv(fd, &part, 1), EBADF, "readv of what is not open");
        FAILS(writev(fd, &part, 1), EBADF, "writev of what is not open");
        FAILS(send(fd, &byte, 1, 0), EBADF, "send of what is not open");
        FAILS(sendto(fd, &byte, 1, 0, &there.any, there.length), EBADF, "sendto of what is not open");
        FAILS(sendmsg(fd, &message, 0), EBADF, "sendmsg of what is not open");
        FAILS(sendmmsg(fd, &messages, 1, 0), EBADF, "sendmmsg of what is not open");
        FAILS(recv(fd, &byte, 1, 0), EBADF, "recv of what is not open");
        FAILS(recvfrom(fd, &byte, 1, 0, &room.any, &room_length), EBADF, "recvfrom of what is not open");
        FAILS(recvmsg(fd, &message, 0), EBADF, "recvmsg of what is not open");
        FAILS(recvmmsg(fd, &messages, 1, 0, NULL), EBADF, "recvmmsg of what is not open");
        FAILS(getsockname(fd, &room.any, &room_length), EBADF, "getsockname of what is not open");
        FAILS(getpeername(fd, &room.any, &room_length), EBADF, "getpeername of what is not open");
        FAILS(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length), EBADF, "getsockopt of what is not open");
        FAILS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value), EBADF, "setsockopt of what is not open");
        FAILS(fcntl(fd, F_GETFL), EBADF, "fcntl of what is not open");
        FAILS(ioctl(fd, FIONREAD, &value), EBADF, "ioctl of what is not open");
        FAILS(dup(fd), EBADF, "dup of what is not open");
        FAILS(dup2(fd, 50), EBADF, "dup2 of what is not open");
        FAILS(dup3(fd, 50, 0), EBADF, "dup3 of what is not open");
        FAILS(sendfile(fd, 0, NULL, 1), EBADF, "sendfile to what is not open");
        FAILS(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), EBADF, "epoll_ctl of what is not open");
    }
    close(set);
}

static void not_sockets(void)
{
    int tube[2], value = 0;
    char byte = 0;
    struct address there = own_address(9);
    socklen_t length = sizeof value;
    NEEDS(pipe(tube) == 0);
    FAILS(bind(tube[0], &there.any, there.length), ENOTSOCK, "bind of a pipe");
    FAILS(listen(tube[0], 1), ENOTSOCK, "listen of a pipe");
    FAILS(accept(tube[0], NULL, NULL), ENOTSOCK, "accept of a pipe");
    FAILS(connect(tube[0], &there.any, there.length), ENOTSOCK, "connect of a pipe");
    FAILS(shutdown(tube[0], SHUT_WR), ENOTSOCK, "shutdown of a pipe");
    FAILS(send(tube[1], &byte, 1, 0), ENOTSOCK, "send of a pipe");
    FAILS(recv(tube[0], &byte, 1, 0), ENOTSOCK, "recv of a pipe");
    FAILS(getsockopt(tube[0], SOL_SOCKET, SO_TYPE, &value, &length), ENOTSOCK, "getsockopt of a pipe");
    FAILS(setsockopt(tube[0], SOL_SOCKET, SO_REUSEADDR, &value, sizeof value), ENOTSOCK, "setsockopt of a pipe");
    FAILS(getsockname(tube[0], &there.any, &length), ENOTSOCK, "getsockname of a pipe");
    close_pair(tube);
}

static void no_such_socket(void)
{
    FAILS(socket(12345, SOCK_STREAM, 0), EAFNOSUPPORT, "a family that does not exist");
    FAILS(socket(AF_INET, 99, 0), EINVAL, "a kind that does not exist");
    FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT, "a stream over UDP");
    FAILS(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT, "datagrams over TCP");
    FAILS(socket(AF_INET6, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT, "a stream over UDP and IPv6");
    FAILS(socket(AF_INET, SOCK_STREAM | 0x100000, 0), EINVAL, "a flag that does not exist");
    int fd, pair[2];
    fd = (int)WORKS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP), "both flags");
    OK(fcntl(fd, F_GETFD) & FD_CLOEXEC, "SOCK_CLOEXEC makes it close on exec");
    OK(fcntl(fd, F_GETFL) & O_NONBLOCK, "SOCK_NONBLOCK makes it non-blocking");
    OK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR, "a socket is for reading and writing");
    close(fd);
    fd = (int)WORKS(socket(AF_INET, SOCK_STREAM, 0), "no flags");
    IS(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0, "it does not close on exec");
    close(fd);
    FAILS(socketpair(AF_INET, SOCK_STREAM, 0, pair), EOPNOTSUPP, "there is no pair of Internet sockets");
}

static void not_connected(void)
{
    int fd;
    char room[4];
    struct address there;
    there.length = sizeof there.storage;
    NEEDS((fd = tcp_socket()) >= 0);
    FAILS(recv(fd, room, sizeof room, 0), ENOTCONN, "a fresh stream receives nothing");
    FAILS(read(fd, room, sizeof room), ENOTCONN, "nor reads");
    FAILS(send(fd, room, 1, MSG_NOSIGNAL), EPIPE, "nor sends");
    FAILS(getpeername(fd, &there.any, &there.length), ENOTCONN, "nor has a peer");
    FAILS(shutdown(fd, SHUT_RDWR), ENOTCONN, "nor is shut down");
    FAILS(accept(fd, NULL, NULL), EINVAL, "nor accepts");
    struct address local = local_of(fd), any = any_address(0);
    OK(same_address(&local, &any), "and is at no address");
    NEEDS(listen(fd, 1) == 0);
    FAILS(recv(fd, room, sizeof room, 0), ENOTCONN, "a listener receives nothing");
    FAILS(send(fd, room, 1, MSG_NOSIGNAL), EPIPE, "nor sends");
    there = own_address(9);
    FAILS(connect(fd, &there.any, there.length), EISCONN, "nor connects");
    close(fd);
}

static void wrong_addresses(void)
{
    int stream, datagrams;
    struct address own = own_address(9), none = own_address(9);
    struct sockaddr_storage local = { .ss_family = AF_UNIX };
    NEEDS((stream = tcp_socket()) >= 0 && (datagrams = udp_socket()) >= 0);
    FAILS(bind(stream, &own.any, 4), EINVAL, "bind to an address cut short");
    FAILS(connect(stream, &own.any, 4), EINVAL, "connect to an address cut short");
    FAILS(sendto(datagrams, "x", 1, 0, &own.any, 4), EINVAL, "sendto an address cut short");
    FAILS(bind(stream, &own.any, 1), EINVAL, "bind to no address");
    FAILS(connect(stream, &own.any, 1), EINVAL, "connect to no address");
    FAILS(bind(stream, &own.any, (socklen_t)-1), EINVAL, "bind to an address of negative length");
    FAILS(connect(stream, &own.any, 1000), EINVAL, "connect to an address that is too long");
    FAILS(bind(stream, nothing, own.length), EFAULT, "bind to a null pointer");
    FAILS(connect(stream, nothing, own.length), EFAULT, "connect to a null pointer");
    FAILS(connect(stream, (struct sockaddr *)&local, own.length), EAFNOSUPPORT, "connect to another family");
    FAILS(bind(stream, (struct sockaddr *)&local, own.length), EAFNOSUPPORT, "bind to another family");
    FAILS(sendto(datagrams, "x", 1, 0, (struct sockaddr *)&local, own.length), variant == V4 ? EAFNOSUPPORT : EINVAL,
          "sendto another family");
    none.any.sa_family = variant == V4 ? AF_INET6 : AF_INET;
    none.length = sizeof none.v6;
    FAILS(connect(stream, &none.any, none.length), EAFNOSUPPORT, "connect to the other Internet family");
    FAILS(bind(stream, &none.any, none.length), EAFNOSUPPORT, "bind to the other Internet family");
    struct address peer = peer_address(0);
    FAILS(bind(stream, &peer.any, peer.length), EADDRNOTAVAIL, "bind to an address of another node");
    FAILS(sendto(datagrams, "x", 1, 0, &peer.any, peer.length), EINVAL, "sendto port zero");
    close(stream), close(datagrams);
    NEEDS((datagrams = udp_socket()) >= 0);
    FAILS(bind(datagrams, &peer.any, peer.length), EADDRNOTAVAIL, "the same of datagrams");
    close(datagrams);
}

static void null_pointers(void)
{
    int ends[2], pair[2], fd, value = 0;
    struct address there = own_address(9), room;
    socklen_t length = sizeof room.storage;
    NEEDS(tcp_pair(ends) == 0 && udp_pair(pair) == 0 && (fd = udp_socket()) >= 0);
    NEEDS(send(ends[0], "x", 1, 0) == 1 && send(pair[0], "x", 1, 0) == 1);
    NEEDS(wait_for(ends[1], POLLIN) & POLLIN && wait_for(pair[1], POLLIN) & POLLIN);
    FAILS(send(ends[0], nothing, 1, 0), EFAULT, "send from nowhere");
    FAILS(write(ends[0], nothing, 1), EFAULT, "write from nowhere");
    FAILS(recv(ends[1], nothing, 1, 0), EFAULT, "recv to nowhere");
    FAILS(read(ends[1], nothing, 1), EFAULT, "read to nowhere");
    FAILS(sendto(fd, nothing, 1, 0, &there.any, there.length), EFAULT, "sendto from nowhere");
    FAILS(sendmsg(ends[0], nothing, 0), EFAULT, "sendmsg of nothing");
    FAILS(recvmsg(ends[1], nothing, 0), EFAULT, "recvmsg to nothing");
    FAILS(sendmmsg(ends[0], nothing, 1, 0), EFAULT, "sendmmsg of nothing");
    FAILS(recvmmsg(ends[1], nothing, 1, 0, NULL), EFAULT, "recvmmsg to nothing");
    FAILS(writev(ends[0], nothing, 1), EFAULT, "writev of nothing");
    FAILS(readv(ends[1], nothing, 1), EFAULT, "readv to nothing");
    struct msghdr message = { .msg_iov = nothing, .msg_iovlen = 1 };
    FAILS(sendmsg(ends[0], &message, 0), EFAULT, "sendmsg of parts that are nowhere");
    FAILS(getsockname(ends[0], nothing, &length), EFAULT, "getsockname to nowhere");
    FAILS(getsockname(ends[0], &room.any, nothing), EFAULT, "getsockname without a length");
    FAILS(getpeername(ends[0], nothing, &length), EFAULT, "getpeername to nowhere");
    FAILS(getpeername(ends[0], &room.any, nothing), EFAULT, "getpeername without a length");
    FAILS(ioctl(ends[0], FIONREAD, nothing), EFAULT, "FIONREAD to nowhere");
    FAILS(ioctl(ends[0], FIONBIO, nothing), EFAULT, "FIONBIO from nowhere");
    FAILS(ioctl(ends[0], 0x12345678, &value), ENOTTY, "an ioctl that does not exist");
    IS(recv(ends[1], &value, 1, 0), 1, "after all that the byte is still there");
    close_pair(ends), close_pair(pair), close(fd);
}

static void lengths_of_names(void)
{
    int ends[2];
    unsigned char room[128];
    NEEDS(tcp_pair(ends) == 0);
    struct address whole = local_of(ends[0]);
    for (int peer = 0; peer < 2; peer++) {
        socklen_t length = 6;
        memset(room, 0x55, sizeof room);
        IS(peer ? getpeername(ends[0], (void *)room, &length) : getsockname(ends[0], (void *)room, &length), 0,
           "a name may be cut");
        IS(length, whole.length, "its whole length is told");
        IS(room[6], 0x55, "nothing is written beyond the room");
        IS(((struct sockaddr *)room)->sa_family, family(), "what fits is written");
        length = 0;
        IS(peer ? getpeername(ends[0], (void *)room, &length) : getsockname(ends[0], (void *)room, &length), 0,
           "there may be no room");
        IS(length, whole.length, "then the length is told all the same");
        length = (socklen_t)-1;
        FAILS(peer ? getpeername(ends[0], (void *)room, &length) : getsockname(ends[0], (void *)room, &length), EINVAL,
              "a negative length is none");
    }
    close_pair(ends);
}

static void second_connect(void)
{
    int ends[2], fd;
    NEEDS(tcp_pair(ends) == 0);
    struct address there = remote_of(ends[0]);
    FAILS(connect(ends[0], &there.any, there.length), EISCONN, "a connection connects no more");
    FAILS(connect(ends[1], &there.any, there.length), EISCONN, "nor does an accepted one");
    FAILS(bind(ends[0], &there.any, there.length), EINVAL, "nor binds");
    close_pair(ends);
    int listener, queue[3];
    NEEDS((listener = tcp_listener(0)) >= 0);
    there = local_of(listener);
    for (int i = 0; i < 3; i++) {
        NEEDS((queue[i] = socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
        NEEDS(connect(queue[i], &there.any, there.length) == -1 && errno == EINPROGRESS);
        if (i == 0)
            NEEDS(wait_for(queue[i], POLLOUT) & POLLOUT);
    }
    fd = queue[2];
    FAILS(connect(fd, &there.any, there.length), EALREADY, "a connection under way is under way already");
    struct pollfd entry = { .fd = fd, .events = POLLOUT };
    IS(poll(&entry, 1, 0), 0, "and not there yet");
    close(queue[0]), close(queue[1]), close(queue[2]), close(listener);
}

static void broken_pipe(void)
{
    int ends[2];
    NEEDS(tcp_pair(ends) == 0 && shutdown(ends[0], SHUT_WR) == 0);
    FAILS(send(ends[0], "x", 1, 0), EPIPE, "send where the signal is ignored");
    FAILS(write(ends[0], "x", 1), EPIPE, "write where the signal is ignored");
    close_pair(ends);
}

static void flags_that_are_not(void)
{
    int ends[2];
    char room[4];
    NEEDS(tcp_pair(ends) == 0);
    FAILS(recv(ends[0], room, 1, MSG_OOB), EINVAL, "there are no urgent bytes");
    FAILS(recv(ends[0], room, 1, MSG_ERRQUEUE | MSG_DONTWAIT), EAGAIN, "nor queued errors");
    close_pair(ends);
}

void errors(void)
{
    RUN(errors, bad_descriptors);
    RUN(errors, not_sockets);
    RUN(errors, no_such_socket);
    RUN_VARIANTS(errors, not_connected);
    RUN_VARIANTS(errors, wrong_addresses);
    RUN_VARIANTS(errors, null_pointers);
    RUN_VARIANTS(errors, lengths_of_names);
    RUN_VARIANTS(errors, second_connect);
    RUN(errors, broken_pipe);
    RUN(errors, flags_that_are_not);
}
