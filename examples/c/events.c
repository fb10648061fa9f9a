/* Prints what happens to this node, one JSON object a line, and what it says of itself when asked.
 *
 *   events SECONDS [NAME...]     looks the names up and listens for so long
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <ntmfw.h>

static void print(const char *event, void *context)
{
    fprintf(context, "%s\n", event);
    fflush(context);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s SECONDS [NAME...]\n", argv[0]);
        return 2;
    }
    if (ntmfw_init(NULL) < 0 || ntmfw_on_event(print, stdout) < 0) {
        fprintf(stderr, "%s\n", ntmfw_strerror(errno));
        return 1;
    }
    for (int at = 2; at < argc; at++) {
        struct addrinfo *found;
        int error = ntmfw_getaddrinfo(argv[at], NULL, NULL, &found);
        if (error)
            fprintf(stderr, "%s: %s\n", argv[at], ntmfw_gai_strerror(error));
        else
            ntmfw_freeaddrinfo(found);
    }
    sleep((unsigned)atoi(argv[1]));
    char status[16384];
    if (ntmfw_status(status, sizeof status) < 0)
        return 1;
    printf("%s\n", status);
    ntmfw_fini();
    return 0;
}
