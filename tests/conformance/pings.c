/* ICMP echo sockets, as ping(8) uses them without privileges. */
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "check.h"

struct echo {
    unsigned char type, code, checksum[2], identifier[2], sequence[2], data[8];
};

static struct echo request(unsigned char number)
{
    struct echo echo = { .type = variant == V4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST, .sequence = { 0, number } };
    memcpy(echo.data, "whatever", 8);
    return echo;
}

static int ping_socket(void)
{
    return socket(family(), SOCK_DGRAM, variant == V4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
}

/* An answer with this number, from `there`, for this socket. */
static void is_answered(int fd, unsigned char number, const struct address *there)
{
    unsigned char room[64];
    struct echo answer, asked = request(number);
    struct address from;
    NEEDS(wait_for(fd, POLLIN) & POLLIN);
    from.length = sizeof from.storage;
    IS(recvfrom(fd, room, sizeof room, 0, &from.any, &from.length), sizeof answer, "an echo comes back");
    OK(same_address(&from, there), "from where it was sent to");
    memcpy(&answer, room, sizeof answer);
    IS(answer.type, variant == V4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY, "as a reply");
    OK(answer.code == 0 && !memcmp(answer.data, asked.data, sizeof asked.data), "with what was sent");
    IS(answer.sequence[1], number, "and its number");
    struct address local = local_of(fd);
    IS(answer.identifier[0] << 8 | answer.identifier[1], port_of(&local), "its identifier is the socket's port");
}

static void answered(void)
{
    int fd, other, value = 0;
    socklen_t length = sizeof value;
    unsigned char room[64];
    NEEDS((fd = ping_socket()) >= 0 && (other = ping_socket()) >= 0);
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length);
    IS(value, SOCK_DGRAM, "SO_TYPE of an echo socket");
    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &length);
    IS(value, variant == V4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6, "SO_PROTOCOL of an echo socket");
    IS(events_now(fd), POLLOUT, "it is writable from the start");
    struct address places[2] = { own_address(0), peer_address(0) };
    for (unsigned char place = 0; place < 2; place++) {
        struct echo echo = request(place);
        IS(sendto(fd, &echo, sizeof echo, 0, &places[place].any, places[place].length), sizeof echo, "an echo is sent");
        is_answered(fd, place, &places[place]);
    }
    FAILS(recv(fd, room, sizeof room, MSG_DONTWAIT), EAGAIN, "once");
    IS(connect(other, &places[1].any, places[1].length), 0, "it connects");
    struct echo echo = request(7);
    IS(send(other, &echo, sizeof echo, 0), sizeof echo, "and sends to its peer");
    is_answered(other, 7, &places[1]);
    FAILS(recv(fd, room, sizeof room, MSG_DONTWAIT), EAGAIN, "others do not hear the answer");
    close(fd), close(other);
}

static void identifiers(void)
{
    int fd;
    struct address here = own_address(4242);
    NEEDS((fd = ping_socket()) >= 0);
    IS(bind(fd, &here.any, here.length), 0, "an identifier can be asked for");
    struct address local = local_of(fd);
    IS(port_of(&local), 4242, "and is told");
    struct address own = own_address(0);
    struct echo echo = request(1);
    IS(sendto(fd, &echo, sizeof echo, 0, &own.any, own.length), sizeof echo, "an echo is sent");
    is_answered(fd, 1, &own);
    close(fd);
}

static void refused(void)
{
    int fd;
    struct echo echo = request(1);
    struct address own = own_address(0);
    NEEDS((fd = ping_socket()) >= 0);
    FAILS(sendto(fd, &echo, 4, 0, &own.any, own.length), EINVAL, "half a header is none");
    echo.code = 1;
    FAILS(sendto(fd, &echo, sizeof echo, 0, &own.any, own.length), EINVAL, "a code that is none is refused");
    echo.code = 0, echo.type = variant == V4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
    FAILS(sendto(fd, &echo, sizeof echo, 0, &own.any, own.length), EINVAL, "and an answer that nobody asked for");
    echo = request(1);
    FAILS(send(fd, &echo, sizeof echo, 0), EDESTADDRREQ, "without a destination nothing is sent");
    FAILS(listen(fd, 1), EOPNOTSUPP, "there is nothing to listen for");
    close(fd);
}

static void for_both(test_function *function, const char *test)
{
    for (variant = V4; variant <= V6; variant++) {
        begin("pings", test, 1);
        function();
    }
}

void pings(void)
{
    if (is_wanted("pings", "answered"))
        for_both(answered, "answered");
    if (is_wanted("pings", "identifiers"))
        for_both(identifiers, "identifiers");
    if (is_wanted("pings", "refused"))
        for_both(refused, "refused");
}
