/* Looks names up as programs do that use the resolver's own calls, or look up many at once.
 *
 *   lookups NODE ADDRESS4 ADDRESS6    0 where each call finds these addresses of the node, and localhost's where it asks for that */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <resolv.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(what) ((what) ? (void)0 : (fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what), exit(1)))

/* The only address in an answer, as text. */
static const char *address_in(const unsigned char *answer, int length, int type)
{
    static char text[INET6_ADDRSTRLEN];
    ns_msg message;
    ns_rr record;
    EXPECT(length > 0 && ns_initparse(answer, length, &message) == 0);
    EXPECT(ns_msg_count(message, ns_s_qd) == 1 && ns_msg_count(message, ns_s_an) == 1);
    EXPECT(ns_parserr(&message, ns_s_an, 0, &record) == 0 && (int)ns_rr_type(record) == type);
    EXPECT(inet_ntop(type == ns_t_a ? AF_INET : AF_INET6, ns_rr_rdata(record), text, sizeof text));
    return text;
}

static void ask_the_resolver(const char *node, const char *address4, const char *address6)
{
    unsigned char answer[NS_PACKETSZ];
    struct __res_state state = {0};
    EXPECT(res_ninit(&state) == 0);
    EXPECT(strcmp(address_in(answer, res_query(node, ns_c_in, ns_t_a, answer, sizeof answer), ns_t_a), address4) == 0);
    EXPECT(strcmp(address_in(answer, res_search(node, ns_c_in, ns_t_aaaa, answer, sizeof answer), ns_t_aaaa), address6) == 0);
    EXPECT(strcmp(address_in(answer, res_nquery(&state, node, ns_c_in, ns_t_a, answer, sizeof answer), ns_t_a), address4) == 0);
    EXPECT(res_query(node, ns_c_in, ns_t_mx, answer, sizeof answer) == -1 && h_errno == NO_DATA);
    EXPECT(res_query(node, ns_c_in, ns_t_a, answer, 12) == -1 && h_errno == NETDB_INTERNAL);
    EXPECT(res_query("nobody.ntm.example", ns_c_in, ns_t_a, answer, sizeof answer) == -1 && h_errno == HOST_NOT_FOUND);
    res_nclose(&state);
}

static sem_t told;

static void tell(union sigval value)
{
    sem_post(value.sival_ptr);
}

static void expect_address(const struct gaicb *request, const char *address)
{
    char text[INET_ADDRSTRLEN];
    EXPECT(gai_error((struct gaicb *)request) == 0);
    const struct sockaddr_in *found = (const struct sockaddr_in *)request->ar_result->ai_addr;
    EXPECT(inet_ntop(AF_INET, &found->sin_addr, text, sizeof text) && strcmp(text, address) == 0);
    freeaddrinfo(request->ar_result);
}

static void look_up_many(const char *node, const char *address4)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct gaicb one = {.ar_name = node, .ar_request = &hints}, other = {.ar_name = "localhost", .ar_request = &hints};
    struct gaicb none = {.ar_name = "nobody.ntm.example", .ar_request = &hints};
    struct gaicb *list[] = {&one, NULL, &other, &none};
    const struct gaicb *const looked[] = {&one, NULL, &other, &none};
    EXPECT(getaddrinfo_a(GAI_WAIT, list, 4, NULL) == 0);
    expect_address(&one, address4);
    expect_address(&other, "127.0.0.1");
    EXPECT(gai_error(&none) == EAI_NONAME);
    EXPECT(gai_suspend(looked, 4, NULL) == EAI_ALLDONE && gai_cancel(&one) == EAI_ALLDONE);

    sem_init(&told, 0, 0);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = tell, .sigev_value.sival_ptr = &told};
    EXPECT(getaddrinfo_a(GAI_NOWAIT, list, 4, &event) == 0);
    /* All are done when it says so, or each in its turn. */
    while (gai_suspend(looked, 4, NULL) == 0)
        continue;
    while (sem_wait(&told) < 0)
        EXPECT(errno == EINTR);
    expect_address(&one, address4);
    expect_address(&other, "127.0.0.1");

    /* Without a node the C library does it. */
    struct gaicb *others[] = {&other};
    EXPECT(getaddrinfo_a(GAI_NOWAIT, others, 1, NULL) == 0);
    const struct gaicb *const waited[] = {&other};
    EXPECT(gai_suspend(waited, 1, NULL) != EAI_AGAIN);
    expect_address(&other, "127.0.0.1");
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    ask_the_resolver(argv[1], argv[2], argv[3]);
    look_up_many(argv[1], argv[2]);
    return 0;
}
