/* TCP: connections, their ends, their bytes. */
#include "check.h"

static void begins_and_ends(void)
{
    int ends[2], listener;
    char room[16];
    NEEDS((listener = tcp_listener(4)) >= 0);
    struct address here = local_of(listener), own = own_address(port_of(&here));
    OK(port_of(&here) != 0, "listening has a port of the system's choosing");
    OK(same_address(&here, &own), "a socket bound to an address has that address");
    NEEDS((ends[0] = tcp_socket()) >= 0);
    IS(connect(ends[0], &here.any, here.length), 0, "connects to the own address");
    struct address from;
    from.length = sizeof from.storage;
    ends[1] = (int)WORKS(accept(listener, &from.any, &from.length), "accepts");
    NEEDS(ends[1] >= 0);
    struct address near = local_of(ends[0]), far = remote_of(ends[1]), to = remote_of(ends[0]), at = local_of(ends[1]);
    OK(same_address(&from, &near), "accept names the other end");
    OK(same_address(&far, &near), "getpeername of the accepted end is getsockname of the other");
    OK(same_address(&to, &here), "getpeername of the connecting end is the listening address");
    OK(same_address(&at, &here), "getsockname of the accepted end is the listening address");
    OK(port_of(&near) != port_of(&here), "the connecting end has a port of its own");
    IS(send(ends[0], "hello", 5, 0), 5, "sends");
    IS(recv(ends[1], room, sizeof room, 0), 5, "receives what was sent");
    OK(!memcmp(room, "hello", 5), "and the same bytes");
    IS(write(ends[1], "back", 4), 4, "writes the other way");
    IS(read(ends[0], room, sizeof room), 4, "reads what was written");
    IS(close(ends[0]), 0, "closes");
    IS(recv(ends[1], room, sizeof room, 0), 0, "the other end reads the end");
    IS(recv(ends[1], room, sizeof room, 0), 0, "and again");
    IS(close(ends[1]), 0, "closes the accepted end");
    IS(close(listener), 0, "closes the listener");
    FAILS(close(listener), EBADF, "closes nothing twice");
}

static void half_close(void)
{
    int ends[2];
    char room[16];
    NEEDS(tcp_pair(ends) == 0);
    IS(send(ends[0], "last", 4, 0), 4, "sends before the end");
    IS(shutdown(ends[0], SHUT_WR), 0, "ends its sending side");
    IS(recv(ends[1], room, sizeof room, 0), 4, "what was sent before is still read");
    IS(recv(ends[1], room, sizeof room, 0), 0, "then the end");
    IS(send(ends[1], "still", 5, 0), 5, "the other side still sends");
    IS(recv(ends[0], room, sizeof room, 0), 5, "and is still heard");
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE, "the side that was ended sends no more");
    IS(shutdown(ends[0], SHUT_WR), 0, "ending it again does nothing");
    FAILS(shutdown(ends[0], 7), EINVAL, "there are three ways to shut down");
    close_pair(ends);
}

static void shut_reading(void)
{
    int ends[2];
    char room[16];
    NEEDS(tcp_pair(ends) == 0);
    IS(shutdown(ends[0], SHUT_RD), 0, "ends its receiving side");
    IS(recv(ends[0], room, sizeof room, 0), 0, "reads the end at once");
    IS(send(ends[0], "go on", 5, 0), 5, "still sends");
    IS(recv(ends[1], room, sizeof room, 0), 5, "and is heard");
    close_pair(ends);
}

static void linger_zero_resets(void)
{
    int ends[2];
    char room[4];
    struct linger abrupt = { .l_onoff = 1 };
    NEEDS(tcp_pair(ends) == 0);
    IS(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt), 0, "lingers for no time");
    close(ends[0]);
    OK(wait_for(ends[1], POLLIN) & POLLIN, "the other end hears of it");
    FAILS(recv(ends[1], room, sizeof room, 0), ECONNRESET, "as a reset");
    IS(recv(ends[1], room, sizeof room, 0), 0, "which is told once");
    FAILS(send(ends[1], "x", 1, MSG_NOSIGNAL), EPIPE, "after it there is no sending");
    close(ends[1]);
}

static void unread_bytes_reset(void)
{
    int ends[2];
    char room[4];
    NEEDS(tcp_pair(ends) == 0);
    IS(send(ends[0], "unread", 6, 0), 6, "sends what nobody reads");
    OK(wait_for(ends[1], POLLIN) & POLLIN, "it arrives");
    close(ends[1]);
    OK(wait_for(ends[0], POLLIN) & POLLIN, "closing over it is heard");
    FAILS(recv(ends[0], room, sizeof room, 0), ECONNRESET, "as a reset");
    close(ends[0]);
}

static void linger_waits(void)
{
    int ends[2];
    char room[8];
    struct linger patient = { .l_onoff = 1, .l_linger = 5 };
    NEEDS(tcp_pair(ends) == 0);
    setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &patient, sizeof patient);
    IS(send(ends[0], "bye", 3, 0), 3, "sends before it closes");
    IS(close(ends[0]), 0, "closes and waits");
    IS(recv(ends[1], room, sizeof room, 0), 3, "what was sent arrives");
    IS(recv(ends[1], room, sizeof room, 0), 0, "and the end");
    close(ends[1]);
}

static void accept_flags(void)
{
    int listener, client, accepted;
    NEEDS((listener = tcp_listener(4)) >= 0);
    struct address here = local_of(listener);
    NEEDS((client = tcp_socket()) >= 0 && connect(client, &here.any, here.length) == 0);
    FAILS(accept4(listener, NULL, NULL, 0x7), EINVAL, "accept4 knows two flags");
    accepted = (int)WORKS(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4 takes both flags");
    OK(fcntl(accepted, F_GETFL) & O_NONBLOCK, "SOCK_NONBLOCK makes it non-blocking");
    OK(fcntl(accepted, F_GETFD) & FD_CLOEXEC, "SOCK_CLOEXEC makes it close on exec");
    close(accepted), close(client);
    NEEDS((client = tcp_socket()) >= 0 && connect(client, &here.any, here.length) == 0);
    set_nonblocking(listener, 1);
    NEEDS(wait_for(listener, POLLIN) & POLLIN);
    accepted = (int)WORKS(accept(listener, NULL, NULL), "accept on a non-blocking listener");
    IS(fcntl(accepted, F_GETFL) & O_NONBLOCK, 0, "the flag is not inherited");
    IS(fcntl(accepted, F_GETFD) & FD_CLOEXEC, 0, "nor is close-on-exec");
    FAILS(accept(listener, NULL, NULL), EAGAIN, "nobody else waits");
    close(accepted), close(client), close(listener);
}

static void accept_cuts_addresses(void)
{
    int listener, client, accepted;
    struct address from;
    memset(&from, 0x55, sizeof from);
    NEEDS((listener = tcp_listener(4)) >= 0);
    struct address here = local_of(listener);
    NEEDS((client = tcp_socket()) >= 0 && connect(client, &here.any, here.length) == 0);
    from.length = 4;
    accepted = (int)WORKS(accept(listener, &from.any, &from.length), "accepts with little room for the address");
    IS(from.length, here.length, "and says how long the address is");
    IS(((unsigned char *)&from.any)[4], 0x55, "and writes no more than there is room");
    close(accepted);
    close(client), close(listener);
}

static void backlog(void)
{
    int listener, clients[3], accepted = 0, fd;
    NEEDS((listener = tcp_listener(1)) >= 0);
    struct address here = local_of(listener);
    for (int i = 0; i < 3; i++) {
        NEEDS((clients[i] = tcp_socket()) >= 0);
        set_nonblocking(clients[i], 1);
        OK(connect(clients[i], &here.any, here.length) == -1 && errno == EINPROGRESS, "connects without blocking");
        if (i < 2)
            OK(wait_for(clients[i], POLLOUT) & POLLOUT, "one more than the backlog gets in");
    }
    struct pollfd third = { .fd = clients[2], .events = POLLOUT };
    IS(poll(&third, 1, QUIET_MS), 0, "the next one waits outside");
    for (int i = 0; i < 3 && wait_for(listener, POLLIN) & POLLIN; i++)
        if ((fd = accept(listener, NULL, NULL)) >= 0)
            accepted++, close(fd);
    IS(accepted, 3, "and gets in when there is room");
    close(clients[0]), close(clients[1]), close(clients[2]), close(listener);
}

static void listener_close_resets(void)
{
    int listener, client;
    char room[4];
    NEEDS((listener = tcp_listener(4)) >= 0);
    struct address here = local_of(listener);
    NEEDS((client = tcp_socket()) >= 0 && connect(client, &here.any, here.length) == 0);
    close(listener);
    OK(wait_for(client, POLLIN) & POLLIN, "who was not accepted hears that the listener closed");
    FAILS(recv(client, room, sizeof room, 0), ECONNRESET, "as a reset");
    close(client);
    NEEDS((client = tcp_socket()) >= 0);
    FAILS(connect(client, &here.any, here.length), ECONNREFUSED, "nobody listens there any more");
    close(client);
}

/* So many that some draw the port of one that still waits for its peer's goodbye. */
static void long_goodbyes(void)
{
    enum { MANY = 1000 };
    int listener, client, made = 0;
    NEEDS((listener = tcp_listener(MANY)) >= 0);
    struct address here = local_of(listener);
    for (int i = 0; i < MANY; i++) {
        NEEDS((client = tcp_socket()) >= 0);
        made += connect(client, &here.any, here.length) == 0;
        close(client);
    }
    IS(made, MANY, "connections that wait for a goodbye are in nobody's way");
    close(listener);
}

static void same_ends_again(void)
{
    int listener, client, accepted, made, on = 1;
    struct address from = own_address(0);
    NEEDS((listener = tcp_listener(4)) >= 0 && (client = tcp_socket()) >= 0);
    struct address here = local_of(listener);
    setsockopt(client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    NEEDS(bind(client, &from.any, from.length) == 0);
    from = local_of(client);
    NEEDS(connect(client, &here.any, here.length) == 0 && (accepted = accept(listener, NULL, NULL)) >= 0);
    close(client);
    OK(wait_for(accepted, POLLIN) & POLLIN, "the other end hears that its peer left, and stays");
    NEEDS((client = tcp_socket()) >= 0);
    setsockopt(client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    IS(bind(client, &from.any, from.length), 0, "the port can be taken again");
    made = connect(client, &here.any, here.length);
    check(made == 0 || errno == EADDRNOTAVAIL, "connects again or is told why not", "%s", strerror(errno));
    close(client), close(accepted), close(listener);
}

static void connect_without_blocking(void)
{
    int listener, client, error = -1;
    socklen_t length = sizeof error;
    NEEDS((listener = tcp_listener(4)) >= 0);
    struct address here = local_of(listener);
    NEEDS((client = socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
    FAILS(connect(client, &here.any, here.length), EINPROGRESS, "is under way");
    OK(wait_for(client, POLLOUT) & POLLOUT, "polls writable when it is made");
    IS(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length), 0, "SO_ERROR can be asked");
    IS(error, 0, "and is none");
    IS(connect(client, &here.any, here.length), 0, "connecting again finds it made");
    FAILS(connect(client, &here.any, here.length), EISCONN, "and after that it is connected");
    FAILS(listen(client, 1), EINVAL, "a connection does not listen");
    close(client), close(listener);
}

static void refused(void)
{
    int client, closed, error = -1;
    socklen_t length = sizeof error;
    NEEDS((closed = tcp_listener(1)) >= 0);
    struct address here = local_of(closed);
    close(closed);
    NEEDS((client = tcp_socket()) >= 0);
    FAILS(connect(client, &here.any, here.length), ECONNREFUSED, "nobody listens at a port of one's own");
    close(client);
    struct address there = peer_address(PEER_CLOSED);
    NEEDS((client = tcp_socket()) >= 0);
    FAILS(connect(client, &there.any, there.length), ECONNREFUSED, "nor at the peer's");
    FAILS(connect(client, &there.any, there.length), ECONNREFUSED, "the same socket may try again");
    close(client);
    NEEDS((client = socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
    FAILS(connect(client, &there.any, there.length), EINPROGRESS, "without blocking it is under way");
    OK(wait_for(client, POLLOUT) & POLLOUT, "it polls writable when it was refused");
    OK(events_now(client) & POLLERR, "with an error");
    OK(events_now(client) & POLLHUP, "and hung up");
    IS(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length), 0, "SO_ERROR can be asked");
    IS(error, ECONNREFUSED, "and tells why");
    IS(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length), 0, "SO_ERROR can be asked again");
    IS(error, 0, "and tells it once");
    close(client);
}

static void peer_echo(void)
{
    static unsigned char sent[300000], got[300000];
    int fd;
    char rest;
    NEEDS((fd = tcp_peer(ECHO)) >= 0);
    struct address there = peer_address(PEER_TCP), named = remote_of(fd), here = own_address(0), local = local_of(fd);
    OK(same_address(&there, &named), "getpeername is the peer's address");
    here = own_address(port_of(&local));
    OK(same_address(&here, &local), "getsockname is the own address");
    pattern(sent, sizeof sent, 0);
    size_t out = 0, in = 0;
    set_nonblocking(fd, 1);
    while (in < sizeof got) {
        struct pollfd entry = { .fd = fd, .events = (short)(POLLIN | (out < sizeof sent ? POLLOUT : 0)) };
        ssize_t done;
        NEEDS(poll(&entry, 1, PATIENCE_MS) == 1);
        if (entry.revents & POLLOUT && (done = send(fd, sent + out, sizeof sent - out, 0)) > 0)
            out += (size_t)done;
        if (entry.revents & POLLIN) {
            NEEDS((done = recv(fd, got + in, sizeof got - in, 0)) > 0 || errno == EAGAIN);
            in += done > 0 ? (size_t)done : 0;
        }
    }
    OK(!memcmp(sent, got, sizeof got), "everything comes back as it was");
    set_nonblocking(fd, 0);
    IS(shutdown(fd, SHUT_WR), 0, "ends its sending side");
    IS(recv(fd, &rest, 1, 0), 0, "the peer ends too");
    close(fd);
}

static void peer_counts(void)
{
    static unsigned char sent[1 << 20];
    unsigned char octets[8];
    unsigned long long count = 0;
    int fd;
    NEEDS((fd = tcp_peer(COUNT)) >= 0);
    IS(send(fd, sent, sizeof sent, 0), sizeof sent, "a blocking send takes everything");
    struct iovec parts[3] = { { sent, 1000 }, { sent, 0 }, { sent, 2000 } };
    IS(writev(fd, parts, 3), 3000, "writev gathers");
    IS(shutdown(fd, SHUT_WR), 0, "ends its sending side");
    IS(recv_all(fd, octets, 8), 0, "is answered");
    for (int octet = 0; octet < 8; octet++)
        count = count << 8 | octets[octet];
    IS(count, sizeof sent + 3000, "the peer had every byte");
    close(fd);
}

static void peer_sources(void)
{
    static unsigned char room[1 << 20];
    unsigned char octets[8] = { 0, 0, 0, 0, 0, 16, 0, 0 };
    int fd;
    NEEDS((fd = tcp_peer(SOURCE)) >= 0);
    NEEDS(send_all(fd, octets, 8) == 0);
    IS(recv(fd, room, sizeof room, MSG_WAITALL), sizeof room, "MSG_WAITALL waits for all of it");
    OK(is_pattern(room, sizeof room, 0), "every byte in its place");
    IS(recv(fd, room, 1, 0), 0, "then the end");
    close(fd);
}

static void peer_resets(void)
{
    char room[4];
    int fd, error = 0;
    socklen_t length = sizeof error;
    NEEDS((fd = tcp_peer(RESET)) >= 0);
    OK(wait_for(fd, POLLIN) & POLLIN, "a reset polls readable");
    OK(events_now(fd) & POLLHUP, "and hung up");
    OK(events_now(fd) & POLLERR, "and as an error");
    FAILS(recv(fd, room, sizeof room, 0), ECONNRESET, "reading tells of it");
    close(fd);
    NEEDS((fd = tcp_peer(RESET)) >= 0);
    OK(wait_for(fd, POLLIN) & POLLIN, "a second reset polls readable");
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    IS(error, ECONNRESET, "SO_ERROR tells of it");
    IS(recv(fd, room, sizeof room, 0), 0, "after which there is nothing");
    FAILS(shutdown(fd, SHUT_WR), ENOTCONN, "nor anything to shut down");
    FAILS(getpeername(fd, &(struct sockaddr){ 0 }, &(socklen_t){ 0 }), ENOTCONN, "nor a peer");
    close(fd);
    NEEDS((fd = tcp_peer(UNREAD)) >= 0);
    NEEDS(send(fd, "unread", 6, 0) == 6);
    OK(wait_for(fd, POLLIN) & POLLIN, "unread bytes at the peer's close are heard of");
    FAILS(recv(fd, room, sizeof room, 0), ECONNRESET, "as a reset");
    close(fd);
}

static void peer_says_goodbye(void)
{
    char room[4];
    int fd;
    NEEDS((fd = tcp_peer(GOODBYE)) >= 0);
    IS(recv(fd, room, sizeof room, 0), 0, "the end of the peer's side is read");
    IS(send(fd, "still", 5, 0), 5, "while the own side still sends");
    IS(shutdown(fd, SHUT_WR), 0, "until it ends as well");
    close(fd);
}

static void any_address_listens(void)
{
    int listener, client, accepted;
    struct address any = any_address(0);
    NEEDS((listener = tcp_socket()) >= 0);
    IS(bind(listener, &any.any, any.length), 0, "binds to any address");
    IS(listen(listener, 4), 0, "listens there");
    struct address at = local_of(listener), shown = any_address(port_of(&at));
    OK(same_address(&at, &shown), "getsockname is any address, with a port");
    struct address here = own_address(port_of(&at));
    NEEDS((client = tcp_socket()) >= 0);
    IS(connect(client, &here.any, here.length), 0, "the own address leads there");
    NEEDS((accepted = accept(listener, NULL, NULL)) >= 0);
    struct address near = local_of(accepted);
    OK(same_address(&near, &here), "the accepted end knows which address it was");
    close(accepted), close(client), close(listener);
}

static void listens_without_bind(void)
{
    int listener;
    NEEDS((listener = tcp_socket()) >= 0);
    IS(listen(listener, 4), 0, "listens without having been bound");
    struct address at = local_of(listener);
    OK(port_of(&at) != 0, "at a port of the system's choosing");
    close(listener);
}

static void dual_stack(void)
{
    int listener, client, accepted, off = 0, on = 1;
    variant = V6;
    struct address any = any_address(0);
    NEEDS((listener = tcp_socket()) >= 0);
    IS(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), 0, "an IPv6 socket may take IPv4");
    NEEDS(bind(listener, &any.any, any.length) == 0 && listen(listener, 4) == 0);
    struct address at = local_of(listener);
    FAILS(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), EINVAL, "once bound that is settled");
    variant = V4;
    struct address here = own_address(port_of(&at)), from;
    NEEDS((client = tcp_socket()) >= 0);
    IS(connect(client, &here.any, here.length), 0, "IPv4 leads there");
    from.length = sizeof from.storage;
    NEEDS((accepted = accept(listener, &from.any, &from.length)) >= 0);
    OK(from.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&from.v6.sin6_addr), "the sender's address is mapped");
    struct address near = local_of(accepted);
    OK(near.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&near.v6.sin6_addr), "and so is the own");
    close(accepted), close(client), close(listener);

    variant = V6;
    NEEDS((listener = tcp_socket()) >= 0);
    IS(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), 0, "an IPv6 socket may refuse IPv4");
    NEEDS(bind(listener, &any.any, any.length) == 0 && listen(listener, 4) == 0);
    at = local_of(listener);
    variant = V4;
    here = own_address(port_of(&at));
    NEEDS((client = tcp_socket()) >= 0);
    FAILS(connect(client, &here.any, here.length), ECONNREFUSED, "which IPv4 finds refused");
    NEEDS((accepted = tcp_socket()) >= 0);
    any = any_address(port_of(&at));
    IS(bind(accepted, &any.any, any.length), 0, "and whose port is free for IPv4");
    close(accepted), close(client), close(listener);
}

static void v6_only_takes_no_v4(void)
{
    int on = 1, fd;
    variant = MAPPED;
    struct address here = own_address(0);
    NEEDS((fd = tcp_socket()) >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
    FAILS(bind(fd, &here.any, here.length), EINVAL, "an IPv6-only socket binds to no mapped address");
    FAILS(connect(fd, &here.any, here.length), ENETUNREACH, "nor connects to one");
    close(fd);
}

static void same_port_twice(void)
{
    int listener, other, on = 1;
    NEEDS((listener = tcp_listener(4)) >= 0 && (other = tcp_socket()) >= 0);
    struct address here = local_of(listener), any = any_address(port_of(&here));
    FAILS(bind(other, &here.any, here.length), EADDRINUSE, "a port in use is refused");
    FAILS(bind(other, &any.any, any.length), EADDRINUSE, "at any address too");
    setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    FAILS(bind(other, &here.any, here.length), EADDRINUSE, "SO_REUSEADDR does not share a port that listens");
    close(other), close(listener);
}

static void reuse_port(void)
{
    int listeners[2], on = 1, client, accepted;
    struct address here = own_address(0);
    for (int i = 0; i < 2; i++) {
        NEEDS((listeners[i] = tcp_socket()) >= 0);
        IS(setsockopt(listeners[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0, "SO_REUSEPORT can be set");
        IS(bind(listeners[i], &here.any, here.length), 0, "both take the same port");
        IS(listen(listeners[i], 4), 0, "both listen");
        here = local_of(listeners[0]);
    }
    NEEDS((client = tcp_socket()) >= 0);
    IS(connect(client, &here.any, here.length), 0, "it leads to one of them");
    struct pollfd entries[2] = { { .fd = listeners[0], .events = POLLIN }, { .fd = listeners[1], .events = POLLIN } };
    IS(poll(entries, 2, PATIENCE_MS), 1, "and to one only");
    NEEDS((accepted = accept(listeners[entries[0].revents & POLLIN ? 0 : 1], NULL, NULL)) >= 0);
    close(accepted), close(client), close(listeners[0]), close(listeners[1]);
    int alone, plain;
    NEEDS((alone = tcp_listener(4)) >= 0 && (plain = tcp_socket()) >= 0);
    here = local_of(alone);
    setsockopt(plain, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    FAILS(bind(plain, &here.any, here.length), EADDRINUSE, "where the first did not say so, the second gets nothing");
    close(alone), close(plain);
}

static void server_returns(void)
{
    int listener, client, accepted, again, on = 1;
    NEEDS((listener = tcp_listener(4)) >= 0);
    struct address here = local_of(listener);
    NEEDS((client = tcp_socket()) >= 0 && connect(client, &here.any, here.length) == 0);
    NEEDS((accepted = accept(listener, NULL, NULL)) >= 0);
    close(listener);
    NEEDS((again = tcp_socket()) >= 0);
    setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int bound = bind(again, &here.any, here.length);
    check(bound == 0 || errno == EADDRINUSE, "a server binds again or is told why not", "%s", strerror(errno));
    close(again), close(accepted), close(client);
    NEEDS((again = tcp_socket()) >= 0);
    setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct address port = any_address(0);
    IS(bind(again, &port.any, port.length), 0, "it finds another port in any case");
    close(again);
}

static void binds_before_connect(void)
{
    int listener, client;
    struct address here = own_address(0);
    NEEDS((listener = tcp_listener(4)) >= 0 && (client = tcp_socket()) >= 0);
    struct address there = local_of(listener);
    IS(bind(client, &here.any, here.length), 0, "binds before it connects");
    struct address bound = local_of(client);
    OK(port_of(&bound) != 0, "and has a port");
    FAILS(bind(client, &here.any, here.length), EINVAL, "binds once");
    IS(connect(client, &there.any, there.length), 0, "connects");
    struct address still = local_of(client);
    OK(same_address(&bound, &still), "from the address that it was bound to");
    close(client), close(listener);
}

static void peeks(void)
{
    int ends[2], count = -1;
    char room[16];
    NEEDS(tcp_pair(ends) == 0);
    FAILS(recv(ends[1], room, 1, MSG_DONTWAIT), EAGAIN, "MSG_DONTWAIT does not wait");
    FAILS(recv(ends[1], room, 1, MSG_DONTWAIT | MSG_PEEK), EAGAIN, "nor when it only looks");
    IS(ioctl(ends[1], FIONREAD, &count), 0, "FIONREAD can be asked");
    IS(count, 0, "and is nothing");
    NEEDS(send(ends[0], "abcdef", 6, 0) == 6 && wait_for(ends[1], POLLIN) & POLLIN);
    IS(recv(ends[1], room, 3, MSG_PEEK), 3, "MSG_PEEK gives what there is room for");
    IS(recv(ends[1], room, sizeof room, MSG_PEEK), 6, "and leaves it");
    IS(ioctl(ends[1], FIONREAD, &count), 0, "FIONREAD can be asked again");
    IS(count, 6, "and counts what is unread");
    IS(recv(ends[1], room, 0, 0), 0, "reading nothing gives nothing");
    IS(recv(ends[1], room, 2, 0), 2, "part of it is read");
    IS(ioctl(ends[1], FIONREAD, &count), 0, "FIONREAD can be asked a third time");
    IS(count, 4, "and counts the rest");
    struct iovec parts[2] = { { room, 1 }, { room + 1, 15 } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    IS(recvmsg(ends[1], &message, MSG_PEEK), 4, "looking fills several places");
    OK(!memcmp(room, "cdef", 4), "in order");
    IS(recv(ends[1], nothing, 2, MSG_TRUNC), 2, "MSG_TRUNC throws bytes of a stream away");
    IS(recv(ends[1], room, sizeof room, 0), 2, "and only those");
    OK(!memcmp(room, "ef", 2), "the rest is what follows");
    close_pair(ends);
}

static void gathers_and_scatters(void)
{
    int ends[2];
    char a[4], b[4], name[128];
    NEEDS(tcp_pair(ends) == 0);
    struct iovec out[3] = { { "ab", 2 }, { "", 0 }, { "cdef", 4 } }, in[2] = { { a, 3 }, { b, 4 } };
    IS(writev(ends[0], out, 3), 6, "writev sends the parts");
    NEEDS(wait_for(ends[1], POLLIN) & POLLIN);
    IS(readv(ends[1], in, 2), 6, "readv fills the parts");
    OK(!memcmp(a, "abc", 3) && !memcmp(b, "def", 3), "in order");
    struct msghdr sent = { .msg_iov = out, .msg_iovlen = 3 };
    IS(sendmsg(ends[0], &sent, 0), 6, "sendmsg sends the parts");
    NEEDS(wait_for(ends[1], POLLIN) & POLLIN);
    struct msghdr got = { .msg_name = name, .msg_namelen = sizeof name, .msg_iov = in, .msg_iovlen = 2, .msg_flags = 77 };
    IS(recvmsg(ends[1], &got, 0), 6, "recvmsg fills the parts");
    IS(got.msg_namelen, 0, "a stream names no sender");
    IS(got.msg_flags, 0, "and has no flags");
    volatile int negative = -1, too_many = 1025;
    FAILS(writev(ends[0], out, negative), EINVAL, "there is no negative number of parts");
    FAILS(readv(ends[1], in, too_many), EINVAL, "nor more than 1,024");
    IS(writev(ends[0], out, 0), 0, "no parts are no bytes");
    struct msghdr many = { .msg_iov = out, .msg_iovlen = 1025 };
    FAILS(sendmsg(ends[0], &many, 0), EMSGSIZE, "sendmsg says it its own way");
    close_pair(ends);
}

static void several_messages(void)
{
    int ends[2];
    char room[2][8];
    NEEDS(tcp_pair(ends) == 0);
    struct iovec out[2] = { { "one", 3 }, { "two", 3 } };
    struct mmsghdr sent[2] = { { .msg_hdr = { .msg_iov = &out[0], .msg_iovlen = 1 } },
                               { .msg_hdr = { .msg_iov = &out[1], .msg_iovlen = 1 } } };
    IS(sendmmsg(ends[0], sent, 2, 0), 2, "sendmmsg sends both");
    OK(sent[0].msg_len == 3 && sent[1].msg_len == 3, "and says how much of each");
    NEEDS(wait_for(ends[1], POLLIN) & POLLIN);
    struct iovec in[2] = { { room[0], 3 }, { room[1], 8 } };
    struct mmsghdr got[2] = { { .msg_hdr = { .msg_iov = &in[0], .msg_iovlen = 1 } },
                              { .msg_hdr = { .msg_iov = &in[1], .msg_iovlen = 1 } } };
    IS(recvmmsg(ends[1], got, 2, MSG_WAITFORONE, NULL), 2, "recvmmsg fills both");
    OK(got[0].msg_len == 3 && got[1].msg_len == 3, "and says how much of each");
    close_pair(ends);
}

static void fills_up(void)
{
    static char bytes[65536], room[65536];
    int ends[2], queued = 0;
    size_t sent = 0, got = 0;
    ssize_t step;
    NEEDS(tcp_pair(ends) == 0);
    /* Said, the sizes stay what they are. */
    int size = 65536;
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(ends[1], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    set_nonblocking(ends[0], 1);
    for (int quiet = 0; quiet < 30 && sent < (64u << 20);) {
        step = send(ends[0], bytes, sizeof bytes, 0);
        if (step > 0)
            sent += (size_t)step, quiet = 0;
        else if (errno == EAGAIN)
            quiet++, poll(NULL, 0, 20);
        else
            break;
    }
    FAILS(send(ends[0], bytes, sizeof bytes, 0), EAGAIN, "a full connection takes no more");
    IS(events_now(ends[0]) & POLLOUT, 0, "and polls unwritable");
    IS(ioctl(ends[0], TIOCOUTQ, &queued), 0, "TIOCOUTQ can be asked");
    OK(queued > 0, "and counts what waits");
    struct timeval brief = { .tv_usec = 30000 };
    set_nonblocking(ends[0], 0);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief);
    FAILS(send(ends[0], bytes, 1 << 12, 0), EAGAIN, "SO_SNDTIMEO ends the wait");
    set_nonblocking(ends[1], 1);
    while (got < sent && (wait_for(ends[1], POLLIN) & POLLIN) && (step = recv(ends[1], room, sizeof room, 0)) > 0)
        got += (size_t)step;
    IS(got, sent, "everything that was taken arrives");
    OK(wait_for(ends[0], POLLOUT) & POLLOUT, "and there is room again");
    close_pair(ends);
}

static void times_out(void)
{
    int ends[2], listener;
    char room[4];
    struct timeval brief = { .tv_usec = 30000 };
    NEEDS(tcp_pair(ends) == 0 && (listener = tcp_listener(1)) >= 0);
    IS(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief), 0, "SO_RCVTIMEO can be set");
    FAILS(recv(ends[0], room, sizeof room, 0), EAGAIN, "and ends a receive");
    FAILS(read(ends[0], room, sizeof room), EAGAIN, "and a read");
    FAILS(recv(ends[0], room, sizeof room, MSG_WAITALL), EAGAIN, "and one that wants all");
    NEEDS(send(ends[1], "ab", 2, 0) == 2);
    IS(recv(ends[0], room, sizeof room, MSG_WAITALL), 2, "which gives what came by then");
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief);
    FAILS(accept(listener, NULL, NULL), EAGAIN, "and an accept");
    close_pair(ends), close(listener);
}

static long long milliseconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - began->tv_sec) * 1000LL + (now.tv_nsec - began->tv_nsec) / 1000000;
}

/* Sends eight bytes that wait and says whether nothing came meanwhile; again where the machine took so long that they
 * need not have waited. What was sent is read at the end of each turn. */
static int small_waits(int ends[2], int by_flag)
{
    int on = 1, off = 0, quiet = 0;
    char room[8];
    for (int turn = 0; turn < 100; turn++) {
        struct pollfd entry = { .fd = ends[1], .events = POLLIN };
        struct timespec began;
        clock_gettime(CLOCK_MONOTONIC, &began);
        if (!by_flag && setsockopt(ends[0], IPPROTO_TCP, TCP_CORK, &on, sizeof on) < 0)
            return 0;
        if (send(ends[0], "head", 4, by_flag ? MSG_MORE : 0) != 4)
            return 0;
        quiet = poll(&entry, 1, QUIET_MS) == 0;
        long long passed = milliseconds_since(&began);
        if (send(ends[0], "body", 4, 0) != 4)
            return 0;
        if (!by_flag && setsockopt(ends[0], IPPROTO_TCP, TCP_CORK, &off, sizeof off) < 0)
            return 0;
        if (recv(ends[1], room, 8, MSG_WAITALL) != 8 || memcmp(room, "headbody", 8))
            return 0;
        if (passed < 150)
            break;
    }
    return quiet;
}

static void corks(void)
{
    int ends[2];
    NEEDS(tcp_pair(ends) == 0);
    OK(small_waits(ends, 0), "TCP_CORK holds what is small until it is uncorked");
    OK(small_waits(ends, 1), "MSG_MORE holds it until a call says that there is no more");
    close_pair(ends);
}

static void sends_files(void)
{
    static unsigned char bytes[100000], room[100000];
    char path[] = "/tmp/conformance-XXXXXX";
    int ends[2], file = mkstemp(path);
    off_t offset = 50000;
    NEEDS(file >= 0 && tcp_pair(ends) == 0);
    unlink(path);
    pattern(bytes, sizeof bytes, 0);
    NEEDS(write(file, bytes, sizeof bytes) == sizeof bytes && lseek(file, 0, SEEK_SET) == 0);
    IS(sendfile(ends[0], file, NULL, 30000), 30000, "sendfile sends from where the file is");
    IS(lseek(file, 0, SEEK_CUR), 30000, "and moves on in it");
    NEEDS(recv_all(ends[1], room, 30000) == 0);
    OK(is_pattern(room, 30000, 0), "the bytes of the file");
    IS(sendfile(ends[0], file, &offset, 60000), 50000, "with an offset it sends from there to the end");
    IS(offset, 100000, "and moves the offset");
    IS(lseek(file, 0, SEEK_CUR), 30000, "and not the file");
    NEEDS(recv_all(ends[1], room, 50000) == 0);
    OK(is_pattern(room, 50000, 50000), "the bytes from there");
    IS(sendfile(ends[0], file, &offset, 10), 0, "at the end there is nothing");
    close_pair(ends), close(file);
}

static void disconnects(void)
{
    int ends[2];
    struct sockaddr none = { .sa_family = AF_UNSPEC };
    NEEDS(tcp_pair(ends) == 0);
    IS(connect(ends[0], &none, sizeof none), 0, "connecting to AF_UNSPEC ends a connection");
    FAILS(getpeername(ends[0], &(struct sockaddr){ 0 }, &(socklen_t){ 0 }), ENOTCONN, "there is no peer then");
    close_pair(ends);
}

void streams(void)
{
    RUN_VARIANTS(streams, begins_and_ends);
    RUN_VARIANTS(streams, half_close);
    RUN_VARIANTS(streams, shut_reading);
    RUN_VARIANTS(streams, linger_zero_resets);
    RUN_VARIANTS(streams, unread_bytes_reset);
    RUN_VARIANTS(streams, linger_waits);
    RUN_VARIANTS(streams, accept_flags);
    RUN_VARIANTS(streams, accept_cuts_addresses);
    RUN(streams, backlog);
    RUN_VARIANTS(streams, listener_close_resets);
    RUN_VARIANTS(streams, long_goodbyes);
    RUN_VARIANTS(streams, same_ends_again);
    RUN_VARIANTS(streams, connect_without_blocking);
    RUN_VARIANTS(streams, refused);
    RUN_VARIANTS(streams, peer_echo);
    RUN_VARIANTS(streams, peer_counts);
    RUN_VARIANTS(streams, peer_sources);
    RUN_VARIANTS(streams, peer_resets);
    RUN_VARIANTS(streams, peer_says_goodbye);
    RUN_VARIANTS(streams, any_address_listens);
    RUN_VARIANTS(streams, listens_without_bind);
    RUN(streams, dual_stack);
    RUN(streams, v6_only_takes_no_v4);
    RUN_VARIANTS(streams, same_port_twice);
    RUN_VARIANTS(streams, reuse_port);
    RUN_VARIANTS(streams, server_returns);
    RUN_VARIANTS(streams, binds_before_connect);
    RUN_VARIANTS(streams, peeks);
    RUN_VARIANTS(streams, gathers_and_scatters);
    RUN_VARIANTS(streams, several_messages);
    RUN_VARIANTS(streams, fills_up);
    RUN_VARIANTS(streams, times_out);
    RUN_VARIANTS(streams, corks);
    RUN_VARIANTS(streams, sends_files);
    RUN(streams, disconnects);
}
