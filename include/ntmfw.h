/* NTMfw: sockets that reach a node by its name, wherever it is.
 *
 * Each call has the name of a call of the C library with `ntmfw_` before it, and its prototype, its constants,
 * its structs and its errno. <ntmfw_posix.h> renames the C library's calls to these, for programs that are only
 * to be compiled again.
 *
 * Descriptors: those that are not NTM sockets are the system's, and a call on one is the system's call, with its errors.
 * Threads: any thread may make any call at any time, two of them on one socket as well.
 * Blocking: as in the C library. A call that is said to block does not where the descriptor is O_NONBLOCK or the call says
 *   MSG_DONTWAIT, not for longer than SO_RCVTIMEO or SO_SNDTIMEO, and ends with EINTR after a signal whose handler was
 *   installed without SA_RESTART.
 * Ownership: no pointer that a call is given is used after it is back, but for what ntmfw_on_event is given.
 * Errors: those that are not told with each call and may come from all: EBADF, EFAULT for a null pointer, ENOMEM, ENETDOWN after
 *   ntmfw_fini and in a child of fork, EIO for a fault inside the library. ntmfw_strerror often says more than errno.
 */

#ifndef NTMFW_H
#define NTMFW_H

/* Made by cbindgen from ntmfw/src/capi; `make header` makes it anew. */

#include <netdb.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/* Some are declared only with _GNU_SOURCE. */
struct mmsghdr;
struct timespec;

#ifdef __cplusplus
extern "C" {
#endif

/* `fcntl(2)`. The descriptor is the kernel's, and so are its flags; a duplicate (`F_DUPFD`, `F_DUPFD_CLOEXEC`) is the
 * same socket. */
int ntmfw_fcntl(int fd, int command, ...);

/* `ioctl(2)`: `FIONREAD` tells what can be read from the socket, `TIOCOUTQ` what the other end has not acknowledged;
 * `FIONBIO` is the descriptor's. */
int ntmfw_ioctl(int fd, unsigned long request, ...);

#ifdef __cplusplus
}
#endif

/*
 The level of the options that only NTM sockets have.
 */
#define SOL_NTMFW 20052

/*
 Set to 1, the descriptor carries data from now on: what is written to it with the system's own `write` reaches the
 peer, what the peer sends can be read from it with `read`, and the system's `poll` and `epoll` tell of both, for
 whoever holds it: a child, a program after `exec`, another process. It can be switched in the middle of a stream, and
 not back (0 is `EINVAL`). `ENOTCONN` where the socket neither has a peer nor listens. Read, it tells whether the
 descriptor carries data.

 - It happens by itself where others will read and write the descriptor: before `fork`, for all sockets that have a peer
   or listen; in `ntmfw_dup2` and its kin onto the descriptors 0, 1 and 2; in `ntmfw_sendmsg` of a descriptor
   (`SCM_RIGHTS`). Not before `vfork` and `posix_spawn`, of which nobody is told.
 - The process that made the socket has to go on running: the connection is in it. When it ends, holders read the end.
 - The peer reads the end when the last holder has closed, and a reset where something was left unread.
 - A reset by the peer is `ECONNRESET` where the process that made the socket holds a descriptor of it still, or where
   something written was not sent yet; else holders read the end.
 - The `ntmfw_` calls go on working, in a child as well, but slower than before. Options of TCP are accepted in a child
   without effect. A port that listens gives connections to whoever calls `ntmfw_accept` first, parent or child.
 - Datagrams carry data only once they are connected; errors about them are not told. Copies of the descriptor that
   the system's own `dup` made before do not.
 */
#define NTMFW_DATA_CARRYING 1

/*
 How packets of a socket travel.
 */
struct ntmfw_path {
  /*
   0: no path is in use; 1: direct; 2: through a relay.
   */
  int kind;
  /*
   The interface of this host, as the kernel calls it.
   */
  char interface[16];
  /*
   The round trip in microseconds; 0 where it is not known yet.
   */
  uint32_t rtt_us;
  /*
   Of 1,000 probes, those that were not answered.
   */
  uint32_t loss_per_mille;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 `dup(2)`. On a descriptor of standard input, output or error, here and in the next two, an NTM socket carries data
 (`NTMFW_DATA_CARRYING`).

 Does not block. `EBADF`, `EMFILE`.
 */
int ntmfw_dup(int fd);

/*
 `dup2(2)`.

 What `copy` was before is closed as by `ntmfw_close`. Does not block. `EBADF`, `EMFILE`.
 */
int ntmfw_dup2(int fd, int copy);

/*
 `dup3(2)`.

 As `ntmfw_dup2`; `EINVAL` where both are the same, or for flags but `O_CLOEXEC`.
 */
int ntmfw_dup3(int fd, int copy, int flags);

/*
 `sendfile(2)`: from a file to a socket.

 Blocks as `ntmfw_send`, and takes the file's bytes straight into the socket's buffer. Its errors, and `EBADF`,
 `EINVAL`, `EIO` of the file.
 */
ssize_t ntmfw_sendfile(int out,
                       int file,
                       off_t *offset,
                       size_t count);

/*
 `gethostbyname(3)`: the IPv4 address of a node, or what the system says. The answer is good until the thread asks
 again; `h_errno` tells why there is none.

 Blocks as `ntmfw_getaddrinfo` does. Null where there is none.
 */
struct hostent *ntmfw_gethostbyname(const char *name);

/*
 `gethostbyname_r(3)`: the same, told where the caller wants it.

 `ERANGE` where the room is too small.
 */
int ntmfw_gethostbyname_r(const char *name,
                          struct hostent *answer,
                          char *room,
                          size_t length,
                          struct hostent **result,
                          int *why);

extern int *__h_errno_location(void);

extern int gethostbyname_r(const char *name,
                           struct hostent *answer,
                           char *room,
                           size_t length,
                           struct hostent **result,
                           int *why);

/*
 `read(2)`.

 `ntmfw_recv` without flags.
 */
ssize_t ntmfw_read(int fd, void *room, size_t length);

/*
 `write(2)`.

 `ntmfw_send` without flags.
 */
ssize_t ntmfw_write(int fd, const void *data, size_t length);

/*
 `readv(2)`.

 `ntmfw_recv` into several parts; `EINVAL` for more than `IOV_MAX` of them, or a negative count.
 */
ssize_t ntmfw_readv(int fd, const struct iovec *parts, int count);

/*
 `writev(2)`.

 `ntmfw_send` of several parts, as one datagram or in one go; `EINVAL` for more than `IOV_MAX` of them, or a
 negative count.
 */
ssize_t ntmfw_writev(int fd,
                     const struct iovec *parts,
                     int count);

/*
 `send(2)`.

 A stream takes what fits into the buffer and blocks while nothing does; a datagram leaves or is lost, and blocks
 only while it is found out who has the address. Errors: `EAGAIN` where it would block; `ENOTCONN` without a
 connection; `EPIPE` (and `SIGPIPE`, unless `MSG_NOSIGNAL` is given) after its end or one's own `shutdown`;
 `ECONNRESET`, `ETIMEDOUT`, `EHOSTUNREACH` when the connection failed; `ECONNREFUSED` where an earlier datagram was;
 `EDESTADDRREQ` without a peer; `EMSGSIZE` above 65,507 bytes; `EINTR`; `EOPNOTSUPP` for `MSG_OOB`.
 */
ssize_t ntmfw_send(int fd,
                   const void *data,
                   size_t length,
                   int flags);

/*
 `sendto(2)`. A datagram to a virtual address goes through a tunnel, which is made if there is none.

 The errors of `ntmfw_send`, and `ENETUNREACH` from a bound socket to an address that is not virtual,
 `EAFNOSUPPORT` for one of another family.
 */
ssize_t ntmfw_sendto(int fd,
                     const void *data,
                     size_t length,
                     int flags,
                     const struct sockaddr *address,
                     socklen_t address_length);

/*
 `recv(2)`.

 Blocks until there is something; 0 is the end of a stream. A datagram that is longer than the room is cut off.
 Errors: `EAGAIN` where it would block, or after `SO_RCVTIMEO`; `ENOTCONN`; `ECONNREFUSED`, `ECONNRESET`,
 `ETIMEDOUT`, `EHOSTUNREACH`, each told once; `EINTR`.
 */
ssize_t ntmfw_recv(int fd,
                   void *room,
                   size_t length,
                   int flags);

/*
 `recvfrom(2)`.

 As `ntmfw_recv`, and tells who sent it; the length of the address is cut off to the room there is, and told
 whole.
 */
ssize_t ntmfw_recvfrom(int fd,
                       void *room,
                       size_t length,
                       int flags,
                       struct sockaddr *address,
                       socklen_t *address_length);

/*
 `sendmsg(2)`. Of ancillary data `IP_PKTINFO`, `IP_TTL`, `IP_TOS` and their IPv6 counterparts are followed. NTM sockets
 that are passed to another process (`SCM_RIGHTS`) carry data from then on (`NTMFW_DATA_CARRYING`).

 Blocks and fails as `ntmfw_sendto`; `EINVAL` for ancillary data that is not understood, `EMSGSIZE` for too many
 parts.
 */
ssize_t ntmfw_sendmsg(int fd,
                      const struct msghdr *message,
                      int flags);

/*
 `sendmmsg(2)`.

 As `ntmfw_sendmsg` for each; how many were sent, where at least one was. Single datagrams to one peer leave
 together.
 */
int ntmfw_sendmmsg(int fd,
                   struct mmsghdr *messages,
                   unsigned int count,
                   int flags);

/*
 `recvmsg(2)`. Ancillary data is what `IP_PKTINFO`, `IP_RECVTTL`, `IP_RECVTOS`, their IPv6 counterparts and
 `SO_TIMESTAMP` ask for.

 Blocks and fails as `ntmfw_recv`; `MSG_TRUNC` and `MSG_CTRUNC` tell what had no room.
 */
ssize_t ntmfw_recvmsg(int fd,
                      struct msghdr *message,
                      int flags);

/*
 `recvmmsg(2)`. The time-out is looked at between messages, as in the kernel.

 As `ntmfw_recvmsg` for each; how many came, where at least one did.
 */
int ntmfw_recvmmsg(int fd,
                   struct mmsghdr *messages,
                   unsigned int count,
                   int flags,
                   struct timespec *timeout);

/*
 `getaddrinfo(3)`: the name of a node is asked of its coordinator, and the tunnel to it is on its way when the
 call is back. Other names are the system's; one that is an alias (CNAME) of a node's name is a node's.

 Blocks for at most ten seconds, not interrupted by signals; any number of threads may ask at once. `EAI_NONAME`
 where there is no such node, `EAI_AGAIN` where nobody could be asked in time, `EAI_FAIL` where an answer is not
 authentic, `EAI_FAMILY`, `EAI_SOCKTYPE`, `EAI_SERVICE`, `EAI_BADFLAGS` as ever, `EAI_SYSTEM` with `errno`. The list
 is the caller's, to be freed by `ntmfw_freeaddrinfo`.
 */
int ntmfw_getaddrinfo(const char *node,
                      const char *service,
                      const struct addrinfo *hints,
                      struct addrinfo **results);

/*
 `freeaddrinfo(3)`, for what `ntmfw_getaddrinfo` gave.

 Null is allowed.
 */
void ntmfw_freeaddrinfo(struct addrinfo *results);

/*
 `gai_strerror(3)`.

 The text is static.
 */
const char *ntmfw_gai_strerror(int code);

/*
 `getnameinfo(3)`: virtual addresses have the names that were looked up, or that their nodes have. Where no name is
 known they have figures, or with `NI_NAMEREQD` none (`EAI_NONAME`): the system's DNS is not asked who they are.

 Does not block for virtual addresses. The errors are the system's: `EAI_NONAME`, `EAI_FAMILY`, `EAI_OVERFLOW`.
 */
int ntmfw_getnameinfo(const struct sockaddr *given,
                      socklen_t given_length,
                      char *host,
                      socklen_t host_length,
                      char *service,
                      socklen_t service_length,
                      int flags);

/*
 `if_nametoindex(3)`, which is the system's.
 */
unsigned int ntmfw_if_nametoindex(const char *name);

/*
 `getsockopt(2)`.

 Does not block. `ENOPROTOOPT` for an option that there is not, `EINVAL` for too little room, `EFAULT`,
 `EOPNOTSUPP`. `SO_ERROR` tells an error once.
 */
int ntmfw_getsockopt(int fd,
                     int level,
                     int name,
                     void *value,
                     socklen_t *length);

/*
 `setsockopt(2)`.

 Does not block. `ENOPROTOOPT` for an option that there is not, `EINVAL` for a value it does not have, `EFAULT`,
 `EDOM`.
 */
int ntmfw_setsockopt(int fd,
                     int level,
                     int name,
                     const void *value,
                     socklen_t length);

/*
 Begins: reads the configuration at `config`, or at the usual places where that is null, and registers the node.
 0, or −1 with `errno` and an explanation in `ntmfw_strerror`. Other calls begin by themselves if this one was
 not made; a second call does nothing.

 Blocks until the node is registered, or for ten seconds. `EINVAL` without a configuration, or for a mistake in it,
 which is told by file, line and key; `EACCES` where secrets can be read by others, a login is refused, or another
 program runs as the node; `ETIMEDOUT` where no coordinator answers.
 */
int ntmfw_init(const char *config);

/*
 What the error with this number was about, if the last call of this thread that failed left an explanation;
 else what `strerror` says. The text is good until the next failure in this thread.
 */
const char *ntmfw_strerror(int errnum);

/*
 The library's version: `"0.1.0"`.
 */
const char *ntmfw_version(void);

/*
 Writes this node's name into `name`, which has room for `length` bytes. 0, or −1 with `ENAMETOOLONG`.
 */
int ntmfw_local_name(char *name,
                     size_t length);

/*
 Ends: tells the coordinator that the node goes. Connections end as they would at the end of the process. The
 library cannot begin again in the same process.
 */
void ntmfw_fini(void);

/*
 Writes what the library says of itself as JSON (name, addresses, peers with their paths, counters) into `text`,
 which has room for `length` bytes, and gives the length of the whole, as `snprintf` does.
 */
int ntmfw_status(char *text,
                 size_t length);

/*
 From now on `listener` is called with a JSON object for everything that happens (`"event"`: `registered`,
 `resolved`, `peer up`, `path changed`, `peer lost`, …), on a thread of the library's own, one call at a time.
 The text is good until the listener returns. `context` is given to each call. There is one listener a process:
 a second one is `EALREADY`.
 */
int ntmfw_on_event(void (*listener)(const char *event, void *context),
                   void *context);

/*
 Writes into `path` how packets to the peer of a connected socket travel now. `ENOTCONN` where it has none,
 `ENOTSOCK` where the descriptor is no NTM socket.
 */
int ntmfw_path_info(int fd,
                    struct ntmfw_path *path);

/*
 `poll(2)`.

 Waits for sockets of ours and all other descriptors at once. `EINTR`, `EINVAL`, `EFAULT`.
 */
int ntmfw_poll(struct pollfd *fds, nfds_t count, int timeout);

/*
 `ppoll(2)`.

 As `ntmfw_poll`, with a finer time and other signals blocked meanwhile.
 */
int ntmfw_ppoll(struct pollfd *fds,
                nfds_t count,
                const struct timespec *timeout,
                const sigset_t *mask);

/*
 `select(2)`.

 As `ntmfw_poll`; `EBADF` for a descriptor that is none, `EINVAL` for a negative count or time. Only numbers below
 `FD_SETSIZE`.
 */
int ntmfw_select(int count,
                 fd_set *read,
                 fd_set *write,
                 fd_set *except,
                 struct timeval *timeout);

/*
 `pselect(2)`.

 As `ntmfw_select`.
 */
int ntmfw_pselect(int count,
                  fd_set *read,
                  fd_set *write,
                  fd_set *except,
                  const struct timespec *timeout,
                  const sigset_t *mask);

/*
 `epoll_create1(2)`: the set is the kernel's.

 `EINVAL`, `EMFILE`.
 */
int ntmfw_epoll_create1(int flags);

/*
 `epoll_ctl(2)`: NTM sockets are descriptors like all others.

 They may be added before they are connected, and stay. `EBADF`, `EEXIST`, `ENOENT`, `EPERM`, `EINVAL`.
 */
int ntmfw_epoll_ctl(int set,
                    int operation,
                    int fd,
                    struct epoll_event *event);

/*
 `epoll_wait(2)`.

 Waits as `ntmfw_poll` does. `EINTR`, `EBADF`, `EINVAL`, `EFAULT`.
 */
int ntmfw_epoll_wait(int set, struct epoll_event *events, int room, int timeout);

/*
 `epoll_pwait(2)`.

 As `ntmfw_epoll_wait`, with other signals blocked meanwhile.
 */
int ntmfw_epoll_pwait(int set,
                      struct epoll_event *events,
                      int room,
                      int timeout,
                      const sigset_t *mask);

/*
 `socket(2)`: streams, datagrams and ICMP echoes (`SOCK_DGRAM` with `IPPROTO_ICMP`) of `AF_INET` and `AF_INET6` are NTM
 sockets until they meet an address that is not virtual; everything else is the kernel's from the start, and in a child
 of `fork` these are, too.

 Does not block once the library has begun. `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`, `EINVAL` for
 unknown flags, `EMFILE`; and what `ntmfw_init` says where the library cannot begin.
 */
int ntmfw_socket(int domain,
                 int kind,
                 int protocol);

/*
 `socketpair(2)`, which is the kernel's.
 */
int ntmfw_socketpair(int domain, int kind, int protocol, int *pair);

/*
 `bind(2)`: to an address of this node, or to any.

 Does not block. `EADDRINUSE`, `EADDRNOTAVAIL` for an address that is no node's own, `EINVAL` when it is bound,
 `EAFNOSUPPORT`.
 */
int ntmfw_bind(int fd,
               const struct sockaddr *address,
               socklen_t length);

/*
 `listen(2)`.

 Does not block. Nodes are accepted, not the kernel's network. `EINVAL` on a connection, `EOPNOTSUPP` on datagrams,
 `EADDRINUSE`.
 */
int ntmfw_listen(int fd,
                 int backlog);

/*
 `accept(2)`.

 Blocks until somebody connects. `EAGAIN`, `EINVAL` where it does not listen, `EOPNOTSUPP` on datagrams, `EMFILE`,
 `EINTR`.
 */
int ntmfw_accept(int fd,
                 struct sockaddr *address,
                 socklen_t *length);

/*
 `accept4(2)`.

 As `ntmfw_accept`, with `SOCK_CLOEXEC` and `SOCK_NONBLOCK`; `EINVAL` for other flags.
 */
int ntmfw_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

/*
 `connect(2)`: to a virtual address through a tunnel, to any other through the kernel. A child of `fork` reaches no
 virtual address by itself: `ENETDOWN`.

 Blocks until the connection is made, refused, or given up after `SO_SNDTIMEO` or two minutes; `EINPROGRESS` where
 it shall not block, and `SO_ERROR` tells later. Errors: `ECONNREFUSED`, `EHOSTUNREACH` where nobody has the
 address, `ETIMEDOUT`, `ENETUNREACH` before the node is registered, `EISCONN`, `EALREADY`, `EADDRNOTAVAIL` without a
 free port, `EAFNOSUPPORT`, `EINTR`.
 */
int ntmfw_connect(int fd,
                  const struct sockaddr *address,
                  socklen_t length);

/*
 `shutdown(2)`.

 Does not block. `ENOTCONN`, `EINVAL`.
 */
int ntmfw_shutdown(int fd, int how);

/*
 `close(2)`. The connection ends when its last descriptor is closed; what was sent still arrives.

 Blocks only for `SO_LINGER`. `EBADF`. The number is free in any case.
 */
int ntmfw_close(int fd);

/*
 `getsockname(2)`.

 Does not block. `EINVAL` for a negative length, `EFAULT`.
 */
int ntmfw_getsockname(int fd, struct sockaddr *address, socklen_t *length);

/*
 `getpeername(2)`.

 Does not block. `ENOTCONN`, `EINVAL`, `EFAULT`.
 */
int ntmfw_getpeername(int fd, struct sockaddr *address, socklen_t *length);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NTMFW_H */
