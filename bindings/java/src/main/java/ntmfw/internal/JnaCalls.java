package ntmfw.internal;

import com.sun.jna.Callback;
import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Platform;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/**
 * The calls through JNA's direct mapping. Addresses are numbers: a {@code Pointer} would be unwrapped at every call, and
 * has to be made for every offset.
 */
final class JnaCalls implements Calls {
    /** Held for ever: native code calls it. */
    private Listener listener;

    JnaCalls(NativeLibrary library) {
        if (Native.POINTER_SIZE != Long.BYTES || Native.SIZE_T_SIZE != Long.BYTES) {
            throw new UnsatisfiedLinkError("NTMfw for Java needs a 64-bit machine");
        }
        Native.register(Functions.class, library);
        Native.register(SystemFunctions.class, NativeLibrary.getInstance(Platform.C_LIBRARY_NAME));
    }

    private interface Listener extends Callback {
        void event(Pointer event, Pointer context);
    }

    @Override
    public long address(ByteBuffer direct) {
        return Pointer.nativeValue(Native.getDirectBufferPointer(direct));
    }

    @Override
    public byte[] read(long address, int length) {
        return new Pointer(address).getByteArray(0, length);
    }

    @Override
    public String text(long address) {
        return new Pointer(address).getString(0, StandardCharsets.UTF_8.name());
    }

    @Override
    public synchronized int onEvent(Consumer<String> consumer) {
        Listener told = (event, context) -> consumer.accept(event.getString(0, StandardCharsets.UTF_8.name()));
        int result = checked(Functions.ntmfw_on_event(told, 0));
        if (result == 0) {
            listener = told;
        }
        return result;
    }

    private static int checked(int result) {
        return result < 0 ? -Native.getLastError() : result;
    }

    private static long checked(long result) {
        return result < 0 ? -Native.getLastError() : result;
    }

    @Override
    public int init(long config) {
        return checked(Functions.ntmfw_init(config));
    }

    @Override
    public void fini() {
        Functions.ntmfw_fini();
    }

    @Override
    public long version() {
        return Functions.ntmfw_version();
    }

    @Override
    public long strerror(int error) {
        return Functions.ntmfw_strerror(error);
    }

    @Override
    public int localName(long name, long room) {
        return checked(Functions.ntmfw_local_name(name, room));
    }

    @Override
    public int status(long text, long room) {
        return checked(Functions.ntmfw_status(text, room));
    }

    @Override
    public int pathInfo(int fd, long path) {
        return checked(Functions.ntmfw_path_info(fd, path));
    }

    @Override
    public int getaddrinfo(long node, long service, long hints, long results) {
        return Functions.ntmfw_getaddrinfo(node, service, hints, results);
    }

    @Override
    public void freeaddrinfo(long results) {
        Functions.ntmfw_freeaddrinfo(results);
    }

    @Override
    public long gaiStrerror(int code) {
        return Functions.ntmfw_gai_strerror(code);
    }

    @Override
    public int getnameinfo(long address, int length, long host, int hostRoom, long service, int serviceRoom, int flags) {
        return Functions.ntmfw_getnameinfo(address, length, host, hostRoom, service, serviceRoom, flags);
    }

    @Override
    public int socket(int domain, int type, int protocol) {
        return checked(Functions.ntmfw_socket(domain, type, protocol));
    }

    @Override
    public int bind(int fd, long address, int length) {
        return checked(Functions.ntmfw_bind(fd, address, length));
    }

    @Override
    public int listen(int fd, int backlog) {
        return checked(Functions.ntmfw_listen(fd, backlog));
    }

    @Override
    public int accept4(int fd, long address, long length, int flags) {
        return checked(Functions.ntmfw_accept4(fd, address, length, flags));
    }

    @Override
    public int connect(int fd, long address, int length) {
        return checked(Functions.ntmfw_connect(fd, address, length));
    }

    @Override
    public int shutdown(int fd, int how) {
        return checked(Functions.ntmfw_shutdown(fd, how));
    }

    @Override
    public int close(int fd) {
        return checked(Functions.ntmfw_close(fd));
    }

    @Override
    public int dup2(int fd, int copy) {
        return checked(SystemFunctions.dup2(fd, copy));
    }

    @Override
    public int fcntl(int fd, int command, int argument) {
        return checked(Functions.ntmfw_fcntl(fd, command, argument));
    }

    @Override
    public int ioctl(int fd, long request, long argument) {
        return checked(Functions.ntmfw_ioctl(fd, request, argument));
    }

    @Override
    public int getsockname(int fd, long address, long length) {
        return checked(Functions.ntmfw_getsockname(fd, address, length));
    }

    @Override
    public int getpeername(int fd, long address, long length) {
        return checked(Functions.ntmfw_getpeername(fd, address, length));
    }

    @Override
    public int getsockopt(int fd, int level, int name, long value, long length) {
        return checked(Functions.ntmfw_getsockopt(fd, level, name, value, length));
    }

    @Override
    public int setsockopt(int fd, int level, int name, long value, int length) {
        return checked(Functions.ntmfw_setsockopt(fd, level, name, value, length));
    }

    @Override
    public long send(int fd, long data, long length, int flags) {
        return checked(Functions.ntmfw_send(fd, data, length, flags));
    }

    @Override
    public long sendto(int fd, long data, long length, int flags, long address, int addressLength) {
        return checked(Functions.ntmfw_sendto(fd, data, length, flags, address, addressLength));
    }

    @Override
    public long recv(int fd, long room, long length, int flags) {
        return checked(Functions.ntmfw_recv(fd, room, length, flags));
    }

    @Override
    public long recvfrom(int fd, long room, long length, int flags, long address, long addressLength) {
        return checked(Functions.ntmfw_recvfrom(fd, room, length, flags, address, addressLength));
    }

    @Override
    public int epollCreate(int flags) {
        return checked(Functions.ntmfw_epoll_create1(flags));
    }

    @Override
    public int epollCtl(int set, int operation, int fd, long event) {
        return checked(Functions.ntmfw_epoll_ctl(set, operation, fd, event));
    }

    @Override
    public int epollWait(int set, long events, int room, int timeout) {
        return checked(Functions.ntmfw_epoll_wait(set, events, room, timeout));
    }

    /** Bound to the C library's. */
    private static final class SystemFunctions {
        static native int dup2(int fd, int copy);
    }

    /** Bound to the library's exports of these names. */
    private static final class Functions {
        static native int ntmfw_on_event(Listener listener, long context);

        static native int ntmfw_init(long config);

        static native void ntmfw_fini();

        static native long ntmfw_version();

        static native long ntmfw_strerror(int error);

        static native int ntmfw_local_name(long name, long room);

        static native int ntmfw_status(long text, long room);

        static native int ntmfw_path_info(int fd, long path);

        static native int ntmfw_getaddrinfo(long node, long service, long hints, long results);

        static native void ntmfw_freeaddrinfo(long results);

        static native long ntmfw_gai_strerror(int code);

        static native int ntmfw_getnameinfo(long address, int length, long host, int hostRoom, long service, int serviceRoom, int flags);

        static native int ntmfw_socket(int domain, int type, int protocol);

        static native int ntmfw_bind(int fd, long address, int length);

        static native int ntmfw_listen(int fd, int backlog);

        static native int ntmfw_accept4(int fd, long address, long length, int flags);

        static native int ntmfw_connect(int fd, long address, int length);

        static native int ntmfw_shutdown(int fd, int how);

        static native int ntmfw_close(int fd);

        static native int ntmfw_fcntl(int fd, int command, int argument);

        static native int ntmfw_ioctl(int fd, long request, long argument);

        static native int ntmfw_getsockname(int fd, long address, long length);

        static native int ntmfw_getpeername(int fd, long address, long length);

        static native int ntmfw_getsockopt(int fd, int level, int name, long value, long length);

        static native int ntmfw_setsockopt(int fd, int level, int name, long value, int length);

        static native long ntmfw_send(int fd, long data, long length, int flags);

        static native long ntmfw_sendto(int fd, long data, long length, int flags, long address, int addressLength);

        static native long ntmfw_recv(int fd, long room, long length, int flags);

        static native long ntmfw_recvfrom(int fd, long room, long length, int flags, long address, long addressLength);

        static native int ntmfw_epoll_create1(int flags);

        static native int ntmfw_epoll_ctl(int set, int operation, int fd, long event);

        static native int ntmfw_epoll_wait(int set, long events, int room, int timeout);
    }
}
