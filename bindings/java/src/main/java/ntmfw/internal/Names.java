package ntmfw.internal;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Names of nodes to addresses and back. The addresses keep the names, which no DNS could tell. */
public final class Names {
    private static final int REMEMBERED = 1_024;

    /** Names by address, the oldest forgotten first. */
    private static final Map<ByteBuffer, String> BY_ADDRESS = Collections.synchronizedMap(new LinkedHashMap<>() {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<ByteBuffer, String> eldest) {
            return size() > REMEMBERED;
        }
    });

    private Names() {}

    /** The addresses of a host, a node's or any other. */
    public static List<InetAddress> resolve(String host) throws UnknownHostException {
        if (host.isEmpty() || isLiteral(host)) {
            return List.of(InetAddress.getAllByName(host));
        }
        Calls calls = Library.calls();
        try (NativeBuffer room = NativeBuffer.take()) {
            int begun = calls.init(0);
            if (begun < 0) {
                throw new UnknownHostException(host + ": " + Failure.explain(-begun));
            }
            int results = 0;
            int hints = results + Long.BYTES;
            int name = hints + AddrInfo.SIZE;
            AddrInfo.putHints(room.bytes, hints);
            room.putText(name, host);
            int code = calls.getaddrinfo(room.address + name, 0, room.address + hints, room.address + results);
            if (code != 0) {
                throw new UnknownHostException(host + ": " + calls.text(calls.gaiStrerror(code)));
            }
            long list = room.bytes.getLong(results);
            try {
                return AddrInfo.addresses(calls, list, host);
            } finally {
                calls.freeaddrinfo(list);
            }
        }
    }

    /** The same address, resolved by the library where Java could not. */
    public static SocketAddress resolved(SocketAddress address) throws UnknownHostException {
        return address instanceof InetSocketAddress inet && inet.isUnresolved()
            ? new InetSocketAddress(resolve(inet.getHostString()).get(0), inet.getPort())
            : address;
    }

    /** A virtual address with the name of its node. */
    static InetAddress ofNode(byte[] address) {
        ByteBuffer key = ByteBuffer.wrap(address);
        String name = BY_ADDRESS.get(key);
        if (name == null) {
            name = ask(key);
            if (name != null) {
                BY_ADDRESS.put(key, name);
            }
        }
        return SocketAddresses.named(name, address);
    }

    /** Null where nobody knows it yet. */
    private static String ask(ByteBuffer address) {
        try (NativeBuffer room = NativeBuffer.take()) {
            int name = SocketAddresses.LENGTH;
            SocketAddresses.put(room.bytes, 0, SocketAddresses.named(null, address.array()), 0);
            int code = Library.calls().getnameinfo(room.address, SocketAddresses.LENGTH, room.address + name,
                room.size() - name, 0, 0, Linux.NI_NAMEREQD);
            return code == 0 ? room.text(name) : null;
        }
    }

    private static boolean isLiteral(String host) {
        return host.indexOf(':') >= 0 || host.chars().allMatch(letter -> letter == '.' || Character.isDigit(letter));
    }

    /** {@code struct addrinfo} on 64-bit Linux. */
    private static final class AddrInfo {
        static final int SIZE = 48;
        private static final int TYPE = 8;
        private static final int ADDRESS_LENGTH = 16;
        private static final int ADDRESS = 24;
        private static final int NEXT = 40;

        /** One result an address, of either family. */
        static void putHints(ByteBuffer bytes, int at) {
            bytes.put(at, new byte[SIZE]).putInt(at + TYPE, Linux.SOCK_STREAM);
        }

        static List<InetAddress> addresses(Calls calls, long first, String host) {
            List<InetAddress> addresses = new ArrayList<>();
            for (long at = first; at != 0;) {
                ByteBuffer entry = ByteBuffer.wrap(calls.read(at, SIZE)).order(ByteOrder.nativeOrder());
                byte[] address = calls.read(entry.getLong(ADDRESS), entry.getInt(ADDRESS_LENGTH));
                ByteBuffer socketAddress = ByteBuffer.wrap(address).order(ByteOrder.nativeOrder());
                addresses.add(SocketAddresses.named(host, SocketAddresses.address(socketAddress, 0)));
                at = entry.getLong(NEXT);
            }
            return addresses;
        }
    }
}
