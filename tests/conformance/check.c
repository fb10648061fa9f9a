/* The checks and what they stand on. */
#include <stdarg.h>

#include "check.h"

enum variant variant;
const char *own_name, *peer_name;
void *volatile nothing = NULL;
_Atomic int ticks;

static const char *const variant_names[] = { "v4", "v6", "mapped" };
static char current[128];
static unsigned passed, failed;
static _Atomic unsigned alive;
static const char *only_subject, *only_test;
static struct in_addr own4, peer4;
static struct in6_addr own6, peer6;

void begin(const char *subject, const char *test, int named)
{
    snprintf(current, sizeof current, "%s.%s%s%s", subject, test, named ? "/" : "", named ? variant_names[variant] : "");
    alive++;
}

void check(int ok, const char *what, const char *format, ...)
{
    va_list arguments;
    alive++;
    if (ok) {
        passed++;
        return;
    }
    failed++;
    printf("failed: %s: %s (", current, what);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf(")\n");
    fflush(stdout);
}

void check_is(long long got, long long wanted, const char *call, const char *what)
{
    int error = errno;
    check(got == wanted, what, "%s gave %lld, not %lld%s%s", call, got, wanted, got == -1 ? "; " : "",
          got == -1 ? strerror(error) : "");
}

void check_fails(long long got, int wanted, const char *call, const char *what)
{
    int error = errno;
    if (got != -1)
        check(0, what, "%s gave %lld, not %s", call, got, strerror(wanted));
    else
        check(error == wanted, what, "%s: %s, not %s", call, strerror(error), strerror(wanted));
}

long long check_works(long long got, const char *call, const char *what)
{
    int error = errno;
    check(got >= 0, what, "%s: %s", call, strerror(error));
    return got;
}

int is_wanted(const char *subject, const char *test)
{
    return (!only_subject || !strcmp(only_subject, subject)) && (!only_test || !strcmp(only_test, test));
}

void run(const char *subject, const char *test, test_function *function)
{
    if (!is_wanted(subject, test))
        return;
    variant = V4;
    begin(subject, test, 0);
    function();
}

void run_variants(const char *subject, const char *test, test_function *function)
{
    if (!is_wanted(subject, test))
        return;
    for (variant = V4; variant <= MAPPED; variant++) {
        begin(subject, test, 1);
        function();
    }
}

int family(void)
{
    return variant == V4 ? AF_INET : AF_INET6;
}

static struct address address_of(const struct in_addr *v4, const struct in6_addr *v6, int port)
{
    struct address address;
    memset(&address, 0, sizeof address);
    if (variant == V4) {
        address.length = sizeof address.v4;
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons((in_port_t)port);
        address.v4.sin_addr = *v4;
        return address;
    }
    address.length = sizeof address.v6;
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons((in_port_t)port);
    address.v6.sin6_addr = *v6;
    if (variant == MAPPED) {
        memset(&address.v6.sin6_addr, 0, 10);
        memset(&address.v6.sin6_addr.s6_addr[10], 0xff, 2);
        memcpy(&address.v6.sin6_addr.s6_addr[12], v4, 4);
    }
    return address;
}

struct address own_address(int port)
{
    return address_of(&own4, &own6, port);
}

struct address peer_address(int port)
{
    return address_of(&peer4, &peer6, port);
}

struct address any_address(int port)
{
    struct in_addr any4 = { INADDR_ANY };
    struct in6_addr any6 = IN6ADDR_ANY_INIT;
    struct address address = address_of(&any4, &any6, port);
    if (variant == MAPPED)
        address.v6.sin6_addr = any6;
    return address;
}

int port_of(const struct address *address)
{
    return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

struct address local_of(int fd)
{
    struct address address;
    memset(&address, 0, sizeof address);
    address.length = sizeof address.storage;
    if (getsockname(fd, &address.any, &address.length) < 0)
        address.length = 0;
    return address;
}

struct address remote_of(int fd)
{
    struct address address;
    memset(&address, 0, sizeof address);
    address.length = sizeof address.storage;
    if (getpeername(fd, &address.any, &address.length) < 0)
        address.length = 0;
    return address;
}

int same_address(const struct address *a, const struct address *b)
{
    if (a->length != b->length || a->any.sa_family != b->any.sa_family || port_of(a) != port_of(b))
        return 0;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return !memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16);
}

int tcp_socket(void)
{
    return socket(family(), SOCK_STREAM, 0);
}

int udp_socket(void)
{
    return socket(family(), SOCK_DGRAM, 0);
}

int tcp_listener(int backlog)
{
    struct address here = own_address(0);
    int fd = tcp_socket();
    if (fd < 0 || bind(fd, &here.any, here.length) < 0 || listen(fd, backlog) < 0)
        return -1;
    return fd;
}

int tcp_pair(int ends[2])
{
    int listener = tcp_listener(1);
    struct address there = local_of(listener);
    ends[0] = tcp_socket();
    if (listener < 0 || ends[0] < 0 || connect(ends[0], &there.any, there.length) < 0)
        return -1;
    ends[1] = accept(listener, NULL, NULL);
    close(listener);
    return ends[1] < 0 ? -1 : 0;
}

int udp_pair(int ends[2])
{
    struct address here = own_address(0);
    for (int end = 0; end < 2; end++) {
        ends[end] = udp_socket();
        if (ends[end] < 0 || bind(ends[end], &here.any, here.length) < 0)
            return -1;
    }
    for (int end = 0; end < 2; end++) {
        struct address there = local_of(ends[!end]);
        if (connect(ends[end], &there.any, there.length) < 0)
            return -1;
    }
    return 0;
}

int tcp_peer(enum service service)
{
    struct address there = peer_address(PEER_TCP);
    char asked = (char)service;
    int fd = tcp_socket();
    if (fd < 0 || connect(fd, &there.any, there.length) < 0 || send(fd, &asked, 1, 0) != 1)
        return -1;
    return fd;
}

void close_pair(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

int set_nonblocking(int fd, int on)
{
    int flags = fcntl(fd, F_GETFL);
    return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

int wait_for(int fd, int events)
{
    struct pollfd entry = { .fd = fd, .events = (short)events };
    return poll(&entry, 1, PATIENCE_MS) == 1 ? entry.revents : 0;
}

int events_now(int fd)
{
    struct pollfd entry = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI };
    return poll(&entry, 1, 0) == 1 ? entry.revents : 0;
}

int wait_exactly(int fd, int asked, int events)
{
    struct timespec step = { .tv_nsec = 1000000 };
    struct pollfd entry = { .fd = fd, .events = (short)asked };
    for (int turn = 0; turn < PATIENCE_MS / 4; turn++) {
        entry.revents = 0;
        if (poll(&entry, 1, 0) >= 0 && entry.revents == events)
            break;
        nanosleep(&step, NULL);
    }
    return entry.revents;
}

int send_all(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent < 0)
            return -1;
        at += sent;
        length -= (size_t)sent;
    }
    return 0;
}

int recv_all(int fd, void *room, size_t length)
{
    char *at = room;
    while (length > 0) {
        ssize_t got = recv(fd, at, length, 0);
        if (got <= 0)
            return -1;
        at += got;
        length -= (size_t)got;
    }
    return 0;
}

void pattern(unsigned char *bytes, size_t length, size_t at)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)((at + i) * 2654435761u >> 13);
}

int is_pattern(const unsigned char *bytes, size_t length, size_t at)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != (unsigned char)((at + i) * 2654435761u >> 13))
            return 0;
    return 1;
}

/* Signals, again and again, so that a call that blocks meets one however the threads are scheduled. */

static void tick(int number)
{
    int error = errno;
    (void)number;
    ticks++;
    errno = error;
}

void start_ticking(int flags)
{
    struct sigaction action = { .sa_handler = tick, .sa_flags = flags };
    struct itimerval every = { .it_interval.tv_usec = 10000, .it_value.tv_usec = 10000 };
    ticks = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

void stop_ticking(void)
{
    struct itimerval never = { .it_value.tv_usec = 0 };
    struct sigaction ignored = { .sa_handler = SIG_IGN };
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &ignored, NULL);
}

/* A test that hangs ends the run, and says which one it was. */
static void *watch(void *unused)
{
    unsigned seen = alive;
    int quiet = 0;
    (void)unused;
    for (;;) {
        struct timespec second = { .tv_sec = 1 };
        nanosleep(&second, NULL);
        quiet = alive == seen ? quiet + 1 : 0;
        seen = alive;
        if (quiet > 3 * PATIENCE_MS / 1000) {
            printf("failed: %s: comes to an end (it hangs)\n%u passed, %u failed\n", current, passed, failed + 1);
            fflush(stdout);
            _exit(2);
        }
    }
    return NULL;
}

static int start_watching(void)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int made = pthread_create(&thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return made == 0 ? pthread_detach(thread) : made;
}

static int resolve(const char *name, struct in_addr *v4, struct in6_addr *v6)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    int both = 0, code = getaddrinfo(name, NULL, &hints, &found);
    if (code != 0) {
        fprintf(stderr, "conformance: %s: %s\n", name, gai_strerror(code));
        return -1;
    }
    for (struct addrinfo *one = found; one; one = one->ai_next) {
        if (one->ai_family == AF_INET)
            memcpy(v4, &((struct sockaddr_in *)one->ai_addr)->sin_addr, sizeof *v4), both |= 1;
        else if (one->ai_family == AF_INET6)
            memcpy(v6, &((struct sockaddr_in6 *)one->ai_addr)->sin6_addr, sizeof *v6), both |= 2;
    }
    freeaddrinfo(found);
    return both == 3 ? 0 : -1;
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        test_function *function;
    } subjects[] = { { "streams", streams },     { "datagrams", datagrams }, { "ancillary", ancillary },
                     { "pings", pings },         { "options", options },     { "polling", polling },
                     { "errors", errors },       { "names", names },         { "threads", threads },
                     { "signals", signals },     { "descriptors", descriptors }, { "nonsense", nonsense } };
    if (count == 2 && !strcmp(arguments[1], "serve"))
        return serve_peer();
    if (count < 3) {
        fprintf(stderr, "conformance serve\nconformance OWN-NAME PEER-NAME [SUBJECT [TEST]]\n");
        return 2;
    }
    own_name = arguments[1];
    peer_name = arguments[2];
    only_subject = count > 3 ? arguments[3] : NULL;
    only_test = count > 4 ? arguments[4] : NULL;
    signal(SIGPIPE, SIG_IGN);
    if (resolve(own_name, &own4, &own6) < 0 || resolve(peer_name, &peer4, &peer6) < 0 || start_watching() != 0)
        return 2;
    for (size_t number = 0; number < sizeof subjects / sizeof *subjects; number++)
        if (!only_subject || !strcmp(only_subject, subjects[number].name))
            subjects[number].function();
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0;
}
