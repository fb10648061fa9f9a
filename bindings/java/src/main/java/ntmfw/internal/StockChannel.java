package ntmfw.internal;

import java.io.IOException;
import java.net.SocketException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A {@link SocketChannel} of Java's own behind which a connection to a node stands.
 *
 * <p>Selectors take no channels but Java's own, and Java makes none from a descriptor. But it makes Unix-domain channels,
 * and what it does with them is {@code read}, {@code write}, {@code shutdown} and {@code close} on a descriptor: the
 * calls that a descriptor of the library that carries data understands. So a Unix-domain channel is made, its descriptor
 * is found by the name that it is bound to, and the library's is put in its place.
 */
final class StockChannel {
    private static final Path DESCRIPTORS = Path.of("/proc/self/fd");
    /** Where the path is in a {@code sockaddr_un}, and how long the whole is at most. */
    private static final int PATH = 2;
    private static final int LONGEST = 110;
    private static final int LENGTH = 112;

    private StockChannel() {}

    /** A channel with the connection of {@code fd} behind it. That may be closed then. */
    static SocketChannel over(int fd) throws IOException {
        Options.setNumber(fd, Linux.SOL_NTMFW, Linux.NTMFW_DATA_CARRYING, 1);
        Path directory = Files.createTempDirectory("ntmfw");
        SocketChannel channel = null;
        try {
            Path name = directory.resolve("c");
            channel = connected(name, directory.resolve("s"));
            int result = Library.calls().dup2(fd, descriptorOf(name));
            if (result < 0) {
                throw Failure.of(-result);
            }
            return channel;
        } catch (IOException failure) {
            if (channel != null) {
                channel.close();
            }
            throw failure;
        } finally {
            Files.deleteIfExists(directory.resolve("c"));
            Files.deleteIfExists(directory.resolve("s"));
            Files.delete(directory);
        }
    }

    /** A channel that Java takes for connected, bound to a name that no other descriptor has. */
    private static SocketChannel connected(Path name, Path server) throws IOException {
        try (ServerSocketChannel listening = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            listening.bind(UnixDomainSocketAddress.of(server));
            SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
            try {
                channel.bind(UnixDomainSocketAddress.of(name));
                channel.connect(UnixDomainSocketAddress.of(server));
                listening.accept().close();
                return channel;
            } catch (IOException failure) {
                channel.close();
                throw failure;
            }
        }
    }

    private static int descriptorOf(Path name) throws IOException {
        try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(DESCRIPTORS);
                NativeBuffer room = NativeBuffer.take()) {
            for (Path descriptor : descriptors) {
                int number = Integer.parseInt(descriptor.getFileName().toString());
                if (nameOf(number, room).equals(name.toString())) {
                    return number;
                }
            }
        }
        throw new SocketException("the channel's descriptor is not in " + DESCRIPTORS);
    }

    /** The name of a Unix-domain socket; empty where the descriptor is none, or has no name. */
    private static String nameOf(int descriptor, NativeBuffer room) {
        room.bytes.put(0, new byte[LONGEST + 1]).putInt(LENGTH, LONGEST);
        int result = Library.calls().getsockname(descriptor, room.address, room.address + LENGTH);
        return result < 0 || room.bytes.getShort(0) != Linux.AF_UNIX ? "" : room.text(PATH);
    }
}
