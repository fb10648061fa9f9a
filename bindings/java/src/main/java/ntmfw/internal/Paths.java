package ntmfw.internal;

import java.net.SocketException;

/** How packets of a socket travel. */
public final class Paths {
    private static final int ENOTSOCK = 88;
    private static final int INTERFACE = 4;
    private static final int ROUND_TRIP = 20;
    private static final int LOSS = 24;

    private Paths() {}

    /** {@code struct ntmfw_path}. */
    public record Path(int kind, String networkInterface, long roundTripMicroseconds, int lossPerMille) {}

    static Path of(int fd) throws SocketException {
        try (NativeBuffer room = NativeBuffer.take()) {
            int result = Library.calls().pathInfo(fd, room.address);
            if (result < 0) {
                throw Failure.of(-result);
            }
            return new Path(room.bytes.getInt(0), room.text(INTERFACE),
                Integer.toUnsignedLong(room.bytes.getInt(ROUND_TRIP)), room.bytes.getInt(LOSS));
        }
    }

    /** Whether it is a socket between nodes, and not one that became the kernel's. */
    static boolean isOfNodes(int fd) {
        try (NativeBuffer room = NativeBuffer.take()) {
            return Library.calls().pathInfo(fd, room.address) != -ENOTSOCK;
        }
    }
}
