package ntmfw.internal;

import java.net.InetAddress;
import java.net.SocketException;
import java.net.SocketOption;
import java.net.SocketOptions;
import java.util.List;
import java.util.Set;

/** What streams, ports that listen and datagram sockets have in common: a descriptor, an address, options. */
final class OpenSocket {
    final Descriptor descriptor;
    private final List<Options> supported;
    private volatile int timeout;

    /** Owns the descriptor for {@code owner}; {@code afterwards} is run when it is closed and no thread uses it. */
    OpenSocket(int fd, List<Options> supported, Object owner, Runnable afterwards) {
        this.descriptor = new Descriptor(fd, owner, afterwards);
        this.supported = supported;
    }

    /** A new descriptor. */
    static int open(int type) throws SocketException {
        int fd = Library.calls().socket(Linux.AF_INET6, type | Linux.SOCK_CLOEXEC, 0);
        if (fd < 0) {
            throw Failure.of(-fd);
        }
        return fd;
    }

    /** Something that is done with the descriptor. */
    interface Use<T> {
        T with(int fd) throws SocketException;
    }

    /** Does something while nobody else can close the descriptor. */
    <T> T use(Use<T> use) throws SocketException {
        int fd = descriptor.enter();
        try {
            return use.with(fd);
        } finally {
            descriptor.leave();
        }
    }

    /** An address of this node, or any, and where port 0 was asked for the one that was given. */
    int bind(InetAddress address, int port) throws SocketException {
        return use(fd -> {
            try (NativeBuffer room = NativeBuffer.take()) {
                SocketAddresses.put(room.bytes, 0, address, port);
                int result = Library.calls().bind(fd, room.address, SocketAddresses.LENGTH);
                if (result < 0) {
                    throw Failure.binding(-result, new SocketAddresses.Shown(address, port));
                }
                ownAddress(fd, room);
                return SocketAddresses.port(room.bytes, 0);
            }
        });
    }

    int localPort() throws SocketException {
        return use(fd -> {
            try (NativeBuffer room = NativeBuffer.take()) {
                ownAddress(fd, room);
                return SocketAddresses.port(room.bytes, 0);
            }
        });
    }

    private InetAddress localAddress() throws SocketException {
        return use(fd -> {
            try (NativeBuffer room = NativeBuffer.take()) {
                ownAddress(fd, room);
                return shown(fd, SocketAddresses.address(room.bytes, 0));
            }
        });
    }

    private static void ownAddress(int fd, NativeBuffer room) throws SocketException {
        room.bytes.putInt(SocketAddresses.LENGTH, SocketAddresses.LENGTH);
        int result = Library.calls().getsockname(fd, room.address, room.address + SocketAddresses.LENGTH);
        if (result < 0) {
            throw Failure.of(-result);
        }
    }

    /** Addresses of nodes with their names; those of the kernel's sockets are Java's to name. */
    static InetAddress shown(int fd, byte[] address) {
        InetAddress plain = SocketAddresses.named(null, address);
        return plain.isAnyLocalAddress() || !Paths.isOfNodes(fd) ? plain : Names.ofNode(plain.getAddress());
    }

    int timeout() {
        return timeout;
    }

    Set<SocketOption<?>> optionNames() {
        return Options.names(supported);
    }

    <T> void setOption(SocketOption<T> name, T value) throws SocketException {
        use(fd -> {
            Options.of(supported, name).set(fd, value);
            return null;
        });
    }

    <T> T getOption(SocketOption<T> name) throws SocketException {
        return name.type().cast(use(fd -> Options.of(supported, name).get(fd)));
    }

    void setOption(int number, Object value) throws SocketException {
        use(fd -> {
            if (number == SocketOptions.SO_TIMEOUT) {
                Options.setTimeout(fd, Linux.SO_RCVTIMEO, (Integer) value);
                timeout = (Integer) value;
            } else {
                Options.of(supported, number).set(fd, value);
            }
            return null;
        });
    }

    Object getOption(int number) throws SocketException {
        return switch (number) {
            case SocketOptions.SO_TIMEOUT -> timeout;
            case SocketOptions.SO_BINDADDR -> localAddress();
            default -> use(fd -> Options.of(supported, number).get(fd));
        };
    }
}
