package ntmfw.internal;

import java.net.InetSocketAddress;
import java.net.SocketException;

/** Makes connections, with or without a time limit, on threads of both kinds. */
final class Connecting {
    private Connecting() {}

    /** 0 or a negated {@code errno}; {@code -EINPROGRESS} where the time was over before. */
    static int connect(Descriptor descriptor, int fd, InetSocketAddress to, int timeout) throws SocketException {
        try (NativeBuffer room = NativeBuffer.take()) {
            SocketAddresses.put(room.bytes, 0, to.getAddress(), to.getPort());
            return VirtualThreads.isCurrent()
                ? parked(descriptor, fd, room.address, timeout)
                : waiting(fd, room.address, timeout);
        }
    }

    /** The library's time-out of sending is that of connecting as well. */
    private static int waiting(int fd, long address, int timeout) throws SocketException {
        if (timeout != 0) {
            Options.setTimeout(fd, Linux.SO_SNDTIMEO, timeout);
        }
        int result = Library.calls().connect(fd, address, SocketAddresses.LENGTH);
        if (timeout != 0 && result == 0) {
            Options.setTimeout(fd, Linux.SO_SNDTIMEO, 0);
        }
        return result;
    }

    private static int parked(Descriptor descriptor, int fd, long address, int timeout) throws SocketException {
        Calls calls = Library.calls();
        int flags = calls.fcntl(fd, Linux.F_GETFL, 0);
        calls.fcntl(fd, Linux.F_SETFL, flags | Linux.O_NONBLOCK);
        int result = calls.connect(fd, address, SocketAddresses.LENGTH);
        if (result == -Linux.EINPROGRESS && Poller.writing().await(descriptor, fd, Blocking.deadline(timeout))) {
            result = -Options.pendingError(fd);
        }
        calls.fcntl(fd, Linux.F_SETFL, flags);
        return result;
    }
}
