/* NTMfw under the C library's names: for programs that are only to be compiled again.
 *
 *     cc -include ntmfw_posix.h program.c -lntmfw
 *
 * renames every call that ntmfw.h has to the one with `ntmfw_` before it, wherever the name stands: in calls, in
 * function pointers and tables (`ops.close = close`), with one argument fewer or more (`fcntl`, `ioctl`). The
 * calls take every descriptor, so `read` and `close` of files and pipes are as before.
 *
 * - The system's headers are read first, so that their own declarations, and what a compiler makes of them
 *   (_FORTIFY_SOURCE, _FILE_OFFSET_BITS), stay as they are. They are read with what the command line says of
 *   _GNU_SOURCE, _DEFAULT_SOURCE, _XOPEN_SOURCE or _POSIX_C_SOURCE; where it says nothing, with _GNU_SOURCE, because
 *   what a program defines in its first line comes too late for a header that was read before it.
 * - Names are names: a struct member, a variable or a label called `read` or `socket` is renamed as well, in the
 *   program's every file alike, which is of no consequence. Where a name must stay, because a library that was
 *   compiled without this header has it, say so in that file: `#undef close`.
 * - Standard C++ has members of these names (`std::fstream::close`, `std::bind`) in libraries that are there
 *   already: C++ programs call the `ntmfw_` names themselves.
 * - `fdopen`, `dprintf` and whatever else reads or writes a descriptor inside the C library is not renamed.
 * - `open`, `pipe`, `eventfd`, `epoll_create` and `epoll_pwait2` are the system's: what they give or wait for are
 *   descriptors like all others.
 */
#ifndef NTMFW_POSIX_H
#define NTMFW_POSIX_H

#ifdef __cplusplus
#error "ntmfw_posix.h is for C: see the note on C++ in it"
#endif

#if !defined(_GNU_SOURCE) && !defined(_DEFAULT_SOURCE) && !defined(_XOPEN_SOURCE) && !defined(_POSIX_C_SOURCE)
#define _GNU_SOURCE
#define NTMFW_POSIX_DEFINED_GNU_SOURCE
#endif

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <ntmfw.h>

#ifdef NTMFW_POSIX_DEFINED_GNU_SOURCE
/* What it asked for is there; the program may define it itself. */
#undef _GNU_SOURCE
#undef NTMFW_POSIX_DEFINED_GNU_SOURCE
#endif

/* A socket's life. */
#define socket ntmfw_socket
#define socketpair ntmfw_socketpair
#define bind ntmfw_bind
#define listen ntmfw_listen
#define accept ntmfw_accept
#define accept4 ntmfw_accept4
#define connect ntmfw_connect
#define shutdown ntmfw_shutdown
#define close ntmfw_close
#define getsockname ntmfw_getsockname
#define getpeername ntmfw_getpeername
#define getsockopt ntmfw_getsockopt
#define setsockopt ntmfw_setsockopt

/* Bytes and datagrams. */
#define read ntmfw_read
#define readv ntmfw_readv
#define write ntmfw_write
#define writev ntmfw_writev
#define send ntmfw_send
#define sendto ntmfw_sendto
#define sendmsg ntmfw_sendmsg
#define sendmmsg ntmfw_sendmmsg
#define recv ntmfw_recv
#define recvfrom ntmfw_recvfrom
#define recvmsg ntmfw_recvmsg
#define recvmmsg ntmfw_recvmmsg
#define sendfile ntmfw_sendfile

/* Descriptors. */
#define fcntl ntmfw_fcntl
#define ioctl ntmfw_ioctl
#define dup ntmfw_dup
#define dup2 ntmfw_dup2
#define dup3 ntmfw_dup3

/* Waiting. `poll` is the call; `struct pollfd` is as it was. */
#define poll ntmfw_poll
#define ppoll ntmfw_ppoll
#define select ntmfw_select
#define pselect ntmfw_pselect
#define epoll_create1 ntmfw_epoll_create1
#define epoll_ctl ntmfw_epoll_ctl
#define epoll_wait ntmfw_epoll_wait
#define epoll_pwait ntmfw_epoll_pwait

/* Names. */
#define getaddrinfo ntmfw_getaddrinfo
#define freeaddrinfo ntmfw_freeaddrinfo
#define gai_strerror ntmfw_gai_strerror
#define getnameinfo ntmfw_getnameinfo
#define gethostbyname ntmfw_gethostbyname
#define gethostbyname_r ntmfw_gethostbyname_r
#define if_nametoindex ntmfw_if_nametoindex

#endif
