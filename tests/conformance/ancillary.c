/* Ancillary data: addresses, hops and classes of datagrams, told and wished for. */
#include "check.h"

/* The number that a message says about itself, or -1. */
static int told(struct msghdr *message, int level, int kind)
{
    for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one; one = CMSG_NXTHDR(message, one))
        if (one->cmsg_level == level && one->cmsg_type == kind) {
            int number = 0;
            memcpy(&number, CMSG_DATA(one), one->cmsg_len == CMSG_LEN(1) ? 1 : sizeof number);
            return number;
        }
    return -1;
}

static int receive(int fd, struct msghdr *message, char *control, size_t length)
{
    static char room[8];
    static struct iovec part = { room, sizeof room };
    memset(message, 0, sizeof *message);
    message->msg_iov = &part, message->msg_iovlen = 1;
    message->msg_control = control, message->msg_controllen = length;
    return wait_for(fd, POLLIN) & POLLIN ? (int)recvmsg(fd, message, 0) : -1;
}

static void set(int fd, int level, int name, int value)
{
    IS(setsockopt(fd, level, name, &value, sizeof value), 0, "can be asked for");
}

/* The second pair of numbers stands for the options of IPv6. */
static int is_v4(void)
{
    return variant != V6;
}

static void packet_information(void)
{
    int a, b, on = 1;
    char room[8], control[256];
    struct iovec part = { room, sizeof room };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    struct address any = any_address(0);
    NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0 && bind(b, &any.any, any.length) == 0);
    struct address at = local_of(b), here = own_address(port_of(&at));
    if (variant == V4)
        IS(setsockopt(b, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), 0, "IP_PKTINFO can be asked for");
    else
        IS(setsockopt(b, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on), 0, "IPV6_RECVPKTINFO can be asked for");
    NEEDS(sendto(a, "x", 1, 0, &here.any, here.length) == 1);
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    IS(recvmsg(b, &message, 0), 1, "receives");
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    if (variant == V4) {
        OK(first && first->cmsg_level == IPPROTO_IP && first->cmsg_type == IP_PKTINFO, "with the address it came to");
        struct in_pktinfo info = { .ipi_ifindex = 0 };
        if (first)
            memcpy(&info, CMSG_DATA(first), sizeof info);
        OK(info.ipi_addr.s_addr == here.v4.sin_addr.s_addr, "which is the own one");
        OK(first && first->cmsg_len == CMSG_LEN(sizeof info), "of the right length");
    } else {
        OK(first && first->cmsg_level == IPPROTO_IPV6 && first->cmsg_type == IPV6_PKTINFO, "with the address it came to");
        struct in6_pktinfo info = { .ipi6_ifindex = 0 };
        if (first)
            memcpy(&info, CMSG_DATA(first), sizeof info);
        OK(!memcmp(&info.ipi6_addr, &here.v6.sin6_addr, 16), "which is the own one");
        OK(first && first->cmsg_len == CMSG_LEN(sizeof info), "of the right length");
    }
    NEEDS(sendto(a, "y", 1, 0, &here.any, here.length) == 1);
    message.msg_controllen = 4;
    IS(recvmsg(b, &message, 0), 1, "receives without room for it");
    OK(message.msg_flags & MSG_CTRUNC, "and is told so");
    NEEDS(sendto(a, "z", 1, 0, &here.any, here.length) == 1);
    message.msg_control = NULL;
    message.msg_controllen = 0;
    message.msg_flags = 0;
    IS(recvmsg(b, &message, 0), 1, "receives without wanting it");
    close(a), close(b);
}

static void hops_and_classes(void)
{
    int a, b, level = is_v4() ? (int)IPPROTO_IP : (int)IPPROTO_IPV6;
    char control[256];
    struct msghdr message;
    struct address here = own_address(0);
    NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0 && bind(b, &here.any, here.length) == 0);
    here = local_of(b);
    set(b, level, is_v4() ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
    set(b, level, is_v4() ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
    NEEDS(sendto(a, "x", 1, 0, &here.any, here.length) == 1);
    IS(receive(b, &message, control, sizeof control), 1, "a datagram comes");
    IS(told(&message, level, is_v4() ? IP_TTL : IPV6_HOPLIMIT), 64, "with its hops");
    IS(told(&message, level, is_v4() ? IP_TOS : IPV6_TCLASS), 0, "and its class");
    set(a, level, is_v4() ? IP_TTL : IPV6_UNICAST_HOPS, 9);
    set(a, level, is_v4() ? IP_TOS : IPV6_TCLASS, 0x20);
    NEEDS(sendto(a, "x", 1, 0, &here.any, here.length) == 1);
    IS(receive(b, &message, control, sizeof control), 1, "another comes");
    IS(told(&message, level, is_v4() ? IP_TTL : IPV6_HOPLIMIT), 9, "with the hops that its sender set");
    IS(told(&message, level, is_v4() ? IP_TOS : IPV6_TCLASS), 0x20, "and the class");
    close(a), close(b);
}

static void wished_for(void)
{
    int a, b, level = is_v4() ? (int)IPPROTO_IP : (int)IPPROTO_IPV6, hops = 5, class = 0x40;
    char control[256], wishes[CMSG_SPACE(sizeof(int)) * 2];
    struct msghdr message, sent = { .msg_control = wishes, .msg_controllen = sizeof wishes };
    struct iovec part = { "x", 1 };
    struct address here = own_address(0);
    NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0 && bind(b, &here.any, here.length) == 0);
    here = local_of(b);
    set(b, level, is_v4() ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
    set(b, level, is_v4() ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
    memset(wishes, 0, sizeof wishes);
    struct cmsghdr *wish = CMSG_FIRSTHDR(&sent);
    wish->cmsg_level = level, wish->cmsg_type = is_v4() ? IP_TTL : IPV6_HOPLIMIT, wish->cmsg_len = CMSG_LEN(sizeof hops);
    memcpy(CMSG_DATA(wish), &hops, sizeof hops);
    wish = CMSG_NXTHDR(&sent, wish);
    wish->cmsg_level = level, wish->cmsg_type = is_v4() ? IP_TOS : IPV6_TCLASS, wish->cmsg_len = CMSG_LEN(sizeof class);
    memcpy(CMSG_DATA(wish), &class, sizeof class);
    sent.msg_name = &here.any, sent.msg_namelen = here.length, sent.msg_iov = &part, sent.msg_iovlen = 1;
    IS(sendmsg(a, &sent, 0), 1, "wishes for one datagram are taken");
    IS(receive(b, &message, control, sizeof control), 1, "it comes");
    IS(told(&message, level, is_v4() ? IP_TTL : IPV6_HOPLIMIT), 5, "with the hops that were wished for");
    IS(told(&message, level, is_v4() ? IP_TOS : IPV6_TCLASS), 0x40, "and the class");
    NEEDS(sendto(a, "x", 1, 0, &here.any, here.length) == 1);
    IS(receive(b, &message, control, sizeof control), 1, "the next one comes");
    IS(told(&message, level, is_v4() ? IP_TTL : IPV6_HOPLIMIT), 64, "with the socket's again");
    hops = 256, wish = CMSG_FIRSTHDR(&sent);
    memcpy(CMSG_DATA(wish), &hops, sizeof hops);
    FAILS(sendmsg(a, &sent, 0), EINVAL, "256 hops are too many");
    wish->cmsg_len = 3;
    FAILS(sendmsg(a, &sent, 0), EINVAL, "a piece shorter than its header is none");
    wish->cmsg_len = sizeof wishes + 1;
    FAILS(sendmsg(a, &sent, 0), EINVAL, "nor is one that is longer than there is");
    close(a), close(b);
}

static void timestamps(void)
{
    int a, b;
    char control[256];
    struct msghdr message;
    struct timeval at = { 0 }, now;
    struct address here = own_address(0);
    NEEDS((a = udp_socket()) >= 0 && (b = udp_socket()) >= 0 && bind(b, &here.any, here.length) == 0);
    here = local_of(b);
    set(b, SOL_SOCKET, SO_TIMESTAMP, 1);
    NEEDS(sendto(a, "x", 1, 0, &here.any, here.length) == 1);
    IS(receive(b, &message, control, sizeof control), 1, "a datagram comes");
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    OK(first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_TIMESTAMP, "with its time");
    NEEDS(first && first->cmsg_len == CMSG_LEN(sizeof at));
    memcpy(&at, CMSG_DATA(first), sizeof at);
    gettimeofday(&now, NULL);
    OK(at.tv_sec > 0 && at.tv_sec <= now.tv_sec && at.tv_usec < 1000000, "which is past");
    close(a), close(b);
}

void ancillary(void)
{
    RUN_VARIANTS(ancillary, packet_information);
    RUN_VARIANTS(ancillary, hops_and_classes);
    RUN_VARIANTS(ancillary, wished_for);
    RUN_VARIANTS(ancillary, timestamps);
}
