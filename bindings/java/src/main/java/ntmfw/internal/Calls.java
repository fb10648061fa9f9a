package ntmfw.internal;

import java.nio.ByteBuffer;
import java.util.function.Consumer;

/**
 * The calls of {@code ntmfw.h}, with addresses of native memory as plain numbers, so that one implementation may go
 * through JNA and another through JNI and everything above is the same.
 *
 * <p>What fails in C with −1 and {@code errno} gives the negated {@code errno} here: nothing can come between the call
 * and the question why it failed.
 */
public interface Calls {
    /** Where the bytes of a direct buffer are. */
    long address(ByteBuffer direct);

    /** Bytes of native memory. */
    byte[] read(long address, int length);

    /** A C string. */
    String text(long address);

    int init(long config);

    void fini();

    long version();

    long strerror(int error);

    int localName(long name, long room);

    int status(long text, long room);

    /** Has each event told on a thread that the library owns. */
    int onEvent(Consumer<String> listener);

    int pathInfo(int fd, long path);

    /** The number is {@code getaddrinfo}'s own, not a negated {@code errno}. */
    int getaddrinfo(long node, long service, long hints, long results);

    void freeaddrinfo(long results);

    long gaiStrerror(int code);

    /** The number is {@code getnameinfo}'s own. */
    int getnameinfo(long address, int length, long host, int hostRoom, long service, int serviceRoom, int flags);

    int socket(int domain, int type, int protocol);

    int bind(int fd, long address, int length);

    int listen(int fd, int backlog);

    int accept4(int fd, long address, long length, int flags);

    int connect(int fd, long address, int length);

    int shutdown(int fd, int how);

    int close(int fd);

    /** The system's own: the library does not note the copy, whose end it would not be told of. */
    int dup2(int fd, int copy);

    int fcntl(int fd, int command, int argument);

    int ioctl(int fd, long request, long argument);

    int getsockname(int fd, long address, long length);

    int getpeername(int fd, long address, long length);

    int getsockopt(int fd, int level, int name, long value, long length);

    int setsockopt(int fd, int level, int name, long value, int length);

    long send(int fd, long data, long length, int flags);

    long sendto(int fd, long data, long length, int flags, long address, int addressLength);

    long recv(int fd, long room, long length, int flags);

    long recvfrom(int fd, long room, long length, int flags, long address, long addressLength);

    int epollCreate(int flags);

    int epollCtl(int set, int operation, int fd, long event);

    int epollWait(int set, long events, int room, int timeout);
}
