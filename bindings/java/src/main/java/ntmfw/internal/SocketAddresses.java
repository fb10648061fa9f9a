package ntmfw.internal;

import java.net.Inet4Address;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;

/** {@code struct sockaddr_in6} in native memory: all sockets are of {@code AF_INET6}, IPv4 is mapped into it. */
final class SocketAddresses {
    /** The length of a {@code sockaddr_in6}. */
    static final int LENGTH = 28;

    private static final int PORT = 2;
    private static final int IPV4 = 4;
    private static final int IPV6 = 8;
    private static final int SCOPE = 24;
    private static final int MAPPED = IPV6 + 12;

    private SocketAddresses() {}

    /** For messages: an address with its port. */
    record Shown(InetAddress address, int port) {
        @Override
        public String toString() {
            return new InetSocketAddress(address, port).toString();
        }
    }

    static void put(ByteBuffer bytes, int at, InetAddress address, int port) {
        for (int i = 0; i < LENGTH; i++) {
            bytes.put(at + i, (byte) 0);
        }
        bytes.putShort(at, (short) Linux.AF_INET6);
        bytes.put(at + PORT, (byte) (port >> 8)).put(at + PORT + 1, (byte) port);
        if (address.isAnyLocalAddress()) {
            return;
        }
        if (address instanceof Inet4Address) {
            bytes.put(at + MAPPED - 2, (byte) -1).put(at + MAPPED - 1, (byte) -1);
            bytes.put(at + MAPPED, address.getAddress());
        } else {
            bytes.put(at + IPV6, address.getAddress());
            bytes.putInt(at + SCOPE, ((Inet6Address) address).getScopeId());
        }
    }

    /** The bytes of the address: of any family, and without its name. */
    static byte[] address(ByteBuffer bytes, int at) {
        boolean v4 = bytes.getShort(at) == Linux.AF_INET;
        byte[] address = new byte[v4 ? 4 : 16];
        bytes.get(at + (v4 ? IPV4 : IPV6), address);
        return address;
    }

    static int port(ByteBuffer bytes, int at) {
        return Byte.toUnsignedInt(bytes.get(at + PORT)) << 8 | Byte.toUnsignedInt(bytes.get(at + PORT + 1));
    }

    /** With this name, or without one where that is null. */
    static InetAddress named(String name, byte[] address) {
        try {
            return name == null ? InetAddress.getByAddress(address) : InetAddress.getByAddress(name, address);
        } catch (UnknownHostException impossible) {
            throw new AssertionError("an address has 4 or 16 bytes", impossible);
        }
    }
}
