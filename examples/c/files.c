/* A file to another node, taken up again where it was left.
 *
 *   files serve PORT DIRECTORY       takes files into DIRECTORY
 *   files send NAME PORT FILE        sends FILE; what the other end has already is not sent again
 *
 * The sender says the file's name and size, the receiver how much of it it has, then the rest follows. The
 * receiver answers with one byte when it has everything.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ntmfw.h>

struct offer {
    char name[256];
    uint64_t size;
};

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ntmfw_strerror(errno));
    return 1;
}

static int take(int fd)
{
    struct offer offer;
    struct stat have = { 0 };
    if (ntmfw_recv(fd, &offer, sizeof offer, MSG_WAITALL) != sizeof offer)
        return fail("offer");
    offer.name[sizeof offer.name - 1] = 0;
    if (strchr(offer.name, '/') || offer.name[0] == '.' || !offer.name[0]) {
        fprintf(stderr, "a name that is none\n");
        return 1;
    }
    int file = open(offer.name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0 || fstat(file, &have) < 0)
        return fail(offer.name);
    uint64_t at = (uint64_t)have.st_size;
    if (ntmfw_send(fd, &at, sizeof at, 0) != sizeof at)
        return fail("answer");
    static char bytes[65536];
    ssize_t got = 0;
    while (at < offer.size && (got = ntmfw_recv(fd, bytes, sizeof bytes, 0)) > 0) {
        if (write(file, bytes, (size_t)got) != got)
            return fail(offer.name);
        at += (uint64_t)got;
    }
    close(file);
    if (at == offer.size)
        ntmfw_send(fd, "!", 1, 0);
    printf("%s: %" PRIu64 " of %" PRIu64 " bytes\n", offer.name, at, offer.size);
    fflush(stdout);
    return at != offer.size;
}

static int serve(const char *port, const char *directory)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
    int server = ntmfw_socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || ntmfw_bind(server, (struct sockaddr *)&here, sizeof here) < 0 || ntmfw_listen(server, 16) < 0)
        return fail("listen");
    if (chdir(directory) < 0)
        return fail(directory);
    printf("serving\n");
    fflush(stdout);
    for (;;) {
        int fd = ntmfw_accept(server, NULL, NULL);
        if (fd < 0)
            return fail("accept");
        take(fd);
        ntmfw_close(fd);
    }
}

static int send_file(const char *host, const char *port, const char *path)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    int error = ntmfw_getaddrinfo(host, port, &hints, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", host, ntmfw_gai_strerror(error));
        return 1;
    }
    int fd = ntmfw_socket(found->ai_family, found->ai_socktype, 0);
    if (fd < 0 || ntmfw_connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        return fail(host);
    ntmfw_freeaddrinfo(found);
    int file = open(path, O_RDONLY);
    struct stat about;
    if (file < 0 || fstat(file, &about) < 0)
        return fail(path);
    struct offer offer = { .size = (uint64_t)about.st_size };
    const char *slash = strrchr(path, '/');
    snprintf(offer.name, sizeof offer.name, "%s", slash ? slash + 1 : path);
    uint64_t have;
    if (ntmfw_send(fd, &offer, sizeof offer, 0) != sizeof offer || ntmfw_recv(fd, &have, sizeof have, MSG_WAITALL) != sizeof have)
        return fail("offer");
    printf("%s: %" PRIu64 " of %" PRIu64 " bytes are there\n", offer.name, have, offer.size);
    off_t at = (off_t)have;
    while ((uint64_t)at < offer.size)
        if (ntmfw_sendfile(fd, file, &at, (size_t)(offer.size - (uint64_t)at)) <= 0)
            return fail("send");
    char done;
    if (ntmfw_recv(fd, &done, 1, 0) != 1)
        return fail("the other end did not say that it has everything");
    printf("done\n");
    ntmfw_close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "send") == 0)
        return send_file(argv[2], argv[3], argv[4]);
    fprintf(stderr, "usage: %s serve PORT DIRECTORY | send NAME PORT FILE\n", argv[0]);
    return 2;
}
