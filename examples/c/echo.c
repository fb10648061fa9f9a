/* A server that sends back what it gets, and a client that checks it.
 *
 *   echo serve PORT
 *   echo NAME PORT TEXT...
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ntmfw.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ntmfw_strerror(errno));
    return 1;
}

static int serve(const char *port)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
    int server = ntmfw_socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || ntmfw_bind(server, (struct sockaddr *)&here, sizeof here) < 0 || ntmfw_listen(server, 16) < 0)
        return fail("listen");
    printf("serving\n");
    fflush(stdout);
    for (;;) {
        int client = ntmfw_accept(server, NULL, NULL);
        if (client < 0)
            return fail("accept");
        char bytes[65536];
        ssize_t got;
        while ((got = ntmfw_recv(client, bytes, sizeof bytes, 0)) > 0)
            if (ntmfw_send(client, bytes, (size_t)got, 0) != got)
                break;
        ntmfw_close(client);
    }
}

static int ask(const char *name, const char *port, const char *text)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    int error = ntmfw_getaddrinfo(name, port, &hints, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", name, ntmfw_gai_strerror(error));
        return 1;
    }
    int fd = ntmfw_socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd < 0 || ntmfw_connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        return fail(name);
    ntmfw_freeaddrinfo(found);
    size_t length = strlen(text), got = 0;
    char answer[1024];
    if (ntmfw_send(fd, text, length, 0) != (ssize_t)length)
        return fail("send");
    while (got < length) {
        ssize_t more = ntmfw_recv(fd, answer + got, sizeof answer - got - 1, 0);
        if (more <= 0)
            return fail("recv");
        got += (size_t)more;
    }
    answer[got] = 0;
    printf("%s\n", answer);
    ntmfw_close(fd);
    return strcmp(answer, text) != 0;
}

int main(int argc, char **argv)
{
    if (ntmfw_init(NULL) < 0)
        return fail("ntmfw_init");
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2]);
    if (argc == 4)
        return ask(argv[1], argv[2], argv[3]);
    fprintf(stderr, "usage: %s serve PORT | NAME PORT TEXT\n", argv[0]);
    return 2;
}
