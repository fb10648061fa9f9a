/* getsockopt and setsockopt: values, and lengths that are wrong. */
#include "check.h"

static int get(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) < 0 ? -1 : value;
}

static int set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static void what_it_is(void)
{
    int stream, datagrams;
    NEEDS((stream = tcp_socket()) >= 0 && (datagrams = udp_socket()) >= 0);
    IS(get(stream, SOL_SOCKET, SO_TYPE), SOCK_STREAM, "SO_TYPE of a stream");
    IS(get(datagrams, SOL_SOCKET, SO_TYPE), SOCK_DGRAM, "SO_TYPE of datagrams");
    IS(get(stream, SOL_SOCKET, SO_DOMAIN), family(), "SO_DOMAIN");
    IS(get(stream, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP, "SO_PROTOCOL of a stream");
    IS(get(datagrams, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDP, "SO_PROTOCOL of datagrams");
    IS(get(stream, SOL_SOCKET, SO_ERROR), 0, "SO_ERROR of a fresh socket");
    IS(get(stream, SOL_SOCKET, SO_ACCEPTCONN), 0, "SO_ACCEPTCONN before listening");
    FAILS(set(stream, SOL_SOCKET, SO_TYPE, 1), ENOPROTOOPT, "SO_TYPE cannot be set");
    FAILS(set(stream, SOL_SOCKET, SO_ERROR, 1), ENOPROTOOPT, "nor SO_ERROR");
    FAILS(set(stream, SOL_SOCKET, SO_ACCEPTCONN, 1), ENOPROTOOPT, "nor SO_ACCEPTCONN");
    IS(listen(stream, 1), 0, "listens");
    IS(get(stream, SOL_SOCKET, SO_ACCEPTCONN), 1, "SO_ACCEPTCONN after listening");
    close(stream), close(datagrams);
}

static void flags(void)
{
    static const struct {
        int level, name;
        const char *text;
    } all[] = { { SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR is off, then on, then off" },
                { SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT is off, then on, then off" },
                { SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE is off, then on, then off" },
                { SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST is off, then on, then off" },
                { SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE is off, then on, then off" },
                { SOL_SOCKET, SO_DONTROUTE, "SO_DONTROUTE is off, then on, then off" },
                { SOL_SOCKET, SO_TIMESTAMP, "SO_TIMESTAMP is off, then on, then off" },
                { IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY is off, then on, then off" },
                { IPPROTO_TCP, TCP_CORK, "TCP_CORK is off, then on, then off" } };
    int fd;
    NEEDS((fd = tcp_socket()) >= 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        IS(get(fd, all[i].level, all[i].name), 0, all[i].text);
        IS(set(fd, all[i].level, all[i].name, 5), 0, all[i].text);
        IS(get(fd, all[i].level, all[i].name), 1, all[i].text);
        IS(set(fd, all[i].level, all[i].name, 0), 0, all[i].text);
        IS(get(fd, all[i].level, all[i].name), 0, all[i].text);
        FAILS(setsockopt(fd, all[i].level, all[i].name, "", 1), EINVAL, "three bytes too few");
    }
    close(fd);
}

static void buffers(void)
{
    int fd;
    NEEDS((fd = tcp_socket()) >= 0);
    OK(get(fd, SOL_SOCKET, SO_RCVBUF) > 0, "there is a receive buffer");
    OK(get(fd, SOL_SOCKET, SO_SNDBUF) > 0, "and a send buffer");
    IS(set(fd, SOL_SOCKET, SO_RCVBUF, 65536), 0, "SO_RCVBUF can be set");
    IS(get(fd, SOL_SOCKET, SO_RCVBUF), 131072, "and is told doubled");
    IS(set(fd, SOL_SOCKET, SO_SNDBUF, 65536), 0, "SO_SNDBUF can be set");
    IS(get(fd, SOL_SOCKET, SO_SNDBUF), 131072, "and is told doubled");
    IS(set(fd, SOL_SOCKET, SO_RCVBUF, 1), 0, "SO_RCVBUF of one is taken");
    OK(get(fd, SOL_SOCKET, SO_RCVBUF) >= 2048, "as the least there is");
    IS(set(fd, SOL_SOCKET, SO_SNDBUF, 1), 0, "SO_SNDBUF of one is taken");
    OK(get(fd, SOL_SOCKET, SO_SNDBUF) >= 4096, "as the least there is");
    IS(set(fd, SOL_SOCKET, SO_RCVBUF, -1), 0, "a negative buffer is a large one");
    OK(get(fd, SOL_SOCKET, SO_RCVBUF) >= 131072, "and not a small one");
    IS(set(fd, SOL_SOCKET, SO_RCVLOWAT, 4), 0, "SO_RCVLOWAT can be set");
    IS(get(fd, SOL_SOCKET, SO_RCVLOWAT), 4, "and is told");
    IS(get(fd, SOL_SOCKET, SO_SNDLOWAT), 1, "SO_SNDLOWAT is one");
    IS(set(fd, SOL_SOCKET, SO_PRIORITY, 3), 0, "SO_PRIORITY can be set");
    IS(get(fd, SOL_SOCKET, SO_PRIORITY), 3, "and is told");
    close(fd);
}

static void times(void)
{
    int fd;
    struct timeval time = { 1, 500000 }, got = { 9, 9 };
    socklen_t length = sizeof got;
    NEEDS((fd = tcp_socket()) >= 0);
    for (int sending = 0; sending < 2; sending++) {
        int name = sending ? SO_SNDTIMEO : SO_RCVTIMEO;
        length = sizeof got;
        IS(getsockopt(fd, SOL_SOCKET, name, &got, &length), 0, "the time-out is told");
        OK(got.tv_sec == 0 && got.tv_usec == 0 && length == sizeof got, "and is none");
        IS(setsockopt(fd, SOL_SOCKET, name, &time, sizeof time), 0, "it can be set");
        getsockopt(fd, SOL_SOCKET, name, &got, &length);
        OK(got.tv_sec == 1 && got.tv_usec / 10000 == 50, "and is told");
        struct timeval wrong = { 0, 1000000 };
        FAILS(setsockopt(fd, SOL_SOCKET, name, &wrong, sizeof wrong), EDOM, "a million microseconds are no part of a second");
        FAILS(setsockopt(fd, SOL_SOCKET, name, &time, sizeof time - 1), EINVAL, "a time that is cut short is none");
    }
    close(fd);
}

static void lingering(void)
{
    int fd;
    struct linger value = { 1, 7 }, got = { 9, 9 };
    socklen_t length = sizeof got;
    NEEDS((fd = tcp_socket()) >= 0);
    IS(getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &length), 0, "SO_LINGER is told");
    OK(got.l_onoff == 0 && length == sizeof got, "and is off");
    IS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof value), 0, "SO_LINGER can be set");
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &length);
    OK(got.l_onoff == 1 && got.l_linger == 7, "and is told");
    FAILS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, 4), EINVAL, "half of it is refused");
    close(fd);
}

static void lengths(void)
{
    int fd, value;
    unsigned char byte = 0x55, wide[16];
    socklen_t length;
    NEEDS((fd = tcp_socket()) >= 0);
    value = -1, length = sizeof value;
    memset(wide, 0x55, sizeof wide);
    length = sizeof wide;
    IS(getsockopt(fd, SOL_SOCKET, SO_TYPE, wide, &length), 0, "more room than needed");
    IS(length, sizeof(int), "is told back as what was used");
    IS(wide[4], 0x55, "and not written over");
    length = 1;
    IS(getsockopt(fd, SOL_SOCKET, SO_TYPE, &byte, &length), 0, "less room than needed");
    OK(byte == SOCK_STREAM && length == 1, "gives the first byte");
    length = 0;
    IS(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length), 0, "no room at all");
    IS(length, 0, "gives nothing");
    length = (socklen_t)-1;
    FAILS(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length), EINVAL, "negative room");
    length = sizeof value;
    FAILS(getsockopt(fd, SOL_SOCKET, SO_TYPE, nothing, &length), EFAULT, "nowhere to write to");
    FAILS(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, nothing), EFAULT, "no length");
    FAILS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, nothing, 4), EFAULT, "nowhere to read from");
    FAILS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, 0), EINVAL, "nothing to read");
    FAILS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, (socklen_t)-1), EINVAL, "a negative length");
    FAILS(set(fd, SOL_SOCKET, 9999, 1), ENOPROTOOPT, "an option that does not exist");
    FAILS(get(fd, SOL_SOCKET, 9999), ENOPROTOOPT, "nor can be read");
    FAILS(set(fd, IPPROTO_TCP, 9999, 1), ENOPROTOOPT, "nor one of TCP");
    FAILS(get(fd, IPPROTO_TCP, 9999), ENOPROTOOPT, "nor read");
    FAILS(get(fd, IPPROTO_IP, 9999), ENOPROTOOPT, "nor one of IP");
    close(fd);
}

static void of_tcp(void)
{
    int fd, ends[2], datagrams;
    char name[32];
    struct tcp_info info;
    socklen_t length = sizeof name;
    NEEDS((fd = tcp_socket()) >= 0 && (datagrams = udp_socket()) >= 0);
    IS(get(fd, IPPROTO_TCP, TCP_KEEPIDLE), 7200, "TCP_KEEPIDLE as Linux has it");
    IS(get(fd, IPPROTO_TCP, TCP_KEEPINTVL), 75, "TCP_KEEPINTVL as Linux has it");
    IS(get(fd, IPPROTO_TCP, TCP_KEEPCNT), 9, "TCP_KEEPCNT as Linux has it");
    IS(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10), 0, "TCP_KEEPIDLE can be set");
    IS(get(fd, IPPROTO_TCP, TCP_KEEPIDLE), 10, "and is told");
    FAILS(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0), EINVAL, "zero seconds are refused");
    FAILS(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 40000), EINVAL, "and more than 32,767");
    FAILS(set(fd, IPPROTO_TCP, TCP_KEEPCNT, 200), EINVAL, "and more than 127 probes");
    IS(set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000), 0, "TCP_USER_TIMEOUT can be set");
    IS(get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000, "and is told");
    FAILS(set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, -1), EINVAL, "and is not negative");
    IS(set(fd, IPPROTO_TCP, TCP_QUICKACK, 1), 0, "TCP_QUICKACK can be set");
    IS(get(fd, IPPROTO_TCP, TCP_QUICKACK), 1, "and is told");
    OK(get(fd, IPPROTO_TCP, TCP_MAXSEG) > 0, "TCP_MAXSEG is told");
    IS(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0, "TCP_CONGESTION is told");
    OK(memchr(name, 0, sizeof name) && *name, "by its name");
    IS(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)), 0, "and can be set to what it is");
    FAILS(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonsense", 8), ENOENT, "but not to what is not there");
    length = sizeof info;
    IS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0, "TCP_INFO is told");
    IS(info.tcpi_state, TCP_CLOSE, "of a fresh socket it is closed");
    NEEDS(listen(fd, 1) == 0);
    length = sizeof info;
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    IS(info.tcpi_state, TCP_LISTEN, "of one that listens, listening");
    NEEDS(tcp_pair(ends) == 0);
    length = sizeof info;
    getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &info, &length);
    IS(info.tcpi_state, TCP_ESTABLISHED, "of a connection, established");
    OK(info.tcpi_snd_cwnd >= 2, "with a congestion window");
    OK(info.tcpi_snd_ssthresh > info.tcpi_snd_cwnd, "in slow start");
    OK(info.tcpi_rtt > 0, "a round trip");
    IS(info.tcpi_unacked + info.tcpi_total_retrans, 0, "and nothing sent or resent");
    shutdown(ends[1], SHUT_WR);
    NEEDS(wait_for(ends[0], POLLIN) & POLLIN);
    getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &info, &length);
    IS(info.tcpi_state, TCP_CLOSE_WAIT, "of one whose other end has ended, waiting to close");
    length = 1;
    IS(getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &info, &length), 0, "TCP_INFO is told in part");
    IS(length, 1, "as far as there is room");
    FAILS(set(datagrams, IPPROTO_TCP, TCP_NODELAY, 1), ENOPROTOOPT, "TCP's options are not for datagrams");
    FAILS(get(datagrams, IPPROTO_TCP, TCP_NODELAY), variant == V4 ? EOPNOTSUPP : ENOPROTOOPT, "nor to be read of them");
    close(fd), close(datagrams), close_pair(ends);
}

static void of_ip(void)
{
    int fd;
    NEEDS((fd = udp_socket()) >= 0);
    if (variant == V4) {
        IS(get(fd, IPPROTO_IP, IP_TTL), 64, "IP_TTL is 64");
        IS(set(fd, IPPROTO_IP, IP_TTL, 9), 0, "IP_TTL can be set");
        IS(get(fd, IPPROTO_IP, IP_TTL), 9, "and is told");
        FAILS(set(fd, IPPROTO_IP, IP_TTL, 256), EINVAL, "256 hops are too many");
        FAILS(set(fd, IPPROTO_IP, IP_TTL, 0), EINVAL, "and none too few");
        IS(set(fd, IPPROTO_IP, IP_TOS, 0x10), 0, "IP_TOS can be set");
        IS(get(fd, IPPROTO_IP, IP_TOS), 0x10, "and is told");
        IS(get(fd, IPPROTO_IP, IP_PKTINFO), 0, "IP_PKTINFO is off");
        IS(set(fd, IPPROTO_IP, IP_PKTINFO, 1), 0, "IP_PKTINFO can be set");
        IS(get(fd, IPPROTO_IP, IP_PKTINFO), 1, "and is told");
        IS(setsockopt(fd, IPPROTO_IP, IP_TTL, "\x07", 1), 0, "IP takes single bytes");
        IS(get(fd, IPPROTO_IP, IP_TTL), 7, "as numbers");
        FAILS(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1), ENOPROTOOPT, "IPv6's options are not for IPv4");
    } else {
        IS(get(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64, "IPV6_UNICAST_HOPS is 64");
        IS(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9), 0, "IPV6_UNICAST_HOPS can be set");
        IS(get(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 9, "and is told");
        IS(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1), 0, "IPV6_UNICAST_HOPS can be set back");
        IS(get(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64, "to what it was");
        FAILS(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256), EINVAL, "256 hops are too many");
        IS(set(fd, IPPROTO_IPV6, IPV6_TCLASS, 0x10), 0, "IPV6_TCLASS can be set");
        IS(get(fd, IPPROTO_IPV6, IPV6_TCLASS), 0x10, "and is told");
        IS(get(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0, "IPV6_V6ONLY is off");
        IS(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1), 0, "IPV6_V6ONLY can be set");
        IS(get(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1, "and is told");
        IS(get(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO), 0, "IPV6_RECVPKTINFO is off");
        IS(set(fd, IPPROTO_IP, IP_TOS, 0x20), 0, "an IPv6 socket takes IPv4's options too");
    }
    close(fd);
}

static void inherited(void)
{
    int listener, client, accepted;
    NEEDS((listener = tcp_listener(2)) >= 0 && set(listener, IPPROTO_TCP, TCP_NODELAY, 1) == 0);
    NEEDS(set(listener, SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
    struct address here = local_of(listener);
    NEEDS((client = tcp_socket()) >= 0 && connect(client, &here.any, here.length) == 0);
    NEEDS((accepted = accept(listener, NULL, NULL)) >= 0);
    IS(get(accepted, IPPROTO_TCP, TCP_NODELAY), 1, "an accepted socket has its listener's TCP_NODELAY");
    IS(get(accepted, SOL_SOCKET, SO_KEEPALIVE), 1, "and its SO_KEEPALIVE");
    IS(get(accepted, SOL_SOCKET, SO_ACCEPTCONN), 0, "and listens not");
    close(listener), close(client), close(accepted);
}

void options(void)
{
    RUN_VARIANTS(options, what_it_is);
    RUN(options, flags);
    RUN(options, buffers);
    RUN(options, times);
    RUN(options, lingering);
    RUN(options, lengths);
    RUN_VARIANTS(options, of_tcp);
    RUN_VARIANTS(options, of_ip);
    RUN_VARIANTS(options, inherited);
}
