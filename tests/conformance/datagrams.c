/* UDP: datagrams, their sizes, their addresses, their errors. */
#include "check.h"

static void to_and_from(void)
{
    int a, b;
    char room[16];
    struct address here = own_address(0), from;
    NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0);
    IS(bind(b, &here.any, here.length), 0, "binds");
    struct address at = local_of(b), own = own_address(port_of(&at));
    OK(port_of(&at) != 0 && same_address(&at, &own), "to the address, at a port of the system's choosing");
    struct address unbound = local_of(a);
    IS(port_of(&unbound), 0, "a socket that was not used has no port");
    IS(sendto(a, "hello", 5, 0, &at.any, at.length), 5, "sends without having been bound");
    struct address given = local_of(a);
    OK(port_of(&given) != 0, "and has a port then");
    from.length = sizeof from.storage;
    IS(recvfrom(b, room, sizeof room, 0, &from.any, &from.length), 5, "receives");
    OK(!memcmp(room, "hello", 5), "the same bytes");
    own = own_address(port_of(&given));
    OK(same_address(&from, &own), "from the sender's address");
    IS(sendto(b, "back", 4, 0, &from.any, from.length), 4, "answers");
    IS(recv(a, room, sizeof room, 0), 4, "is heard");
    FAILS(recv(a, room, sizeof room, MSG_DONTWAIT), EAGAIN, "and that was all");
    FAILS(bind(a, &here.any, here.length), EINVAL, "binds once");
    close(a), close(b);
}

static void empty(void)
{
    int ends[2], count = -1;
    char room[4];
    NEEDS(udp_pair(ends) == 0);
    IS(send(ends[0], "", 0, 0), 0, "an empty datagram is sent");
    OK(wait_for(ends[1], POLLIN) & POLLIN, "and arrives");
    IS(ioctl(ends[1], FIONREAD, &count), 0, "FIONREAD can be asked");
    IS(count, 0, "and is nothing");
    IS(recv(ends[1], room, sizeof room, 0), 0, "and is read as nothing");
    FAILS(recv(ends[1], room, sizeof room, MSG_DONTWAIT), EAGAIN, "once");
    IS(write(ends[0], "", 0), 0, "writing nothing sends one too");
    IS(recv(ends[1], room, sizeof room, 0), 0, "which arrives");
    close_pair(ends);
}

static void boundaries(void)
{
    int ends[2], count = -1;
    char room[8];
    NEEDS(udp_pair(ends) == 0);
    NEEDS(send(ends[0], "first", 5, 0) == 5 && send(ends[0], "second", 6, 0) == 6 && send(ends[0], "3", 1, 0) == 1);
    IS(ioctl(ends[1], FIONREAD, &count), 0, "FIONREAD can be asked");
    IS(count, 5, "and is the first datagram's length");
    IS(recv(ends[1], room, sizeof room, MSG_PEEK), 5, "MSG_PEEK leaves it");
    IS(recv(ends[1], room, 2, MSG_PEEK | MSG_TRUNC), 5, "MSG_TRUNC tells the whole length");
    IS(recv(ends[1], room, 2, 0), 2, "what there is no room for is lost");
    struct iovec part = { room, 3 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    IS(recvmsg(ends[1], &message, 0), 3, "the next one is the next datagram");
    OK(message.msg_flags & MSG_TRUNC, "recvmsg tells that it was cut");
    IS(recv(ends[1], room, sizeof room, MSG_WAITALL), 1, "MSG_WAITALL does not wait for more of a datagram");
    close_pair(ends);
}

static void sizes(void)
{
    static unsigned char sent[70000], got[70000];
    static const size_t lengths[] = { 1, 1200, 1473, 9000, 32768, 65507 };
    int ends[2], fd;
    struct address there = peer_address(PEER_UDP);
    pattern(sent, sizeof sent, 1);
    NEEDS(udp_pair(ends) == 0 && (fd = udp_socket()) >= 0);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        IS(send(ends[0], sent, lengths[i], 0), lengths[i], "sends up to 65,507 bytes");
        NEEDS(wait_for(ends[1], POLLIN) & POLLIN);
        IS(recv(ends[1], got, sizeof got, 0), lengths[i], "which arrive");
        OK(!memcmp(sent, got, lengths[i]), "as they were");
        IS(sendto(fd, sent, lengths[i], 0, &there.any, there.length), lengths[i], "sends as many to the peer");
        NEEDS(wait_for(fd, POLLIN) & POLLIN);
        IS(recv(fd, got, sizeof got, 0), lengths[i], "which come back");
        OK(is_pattern(got, lengths[i], 1), "as they were sent");
    }
    FAILS(send(ends[0], sent, 65536, 0), EMSGSIZE, "65,536 bytes are too many");
    if (variant == V4)
        FAILS(send(ends[0], sent, 65508, 0), EMSGSIZE, "65,508 bytes are too many for IPv4");
    close_pair(ends), close(fd);
}

static void connected(void)
{
    int fd, other;
    char room[8];
    struct address there = peer_address(PEER_UDP), here = own_address(0);
    NEEDS((fd = udp_socket()) >= 0 && (other = udp_socket()) >= 0);
    FAILS(send(fd, "x", 1, 0), EDESTADDRREQ, "without a destination nothing is sent");
    FAILS(getpeername(fd, &there.any, &(socklen_t){ sizeof there.storage }), ENOTCONN, "nobody is the peer");
    there = peer_address(PEER_UDP);
    IS(connect(fd, &there.any, there.length), 0, "connects");
    struct address named = remote_of(fd), local = local_of(fd);
    OK(same_address(&named, &there), "getpeername is whom it was connected to");
    here = own_address(port_of(&local));
    OK(same_address(&local, &here), "getsockname is the own address");
    IS(send(fd, "ping", 4, 0), 4, "sends to the peer");
    IS(recv(fd, room, sizeof room, 0), 4, "and hears it");
    IS(sendto(other, "noise", 5, 0, &local.any, local.length), 5, "somebody else sends");
    struct pollfd entry = { .fd = fd, .events = POLLIN };
    IS(poll(&entry, 1, QUIET_MS), 0, "and is not heard");
    struct address elsewhere = local_of(other);
    elsewhere = own_address(port_of(&elsewhere));
    IS(sendto(fd, "to you", 6, 0, &elsewhere.any, elsewhere.length), 6, "may send to others still");
    IS(recv(other, room, sizeof room, 0), 6, "who hear it");
    IS(connect(fd, &elsewhere.any, elsewhere.length), 0, "connects to another");
    named = remote_of(fd);
    OK(same_address(&named, &elsewhere), "who is the peer then");
    struct sockaddr none = { .sa_family = AF_UNSPEC };
    IS(connect(fd, &none, sizeof none), 0, "AF_UNSPEC ends that");
    FAILS(getpeername(fd, &named.any, &named.length), ENOTCONN, "nobody is the peer again");
    FAILS(send(fd, "x", 1, 0), EDESTADDRREQ, "and nothing is sent");
    close(fd), close(other);
}

static void refused(void)
{
    int fd, error = 0;
    char room[4];
    socklen_t length = sizeof error;
    struct address there = peer_address(PEER_CLOSED);
    NEEDS((fd = udp_socket()) >= 0 && connect(fd, &there.any, there.length) == 0);
    IS(send(fd, "x", 1, 0), 1, "sends to where nobody is");
    OK(wait_for(fd, POLLIN) & POLLERR, "the answer polls as an error");
    FAILS(recv(fd, room, sizeof room, MSG_DONTWAIT), ECONNREFUSED, "receiving tells of it");
    FAILS(recv(fd, room, sizeof room, MSG_DONTWAIT), EAGAIN, "once");
    IS(send(fd, "x", 1, 0), 1, "sends again");
    NEEDS(wait_for(fd, POLLIN));
    FAILS(send(fd, "x", 1, 0), ECONNREFUSED, "sending tells of it too");
    IS(send(fd, "x", 1, 0), 1, "and goes on");
    NEEDS(wait_for(fd, POLLIN));
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    IS(error, ECONNREFUSED, "SO_ERROR tells of it");
    IS(events_now(fd) & (POLLERR | POLLIN), 0, "and then nothing is left");
    close(fd);
    struct address here = own_address(0);
    NEEDS((fd = udp_socket()) >= 0 && bind(fd, &here.any, here.length) == 0);
    IS(sendto(fd, "x", 1, 0, &there.any, there.length), 1, "sends without being connected");
    struct pollfd entry = { .fd = fd, .events = POLLIN };
    IS(poll(&entry, 1, QUIET_MS), 0, "which is told nothing");
    close(fd);
}

static void any_address_hears(void)
{
    int a, b;
    char room[4];
    struct address any = any_address(0), from;
    NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0);
    IS(bind(b, &any.any, any.length), 0, "binds to any address");
    struct address at = local_of(b), shown = any_address(port_of(&at)), here = own_address(port_of(&at));
    OK(same_address(&at, &shown), "getsockname is any address, with a port");
    IS(sendto(a, "x", 1, 0, &here.any, here.length), 1, "the own address leads there");
    from.length = sizeof from.storage;
    IS(recvfrom(b, room, sizeof room, 0, &from.any, &from.length), 1, "it is heard");
    IS(sendto(b, "y", 1, 0, &from.any, from.length), 1, "and answered");
    IS(recv(a, room, sizeof room, 0), 1, "and the answer is heard");
    close(a), close(b);
}

static void dual_stack(void)
{
    int a, b;
    char room[4];
    struct address from;
    variant = V6;
    struct address any = any_address(0);
    NEEDS((b = udp_socket()) >= 0 && bind(b, &any.any, any.length) == 0);
    struct address at = local_of(b);
    variant = V4;
    struct address here = own_address(port_of(&at));
    NEEDS((a = udp_socket()) >= 0);
    IS(sendto(a, "x", 1, 0, &here.any, here.length), 1, "IPv4 leads to an IPv6 socket");
    from.length = sizeof from.storage;
    IS(recvfrom(b, room, sizeof room, 0, &from.any, &from.length), 1, "which hears it");
    OK(from.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&from.v6.sin6_addr), "from a mapped address");
    IS(sendto(b, "y", 1, 0, &from.any, from.length), 1, "which can be answered");
    IS(recv(a, room, sizeof room, 0), 1, "and is heard as IPv4");
    close(a), close(b);
}

static void shared_ports(void)
{
    int a, b, on = 1;
    struct address here = own_address(0);
    NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0 && bind(a, &here.any, here.length) == 0);
    here = local_of(a);
    FAILS(bind(b, &here.any, here.length), EADDRINUSE, "a port in use is refused");
    struct address any = any_address(port_of(&here));
    FAILS(bind(b, &any.any, any.length), EADDRINUSE, "at any address too");
    close(a), close(b);
    for (int option = 0; option < 2; option++) {
        int name = option ? SO_REUSEPORT : SO_REUSEADDR;
        here = own_address(0);
        NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0);
        IS(setsockopt(a, SOL_SOCKET, name, &on, sizeof on), 0, "sharing can be asked for");
        NEEDS(bind(a, &here.any, here.length) == 0);
        here = local_of(a);
        FAILS(bind(b, &here.any, here.length), EADDRINUSE, "only one asking is not enough");
        IS(setsockopt(b, SOL_SOCKET, name, &on, sizeof on), 0, "sharing can be asked for later");
        IS(bind(b, &here.any, here.length), 0, "both asking share it");
        close(a), close(b);
    }
}

static void several_messages(void)
{
    int ends[2];
    char rooms[4][8];
    struct address names[4], from;
    struct iovec out[3] = { { "one", 3 }, { "two", 3 }, { "three", 5 } }, in[4];
    struct mmsghdr sent[3], got[4];
    NEEDS(udp_pair(ends) == 0);
    memset(sent, 0, sizeof sent), memset(got, 0, sizeof got);
    for (int i = 0; i < 3; i++)
        sent[i].msg_hdr.msg_iov = &out[i], sent[i].msg_hdr.msg_iovlen = 1;
    IS(sendmmsg(ends[0], sent, 3, 0), 3, "sendmmsg sends all");
    OK(sent[0].msg_len == 3 && sent[2].msg_len == 5, "and says how long each was");
    NEEDS(wait_for(ends[1], POLLIN) & POLLIN);
    for (int i = 0; i < 4; i++) {
        in[i].iov_base = rooms[i], in[i].iov_len = sizeof rooms[i];
        got[i].msg_hdr.msg_iov = &in[i], got[i].msg_hdr.msg_iovlen = 1;
        got[i].msg_hdr.msg_name = &names[i].any, got[i].msg_hdr.msg_namelen = sizeof names[i].storage;
    }
    IS(recvmmsg(ends[1], got, 4, MSG_DONTWAIT, NULL), 3, "recvmmsg gives what there is");
    OK(got[0].msg_len == 3 && got[2].msg_len == 5 && !memcmp(rooms[2], "three", 5), "each in its place");
    from = local_of(ends[0]);
    names[1].length = got[1].msg_hdr.msg_namelen;
    OK(same_address(&names[1], &from), "with its sender");
    FAILS(recvmmsg(ends[1], got, 4, MSG_DONTWAIT, NULL), EAGAIN, "and then nothing");
    NEEDS(send(ends[0], "a", 1, 0) == 1);
    IS(recvmmsg(ends[1], got, 4, MSG_WAITFORONE, NULL), 1, "MSG_WAITFORONE waits for one");
    struct timespec wrong = { .tv_nsec = 2000000000 };
    FAILS(recvmmsg(ends[1], got, 4, 0, &wrong), EINVAL, "a time that is none is refused");
    IS(sendmmsg(ends[0], sent, 0, 0), 0, "no messages are none");
    close_pair(ends);
}

static void gathers(void)
{
    int ends[2];
    char a[2], b[8];
    NEEDS(udp_pair(ends) == 0);
    struct iovec out[2] = { { "ab", 2 }, { "cde", 3 } }, in[2] = { { a, 2 }, { b, 8 } };
    IS(writev(ends[0], out, 2), 5, "writev makes one datagram");
    IS(readv(ends[1], in, 2), 5, "readv takes one apart");
    OK(!memcmp(a, "ab", 2) && !memcmp(b, "cde", 3), "in order");
    struct address there = remote_of(ends[0]);
    struct msghdr message = { .msg_name = &there.any, .msg_namelen = there.length, .msg_iov = out, .msg_iovlen = 2 };
    IS(sendmsg(ends[0], &message, 0), 5, "sendmsg with an address makes one too");
    IS(read(ends[1], b, sizeof b), 5, "which is read");
    IS(send(ends[0], "ab", 2, MSG_MORE), 2, "MSG_MORE keeps a datagram open");
    IS(send(ends[0], "cd", 2, 0), 2, "until there is no more");
    IS(recv(ends[1], b, sizeof b, 0), 4, "then it is one");
    close_pair(ends);
}

static void shut_down(void)
{
    int ends[2], fd;
    char room[4];
    NEEDS(udp_pair(ends) == 0 && (fd = udp_socket()) >= 0);
    FAILS(shutdown(fd, SHUT_RDWR), ENOTCONN, "what is not connected is not shut down");
    IS(shutdown(ends[0], SHUT_RD), 0, "the receiving side ends");
    IS(recv(ends[0], room, sizeof room, 0), 0, "which reads as nothing");
    IS(shutdown(ends[0], SHUT_WR), 0, "the sending side ends");
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE, "which sends no more");
    close_pair(ends), close(fd);
}

static void time_out(void)
{
    int ends[2];
    char room[4];
    struct timeval brief = { .tv_usec = 30000 };
    NEEDS(udp_pair(ends) == 0);
    IS(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief), 0, "SO_RCVTIMEO can be set");
    FAILS(recv(ends[0], room, sizeof room, 0), EAGAIN, "and ends a receive");
    set_nonblocking(ends[0], 1);
    FAILS(recv(ends[0], room, sizeof room, 0), EAGAIN, "which a non-blocking one does not even begin");
    close_pair(ends);
}

static void not_for_streams(void)
{
    int fd;
    NEEDS((fd = udp_socket()) >= 0);
    FAILS(listen(fd, 1), EOPNOTSUPP, "datagram sockets do not listen");
    FAILS(accept(fd, NULL, NULL), EOPNOTSUPP, "nor accept");
    IS(events_now(fd), POLLOUT, "but they are writable from the start");
    close(fd);
}

void datagrams(void)
{
    RUN_VARIANTS(datagrams, to_and_from);
    RUN_VARIANTS(datagrams, empty);
    RUN_VARIANTS(datagrams, boundaries);
    RUN_VARIANTS(datagrams, sizes);
    RUN_VARIANTS(datagrams, connected);
    RUN_VARIANTS(datagrams, refused);
    RUN_VARIANTS(datagrams, any_address_hears);
    RUN(datagrams, dual_stack);
    RUN_VARIANTS(datagrams, shared_ports);
    RUN_VARIANTS(datagrams, several_messages);
    RUN_VARIANTS(datagrams, gathers);
    RUN_VARIANTS(datagrams, shut_down);
    RUN_VARIANTS(datagrams, time_out);
    RUN_VARIANTS(datagrams, not_for_streams);
}
