/* Every call has the prototype of the C library's: a pointer to that one may point to ours. Only compiled. */
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <ntmfw.h>

#define SAME(call, own)                                                                                                \
    static __typeof__(call) *const p_##own = own;                                                                      \
    _Static_assert(sizeof(p_##own) > 0, #call)

SAME(socket, ntmfw_socket);
SAME(socketpair, ntmfw_socketpair);
SAME(bind, ntmfw_bind);
SAME(listen, ntmfw_listen);
SAME(accept, ntmfw_accept);
SAME(accept4, ntmfw_accept4);
SAME(connect, ntmfw_connect);
SAME(shutdown, ntmfw_shutdown);
SAME(close, ntmfw_close);
SAME(read, ntmfw_read);
SAME(readv, ntmfw_readv);
SAME(write, ntmfw_write);
SAME(writev, ntmfw_writev);
SAME(send, ntmfw_send);
SAME(sendto, ntmfw_sendto);
SAME(sendmsg, ntmfw_sendmsg);
SAME(sendmmsg, ntmfw_sendmmsg);
SAME(recv, ntmfw_recv);
SAME(recvfrom, ntmfw_recvfrom);
SAME(recvmsg, ntmfw_recvmsg);
SAME(recvmmsg, ntmfw_recvmmsg);
SAME(getsockname, ntmfw_getsockname);
SAME(getpeername, ntmfw_getpeername);
SAME(getsockopt, ntmfw_getsockopt);
SAME(setsockopt, ntmfw_setsockopt);
SAME(fcntl, ntmfw_fcntl);
SAME(ioctl, ntmfw_ioctl);
SAME(dup, ntmfw_dup);
SAME(dup2, ntmfw_dup2);
SAME(dup3, ntmfw_dup3);
SAME(poll, ntmfw_poll);
SAME(ppoll, ntmfw_ppoll);
SAME(select, ntmfw_select);
SAME(pselect, ntmfw_pselect);
SAME(epoll_create1, ntmfw_epoll_create1);
SAME(epoll_ctl, ntmfw_epoll_ctl);
SAME(epoll_wait, ntmfw_epoll_wait);
SAME(epoll_pwait, ntmfw_epoll_pwait);
SAME(getaddrinfo, ntmfw_getaddrinfo);
SAME(freeaddrinfo, ntmfw_freeaddrinfo);
SAME(gai_strerror, ntmfw_gai_strerror);
SAME(getnameinfo, ntmfw_getnameinfo);
SAME(gethostbyname, ntmfw_gethostbyname);
SAME(gethostbyname_r, ntmfw_gethostbyname_r);
SAME(if_nametoindex, ntmfw_if_nametoindex);
SAME(sendfile, ntmfw_sendfile);

/* The C library ends its lists of arguments where they may be longer, and so must these. */
int longer_lists(int fd);
int longer_lists(int fd)
{
    int count;
    return ntmfw_fcntl(fd, F_GETFL) + ntmfw_fcntl(fd, F_SETFL, O_NONBLOCK) + ntmfw_ioctl(fd, FIONREAD, &count);
}
