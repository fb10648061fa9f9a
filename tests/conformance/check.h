/* What all subjects share: checks, addresses, sockets in the usual states, and the peer's services.
 *
 * A check says nothing when it passes and one line when it fails:
 *
 *     failed: SUBJECT.TEST/VARIANT: what should have been (what was instead)
 *
 * The part before the parenthesis is its name, which `differences.txt` goes by.
 */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The longest that anything here may take before the run is given up. */
#define PATIENCE_MS 30000
/* How long nothing must happen for "nothing happens". */
#define QUIET_MS 50

/* Where the peer serves. */
#define PEER_TCP 4007
#define PEER_UDP 4008
/* A port of the peer where nobody listens. */
#define PEER_CLOSED 4009

/* What a connection to PEER_TCP asks for with its first byte. */
enum service {
    ECHO = 'e',    /* send everything back, end when the other end does */
    COUNT = 'c',   /* read to the end, then send the number of bytes as eight octets */
    SOURCE = 's',  /* send as many bytes as the next eight octets say, then end */
    RESET = 'r',   /* close with a reset at once */
    UNREAD = 'u',  /* close with a byte unread, which is a reset too */
    GOODBYE = 'g', /* end the sending side at once, then read to the end */
    HOLD = 'h',    /* read nothing until the other end ends */
};

/* How the addresses of a test are written. */
enum variant { V4, V6, MAPPED };

/* What a test runs on. */
extern enum variant variant;
extern const char *own_name, *peer_name;

void begin(const char *subject, const char *test, int named_variant);
void check(int passed, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A subject runs `test` once; with_variants for each way of writing addresses. */
typedef void test_function(void);
/* Whether the run is about this test. */
int is_wanted(const char *subject, const char *test);
void run(const char *subject, const char *test, test_function *function);
void run_variants(const char *subject, const char *test, test_function *function);

#define RUN(subject, test) run(#subject, #test, test)
#define RUN_VARIANTS(subject, test) run_variants(#subject, #test, test)

/* `condition` holds. */
#define OK(condition, what) check(!!(condition), what, "%s", "not so: " #condition)
/* `call` gives `value`. */
#define IS(call, value, what) check_is((long long)(call), (long long)(value), #call, what)
/* `call` fails with this error number. */
#define FAILS(call, error, what) (errno = 0, check_fails((long long)(call), error, #call, what))
/* `call` gives no error, and is given. */
#define WORKS(call, what) (errno = 0, check_works((long long)(call), #call, what))
/* Without this the test cannot go on. */
#define NEEDS(condition)                                                                                               \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if (!(condition)) {                                                                                            \
            check(0, "goes as far as the checks", "line %d: not so: %s: %s", __LINE__, #condition, strerror(errno));   \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

void check_is(long long got, long long wanted, const char *call, const char *what);
void check_fails(long long got, int wanted, const char *call, const char *what);
long long check_works(long long got, const char *call, const char *what);

struct address {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage storage;
    };
};

/* Addresses as the variant writes them. */
struct address own_address(int port);
struct address peer_address(int port);
struct address any_address(int port);
int port_of(const struct address *address);
struct address local_of(int fd);
struct address remote_of(int fd);
int same_address(const struct address *a, const struct address *b);

int family(void);
int tcp_socket(void);
int udp_socket(void);
/* A socket that listens at the own address, at a port of the system's choosing. */
int tcp_listener(int backlog);
/* Both ends of a connection of the node with itself. */
int tcp_pair(int ends[2]);
/* Two datagram sockets, each connected to the other. */
int udp_pair(int ends[2]);
/* A connection to a service of the peer. */
int tcp_peer(enum service service);
void close_pair(int ends[2]);

int set_nonblocking(int fd, int on);
/* Waits for one of `events` (or an error) and gives what there is. */
int wait_for(int fd, int events);
/* What there is now. */
int events_now(int fd);
/* Waits until exactly `events` are there, as they may come one by one; gives the last. */
int wait_exactly(int fd, int asked, int events);
/* Sends or reads all of it; 0 where that was possible. */
int send_all(int fd, const void *data, size_t length);
int recv_all(int fd, void *room, size_t length);
/* Bytes whose place can be told from their value. */
void pattern(unsigned char *bytes, size_t length, size_t at);
int is_pattern(const unsigned char *bytes, size_t length, size_t at);

/* A null pointer that the compiler does not know to be one. */
extern void *volatile nothing;

void start_ticking(int flags);
void stop_ticking(void);
extern _Atomic int ticks;

int serve_peer(void);

void streams(void);
void datagrams(void);
void ancillary(void);
void pings(void);
void options(void);
void polling(void);
void errors(void);
void names(void);
void threads(void);
void signals(void);
void descriptors(void);
void nonsense(void);

#endif
