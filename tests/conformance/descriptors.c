/* Descriptors as such: copies, flags, and what a socket is to calls that are not about sockets. */
#include <sys/stat.h>

#include "check.h"

static void copies(void)
{
    int ends[2], copy, third;
    char room[4];
    NEEDS(tcp_pair(ends) == 0);
    copy = (int)WORKS(dup(ends[0]), "dup");
    third = (int)WORKS(fcntl(ends[0], F_DUPFD, 100), "F_DUPFD");
    OK(third >= 100, "gives a descriptor as high as asked");
    IS(close(ends[0]), 0, "closing one of them");
    struct pollfd entry = { .fd = ends[1], .events = POLLIN };
    IS(poll(&entry, 1, QUIET_MS), 0, "does not end the connection");
    IS(send(copy, "x", 1, 0), 1, "a copy sends");
    IS(recv(ends[1], room, 4, 0), 1, "and is heard");
    IS(send(ends[1], "y", 1, 0), 1, "the other end answers");
    IS(recv(third, room, 4, 0), 1, "another copy hears it");
    IS(close(copy), 0, "closing the second");
    IS(send(third, "z", 1, 0), 1, "leaves the third");
    IS(recv(ends[1], room, 4, 0), 1, "which is heard");
    IS(close(third), 0, "closing the last");
    IS(recv(ends[1], room, 4, 0), 0, "ends the connection");
    close(ends[1]);
}

static void copies_over(void)
{
    int a[2], b[2], copy;
    char room[4];
    NEEDS(tcp_pair(a) == 0 && tcp_pair(b) == 0);
    IS(dup2(a[0], b[0]), b[0], "dup2 over another socket");
    IS(recv(b[1], room, 4, 0), 0, "closes that one");
    IS(send(b[0], "x", 1, 0), 1, "and is the first from then on");
    IS(recv(a[1], room, 4, 0), 1, "as its other end hears");
    IS(dup2(a[0], a[0]), a[0], "dup2 onto itself does nothing");
    FAILS(dup3(a[0], a[0], 0), EINVAL, "dup3 onto itself is refused");
    copy = dup(a[0]);
    IS(dup3(a[0], copy, O_CLOEXEC), copy, "dup3 over a copy");
    OK(fcntl(copy, F_GETFD) & FD_CLOEXEC, "closes on exec if asked");
    IS(fcntl(a[0], F_GETFD) & FD_CLOEXEC, 0, "which is each copy's own");
    FAILS(dup3(a[0], copy, 12345), EINVAL, "there is one flag");
    close(copy);
    copy = (int)WORKS(fcntl(a[0], F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC");
    OK(fcntl(copy, F_GETFD) & FD_CLOEXEC, "closes on exec");
    int tube[2];
    NEEDS(pipe(tube) == 0);
    IS(dup2(a[0], tube[0]), tube[0], "dup2 over a pipe");
    IS(send(tube[0], "y", 1, 0), 1, "is the socket");
    IS(dup2(tube[1], copy), copy, "dup2 of a pipe over a socket");
    FAILS(send(copy, "z", 1, 0), ENOTSOCK, "is the pipe");
    close(copy), close_pair(tube), close_pair(a), close_pair(b);
}

static void flags(void)
{
    int fd, copy, on = 1, off = 0;
    NEEDS((fd = tcp_socket()) >= 0 && (copy = dup(fd)) >= 0);
    IS(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR, "a socket is for reading and writing, and blocks");
    IS(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK), 0, "F_SETFL makes it non-blocking");
    OK(fcntl(copy, F_GETFL) & O_NONBLOCK, "its copies too");
    IS(ioctl(fd, FIONBIO, &off), 0, "FIONBIO makes it block");
    IS(fcntl(fd, F_GETFL) & O_NONBLOCK, 0, "as F_GETFL tells");
    IS(ioctl(fd, FIONBIO, &on), 0, "FIONBIO makes it non-blocking");
    OK(fcntl(fd, F_GETFL) & O_NONBLOCK, "as F_GETFL tells too");
    IS(fcntl(fd, F_SETFD, FD_CLOEXEC), 0, "F_SETFD makes it close on exec");
    IS(fcntl(fd, F_GETFD), FD_CLOEXEC, "as F_GETFD tells");
    IS(fcntl(copy, F_GETFD), 0, "its copies not");
    FAILS(fcntl(fd, 12345), EINVAL, "there is no such command");
    FAILS(fcntl(fd, F_DUPFD, -1), EINVAL, "no descriptor is below zero");
    close(fd), close(copy);
}

static void as_files(void)
{
    int fd;
    struct stat about;
    NEEDS((fd = tcp_socket()) >= 0);
    IS(fstat(fd, &about), 0, "fstat knows it");
    OK(S_ISSOCK(about.st_mode), "as a socket");
    FAILS(lseek(fd, 0, SEEK_SET), ESPIPE, "there is no place in it to go to");
    IS(isatty(fd), 0, "it is no terminal");
    close(fd);
}

static void many(void)
{
    enum { COUNT_OF = 200 };
    static int all[COUNT_OF];
    int made = 0, distinct = 1;
    for (; made < COUNT_OF && (all[made] = tcp_socket()) >= 0; made++)
        for (int other = 0; other < made; other++)
            distinct &= all[other] != all[made];
    IS(made, COUNT_OF, "two hundred sockets at once");
    OK(distinct, "have descriptors of their own");
    int lowest = all[0];
    close(all[0]);
    IS(all[0] = tcp_socket(), lowest, "the lowest number is used again");
    while (made > 0)
        close(all[--made]);
}

static void pairs_of_local_sockets(void)
{
    int pair[2];
    char room[4];
    IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0, "socketpair makes local sockets");
    IS(send(pair[0], "x", 1, 0), 1, "which send");
    IS(recv(pair[1], room, 4, 0), 1, "and receive");
    IS(shutdown(pair[0], SHUT_WR), 0, "and are shut down");
    IS(read(pair[1], room, 4), 0, "as the other one reads");
    close_pair(pair);
}

void descriptors(void)
{
    RUN_VARIANTS(descriptors, copies);
    RUN_VARIANTS(descriptors, copies_over);
    RUN(descriptors, flags);
    RUN(descriptors, as_files);
    RUN(descriptors, many);
    RUN(descriptors, pairs_of_local_sockets);
}
