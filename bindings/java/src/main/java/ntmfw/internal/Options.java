package ntmfw.internal;

import java.net.SocketException;
import java.net.SocketOption;
import java.net.SocketOptions;
import java.net.StandardSocketOptions;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import jdk.net.ExtendedSocketOptions;

/** Options of sockets: what Java calls them, in both of its ways, and what C calls them. */
enum Options {
    TCP_NODELAY(StandardSocketOptions.TCP_NODELAY, SocketOptions.TCP_NODELAY, Linux.IPPROTO_TCP, Linux.TCP_NODELAY),
    SO_LINGER(StandardSocketOptions.SO_LINGER, SocketOptions.SO_LINGER, Linux.SOL_SOCKET, Linux.SO_LINGER),
    SO_KEEPALIVE(StandardSocketOptions.SO_KEEPALIVE, SocketOptions.SO_KEEPALIVE, Linux.SOL_SOCKET, Linux.SO_KEEPALIVE),
    SO_SNDBUF(StandardSocketOptions.SO_SNDBUF, SocketOptions.SO_SNDBUF, Linux.SOL_SOCKET, Linux.SO_SNDBUF),
    SO_RCVBUF(StandardSocketOptions.SO_RCVBUF, SocketOptions.SO_RCVBUF, Linux.SOL_SOCKET, Linux.SO_RCVBUF),
    SO_REUSEADDR(StandardSocketOptions.SO_REUSEADDR, SocketOptions.SO_REUSEADDR, Linux.SOL_SOCKET, Linux.SO_REUSEADDR),
    SO_REUSEPORT(StandardSocketOptions.SO_REUSEPORT, SocketOptions.SO_REUSEPORT, Linux.SOL_SOCKET, Linux.SO_REUSEPORT),
    SO_BROADCAST(StandardSocketOptions.SO_BROADCAST, SocketOptions.SO_BROADCAST, Linux.SOL_SOCKET, Linux.SO_BROADCAST),
    SO_OOBINLINE(null, SocketOptions.SO_OOBINLINE, Linux.SOL_SOCKET, Linux.SO_OOBINLINE),
    IP_TOS(StandardSocketOptions.IP_TOS, SocketOptions.IP_TOS, Linux.IPPROTO_IPV6, Linux.IPV6_TCLASS),
    TCP_KEEPIDLE(ExtendedSocketOptions.TCP_KEEPIDLE, Options.NONE, Linux.IPPROTO_TCP, Linux.TCP_KEEPIDLE),
    TCP_KEEPINTERVAL(ExtendedSocketOptions.TCP_KEEPINTERVAL, Options.NONE, Linux.IPPROTO_TCP, Linux.TCP_KEEPINTVL),
    TCP_KEEPCOUNT(ExtendedSocketOptions.TCP_KEEPCOUNT, Options.NONE, Linux.IPPROTO_TCP, Linux.TCP_KEEPCNT);

    static final List<Options> OF_STREAMS = List.of(TCP_NODELAY, SO_LINGER, SO_KEEPALIVE, SO_SNDBUF, SO_RCVBUF,
        SO_REUSEADDR, SO_REUSEPORT, SO_OOBINLINE, IP_TOS, TCP_KEEPIDLE, TCP_KEEPINTERVAL, TCP_KEEPCOUNT);
    static final List<Options> OF_DATAGRAMS =
        List.of(SO_SNDBUF, SO_RCVBUF, SO_REUSEADDR, SO_REUSEPORT, SO_BROADCAST, IP_TOS);

    private static final int NONE = -1;
    /** Both {@code struct linger} and {@code struct timeval} fit, and an {@code int} of course. */
    private static final int LENGTH = 16;

    private final SocketOption<?> name;
    private final int number;
    private final int level;
    private final int option;

    Options(SocketOption<?> name, int number, int level, int option) {
        this.name = name;
        this.number = number;
        this.level = level;
        this.option = option;
    }

    static Set<SocketOption<?>> names(List<Options> supported) {
        Set<SocketOption<?>> names = new LinkedHashSet<>();
        supported.stream().map(option -> option.name).filter(name -> name != null).forEach(names::add);
        return names;
    }

    static Options of(List<Options> supported, SocketOption<?> name) {
        return supported.stream().filter(option -> name.equals(option.name)).findFirst()
            .orElseThrow(() -> new UnsupportedOperationException("'" + name + "' is no option of this socket"));
    }

    static Options of(List<Options> supported, int number) throws SocketException {
        return supported.stream().filter(option -> option.number == number && number != NONE).findFirst()
            .orElseThrow(() -> new SocketException("option " + number + " is none of this socket"));
    }

    /** Sets it to what Java gives: a number, or whether it is on; to linger not at all is {@code false} or −1. */
    void set(int fd, Object value) throws SocketException {
        if (this == SO_LINGER) {
            int seconds = value instanceof Integer given ? given : -1;
            set(fd, level, option, seconds < 0 ? 0 : 1, Math.max(seconds, 0));
            return;
        }
        int given = value instanceof Boolean on ? on ? 1 : 0 : (Integer) value;
        set(fd, level, option, given, 0);
        if (this == IP_TOS) {
            set(fd, Linux.IPPROTO_IP, Linux.IP_TOS, given, 0);
        }
    }

    Object get(int fd) throws SocketException {
        try (NativeBuffer value = NativeBuffer.take()) {
            int first = get(fd, level, option, value);
            return switch (this) {
                case SO_LINGER -> first == 0 ? -1 : value.bytes.getInt(Integer.BYTES);
                // Linux tells the double of what was asked for.
                case SO_SNDBUF, SO_RCVBUF -> first / 2;
                case IP_TOS, TCP_KEEPIDLE, TCP_KEEPINTERVAL, TCP_KEEPCOUNT -> first;
                default -> first != 0;
            };
        }
    }

    /** The time-out of reading (or of connecting and writing) in the library itself; 0 is none. */
    static void setTimeout(int fd, int option, int milliseconds) throws SocketException {
        try (NativeBuffer value = NativeBuffer.take()) {
            value.bytes.putLong(0, milliseconds / 1_000).putLong(Long.BYTES, milliseconds % 1_000 * 1_000L);
            check(Library.calls().setsockopt(fd, Linux.SOL_SOCKET, option, value.address, LENGTH));
        }
    }

    /** The error that waits to be told, or 0. */
    static int pendingError(int fd) throws SocketException {
        try (NativeBuffer value = NativeBuffer.take()) {
            return get(fd, Linux.SOL_SOCKET, Linux.SO_ERROR, value);
        }
    }

    static void setNumber(int fd, int level, int option, int number) throws SocketException {
        set(fd, level, option, number, 0);
    }

    private static int get(int fd, int level, int option, NativeBuffer value) throws SocketException {
        value.bytes.putInt(LENGTH, LENGTH);
        check(Library.calls().getsockopt(fd, level, option, value.address, value.address + LENGTH));
        return value.bytes.getInt(0);
    }

    private static void set(int fd, int level, int option, int first, int second) throws SocketException {
        try (NativeBuffer value = NativeBuffer.take()) {
            value.bytes.putInt(0, first).putInt(Integer.BYTES, second);
            check(Library.calls().setsockopt(fd, level, option, value.address, 2 * Integer.BYTES));
        }
    }

    private static void check(int result) throws SocketException {
        if (result < 0) {
            throw Failure.of(-result);
        }
    }
}
