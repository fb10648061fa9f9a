package ntmfw.internal;

import java.nio.ByteBuffer;
import java.util.function.Consumer;

/** The calls through {@code libntmfw_java.so}, which has the library inside. */
final class JniCalls implements Calls {
    @Override
    public native long address(ByteBuffer direct);

    @Override
    public native byte[] read(long address, int length);

    @Override
    public native String text(long address);

    @Override
    public native int onEvent(Consumer<String> listener);

    @Override
    public native int init(long config);

    @Override
    public native void fini();

    @Override
    public native long version();

    @Override
    public native long strerror(int error);

    @Override
    public native int localName(long name, long room);

    @Override
    public native int status(long text, long room);

    @Override
    public native int pathInfo(int fd, long path);

    @Override
    public native int getaddrinfo(long node, long service, long hints, long results);

    @Override
    public native void freeaddrinfo(long results);

    @Override
    public native long gaiStrerror(int code);

    @Override
    public native int getnameinfo(long address, int length, long host, int hostRoom, long service, int serviceRoom, int flags);

    @Override
    public native int socket(int domain, int type, int protocol);

    @Override
    public native int bind(int fd, long address, int length);

    @Override
    public native int listen(int fd, int backlog);

    @Override
    public native int accept4(int fd, long address, long length, int flags);

    @Override
    public native int connect(int fd, long address, int length);

    @Override
    public native int shutdown(int fd, int how);

    @Override
    public native int close(int fd);

    @Override
    public native int dup2(int fd, int copy);

    @Override
    public native int fcntl(int fd, int command, int argument);

    @Override
    public native int ioctl(int fd, long request, long argument);

    @Override
    public native int getsockname(int fd, long address, long length);

    @Override
    public native int getpeername(int fd, long address, long length);

    @Override
    public native int getsockopt(int fd, int level, int name, long value, long length);

    @Override
    public native int setsockopt(int fd, int level, int name, long value, int length);

    @Override
    public native long send(int fd, long data, long length, int flags);

    @Override
    public native long sendto(int fd, long data, long length, int flags, long address, int addressLength);

    @Override
    public native long recv(int fd, long room, long length, int flags);

    @Override
    public native long recvfrom(int fd, long room, long length, int flags, long address, long addressLength);

    @Override
    public native int epollCreate(int flags);

    @Override
    public native int epollCtl(int set, int operation, int fd, long event);

    @Override
    public native int epollWait(int set, long events, int room, int timeout);
}
