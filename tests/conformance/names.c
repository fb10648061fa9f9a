/* Names and addresses. */
#include <arpa/inet.h>
#include <net/if.h>

#include "check.h"

static int count_of(const struct addrinfo *list, int wanted_family)
{
    int count = 0;
    for (; list; list = list->ai_next)
        count += !wanted_family || list->ai_family == wanted_family;
    return count;
}

static void of_nodes(void)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME }, *found = NULL;
    IS(getaddrinfo(peer_name, "4007", &hints, &found), 0, "a node's name is known");
    OK(count_of(found, AF_INET) == 1 && count_of(found, AF_INET6) == 1, "with an IPv4 and an IPv6 address");
    NEEDS(found);
    OK(found->ai_canonname && !strcmp(found->ai_canonname, peer_name), "AI_CANONNAME tells its name");
    OK(found->ai_next && !found->ai_next->ai_canonname, "once");
    for (struct addrinfo *one = found; one; one = one->ai_next) {
        OK(one->ai_socktype == SOCK_STREAM && one->ai_protocol == IPPROTO_TCP, "each for a stream over TCP");
        OK(one->ai_addr->sa_family == one->ai_family, "each of its family");
        IS(one->ai_addrlen, one->ai_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6),
           "each as long as its family's");
        IS(ntohs(((struct sockaddr_in *)one->ai_addr)->sin_port), 4007, "each with the port");
        int fd = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
        IS(connect(fd, one->ai_addr, one->ai_addrlen), 0, "each can be connected to");
        close(fd);
    }
    freeaddrinfo(found);
    hints.ai_flags = 0, hints.ai_family = AF_INET;
    NEEDS(getaddrinfo(peer_name, NULL, &hints, &found) == 0);
    OK(count_of(found, 0) == 1 && found->ai_family == AF_INET, "AF_INET alone");
    IS(ntohs(((struct sockaddr_in *)found->ai_addr)->sin_port), 0, "without a service the port is zero");
    freeaddrinfo(found);
    hints.ai_family = AF_INET6;
    NEEDS(getaddrinfo(peer_name, NULL, &hints, &found) == 0);
    OK(count_of(found, 0) == 1 && found->ai_family == AF_INET6, "AF_INET6 alone");
    freeaddrinfo(found);
    hints.ai_flags = AI_V4MAPPED | AI_ALL;
    NEEDS(getaddrinfo(peer_name, NULL, &hints, &found) == 0);
    IS(count_of(found, AF_INET6), 2, "AI_V4MAPPED and AI_ALL give both as IPv6");
    freeaddrinfo(found);
    hints.ai_family = AF_UNSPEC, hints.ai_flags = 0, hints.ai_socktype = 0;
    NEEDS(getaddrinfo(peer_name, NULL, NULL, &found) == 0);
    IS(count_of(found, AF_INET), 3, "without hints there are three kinds of socket");
    freeaddrinfo(found);
    hints.ai_socktype = SOCK_DGRAM;
    NEEDS(getaddrinfo(peer_name, NULL, &hints, &found) == 0);
    OK(found->ai_socktype == SOCK_DGRAM && found->ai_protocol == IPPROTO_UDP, "for datagrams over UDP");
    freeaddrinfo(found);
    NEEDS(getaddrinfo("B.NTM.Example", NULL, &hints, &found) == 0);
    OK(found, "capital letters are as good");
    freeaddrinfo(found);
}

static void refused(void)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    IS(getaddrinfo("nobody.ntm.example", NULL, &hints, &found), EAI_NONAME, "a node that does not exist");
    IS(getaddrinfo(NULL, NULL, &hints, &found), EAI_NONAME, "neither name nor service");
    IS(getaddrinfo(peer_name, "no-such-service", &hints, &found), EAI_SERVICE, "a service that does not exist");
    hints.ai_flags = AI_NUMERICSERV;
    IS(getaddrinfo(peer_name, "http", &hints, &found), EAI_NONAME, "a service's name where a number is asked for");
    hints.ai_flags = AI_NUMERICHOST;
    IS(getaddrinfo(peer_name, NULL, &hints, &found), EAI_NONAME, "a name where an address is asked for");
    hints.ai_flags = 0, hints.ai_family = 12345;
    IS(getaddrinfo(peer_name, NULL, &hints, &found), EAI_FAMILY, "a family that does not exist");
    hints.ai_family = 0, hints.ai_socktype = 99;
    IS(getaddrinfo(peer_name, NULL, &hints, &found), EAI_SOCKTYPE, "a kind that does not exist");
    hints.ai_socktype = SOCK_STREAM, hints.ai_protocol = IPPROTO_UDP;
    IS(getaddrinfo(peer_name, NULL, &hints, &found), EAI_SOCKTYPE, "a stream over UDP");
    hints.ai_protocol = 0, hints.ai_flags = 0x10000000;
    IS(getaddrinfo(peer_name, NULL, &hints, &found), EAI_BADFLAGS, "a flag that does not exist");
    hints.ai_flags = AI_CANONNAME;
    IS(getaddrinfo(NULL, "80", &hints, &found), EAI_BADFLAGS, "AI_CANONNAME of no name");
}

static void without_a_name(void)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_INET, .ai_flags = AI_PASSIVE }, *found = NULL;
    NEEDS(getaddrinfo(NULL, "80", &hints, &found) == 0);
    struct sockaddr_in *address = (struct sockaddr_in *)found->ai_addr;
    OK(address->sin_addr.s_addr == htonl(INADDR_ANY) && ntohs(address->sin_port) == 80, "AI_PASSIVE gives any address");
    freeaddrinfo(found);
    hints.ai_flags = 0;
    NEEDS(getaddrinfo(NULL, "80", &hints, &found) == 0);
    address = (struct sockaddr_in *)found->ai_addr;
    OK(address->sin_addr.s_addr == htonl(INADDR_LOOPBACK), "without it the loopback's");
    freeaddrinfo(found);
    hints.ai_family = AF_UNSPEC, hints.ai_flags = AI_NUMERICHOST;
    NEEDS(getaddrinfo("192.0.2.7", NULL, &hints, &found) == 0);
    address = (struct sockaddr_in *)found->ai_addr;
    OK(found->ai_family == AF_INET && address->sin_addr.s_addr == htonl(0xc0000207), "IPv4 in figures");
    freeaddrinfo(found);
    hints.ai_flags = 0;
    NEEDS(getaddrinfo("2001:db8::7", "http", &hints, &found) == 0);
    OK(found->ai_family == AF_INET6 && ntohs(((struct sockaddr_in6 *)found->ai_addr)->sin6_port) == 80,
       "IPv6 in figures, with a service's name");
    freeaddrinfo(found);
    NEEDS(getaddrinfo("localhost", NULL, &hints, &found) == 0);
    OK(found, "a name of the host's own");
    freeaddrinfo(found);
}

static void back_to_names(const struct address *here, const struct address *there)
{
    char host[256], service[32];
    IS(getnameinfo(&there->any, there->length, host, sizeof host, NULL, 0, NI_NAMEREQD), 0, "the name of the peer");
    OK(!strcmp(host, peer_name), "which is its own");
    IS(getnameinfo(&here->any, here->length, host, sizeof host, service, sizeof service, 0), 0, "the own name");
    OK(!strcmp(host, own_name) && !strcmp(service, "http"), "with the service");
    IS(getnameinfo(&here->any, here->length, host, 3, NULL, 0, 0), EAI_OVERFLOW, "no room for the name");
}

static void back(void)
{
    char host[256], service[32];
    struct address here = own_address(80), there = peer_address(80);
    IS(getnameinfo(&here.any, here.length, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV), 0,
       "an address in figures");
    char wanted[64];
    inet_ntop(family(), variant == V4 ? (void *)&here.v4.sin_addr : (void *)&here.v6.sin6_addr, wanted, sizeof wanted);
    OK(!strcmp(host, wanted), "as it is written");
    OK(!strcmp(service, "80"), "and the port");
    IS(getnameinfo(&here.any, here.length, NULL, 0, service, sizeof service, 0), 0, "only the service");
    OK(!strcmp(service, "http"), "by its name");
    if (variant != MAPPED)
        back_to_names(&here, &there);
    IS(getnameinfo(&here.any, here.length, host, 3, NULL, 0, NI_NUMERICHOST), EAI_OVERFLOW, "nor for figures");
    IS(getnameinfo(&here.any, 4, host, sizeof host, NULL, 0, 0), EAI_FAMILY, "an address cut short");
    IS(getnameinfo(&here.any, here.length, NULL, 0, NULL, 0, 0), 0, "nothing asked for is nothing told");
    IS(getnameinfo(&here.any, here.length, host, sizeof host, NULL, 0, 0x10000), EAI_BADFLAGS, "a flag that is none");
}

static void nobody(void)
{
    char host[256];
    struct sockaddr_in none = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc613fffe) };
    const struct sockaddr *address = (struct sockaddr *)&none;
    IS(getnameinfo(address, sizeof none, host, sizeof host, NULL, 0, NI_NAMEREQD), EAI_NONAME, "no name where there is none");
    IS(getnameinfo(address, sizeof none, host, sizeof host, NULL, 0, 0), 0, "but figures");
    OK(!strcmp(host, "198.19.255.254"), "which are the address");
}

static void hosts(void)
{
    struct hostent *found = gethostbyname(peer_name), room, *result = NULL;
    struct address there = peer_address(0);
    OK(found, "gethostbyname knows the peer");
    if (found) {
        OK(!strcmp(found->h_name, peer_name), "by its name");
        OK(found->h_addrtype == AF_INET && found->h_length == 4, "with IPv4 addresses");
        OK(found->h_addr_list[0] && !memcmp(found->h_addr_list[0], &there.v4.sin_addr, 4), "the right one");
        OK(found->h_addr_list[0] && !found->h_addr_list[1], "and no other");
        OK(found->h_aliases && !found->h_aliases[0], "and no other name");
    }
    OK(!gethostbyname("nobody.ntm.example"), "it does not know who does not exist");
    IS(h_errno, HOST_NOT_FOUND, "as h_errno tells");
    found = gethostbyname("192.0.2.7");
    OK(found && !memcmp(found->h_addr_list[0], "\xc0\x00\x02\x07", 4), "it takes figures");
    char buffer[1024];
    int why = 0;
    IS(gethostbyname_r(peer_name, &room, buffer, sizeof buffer, &result, &why), 0, "gethostbyname_r knows it too");
    OK(result == &room && !memcmp(room.h_addr_list[0], &there.v4.sin_addr, 4), "and tells it where it was told to");
    OK(result && room.h_name >= buffer && room.h_name < buffer + sizeof buffer, "all of it");
    IS(gethostbyname_r(peer_name, &room, buffer, 8, &result, &why), ERANGE, "but not without room");
    OK(!result, "then it gives nothing");
    result = &room;
    gethostbyname_r("nobody.ntm.example", &room, buffer, sizeof buffer, &result, &why);
    OK(!result && why == HOST_NOT_FOUND, "nor of who does not exist");
}

static void of_errors(void)
{
    OK(gai_strerror(EAI_NONAME) && *gai_strerror(EAI_NONAME), "errors of names have words");
    OK(strcmp(gai_strerror(EAI_NONAME), gai_strerror(EAI_AGAIN)), "and different ones");
    OK(if_nametoindex("lo") > 0, "the host's interfaces have numbers");
    IS(if_nametoindex("no-such-interface"), 0, "those that do not exist have none");
}

static void *look_up(void *argument)
{
    struct addrinfo *found = NULL;
    long code = getaddrinfo(argument, NULL, NULL, &found);
    if (code == 0)
        freeaddrinfo(found);
    return (void *)code;
}

static void at_once(void)
{
    pthread_t all[8];
    int right = 1;
    for (int i = 0; i < 8; i++)
        NEEDS(pthread_create(&all[i], NULL, look_up, i % 2 ? (void *)"nobody.ntm.example" : (void *)peer_name) == 0);
    for (int i = 0; i < 8; i++) {
        void *code;
        pthread_join(all[i], &code);
        right &= (long)code == (i % 2 ? EAI_NONAME : 0);
    }
    OK(right, "many threads ask at once and each has its answer");
}

void names(void)
{
    RUN(names, of_nodes);
    RUN(names, refused);
    RUN(names, without_a_name);
    RUN_VARIANTS(names, back);
    RUN(names, nobody);
    RUN(names, hosts);
    RUN(names, of_errors);
    RUN(names, at_once);
}
