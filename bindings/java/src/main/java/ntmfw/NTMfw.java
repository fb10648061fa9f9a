package ntmfw;

import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.function.Consumer;
import ntmfw.internal.Failure;
import ntmfw.internal.Library;
import ntmfw.internal.Names;
import ntmfw.internal.NativeBuffer;

/** The library as a whole: beginning and ending, names, and what it says of itself. */
public final class NTMfw {
    private NTMfw() {}

    /**
     * Begins with the usual configuration: the file that {@code NTMFW_CONFIG} names, the user's or the system's. The
     * first use of a socket does that as well; who begins on purpose learns here what is wrong.
     *
     * @throws IOException if the node cannot begin, with the reason
     */
    public static void init() throws IOException {
        check(Library.calls().init(0));
    }

    /**
     * Begins with a configuration.
     *
     * @param configuration the file
     * @throws IOException if the node cannot begin, with the reason
     */
    public static void init(Path configuration) throws IOException {
        try (NativeBuffer path = NativeBuffer.take()) {
            path.putText(0, configuration.toString());
            check(Library.calls().init(path.address));
        }
    }

    /** Ends: tells the coordinator that this node goes. The library cannot begin again in this process. */
    public static void close() {
        Library.calls().fini();
    }

    /**
     * The library's version.
     *
     * @return such as {@code 0.1.0}
     */
    public static String version() {
        return Library.calls().text(Library.calls().version());
    }

    /**
     * This node's name.
     *
     * @return such as {@code laptop.ntm.example}
     * @throws IOException if the node cannot begin
     */
    public static String localName() throws IOException {
        try (NativeBuffer name = NativeBuffer.take()) {
            check(Library.calls().localName(name.address, name.size()));
            return name.text(0);
        }
    }

    /**
     * The address of a node or any other host, which keeps the name.
     *
     * @param host the name, {@code null} for the loopback address
     * @return the first of {@link #getAllByName}
     * @throws UnknownHostException if nobody has that name
     */
    public static InetAddress getByName(String host) throws UnknownHostException {
        return getAllByName(host)[0];
    }

    /**
     * The addresses of a node or any other host, which keep the name. When this is back the tunnel to a node is on its way.
     *
     * @param host the name, {@code null} for the loopback address
     * @return its addresses of both families
     * @throws UnknownHostException if nobody has that name
     */
    public static InetAddress[] getAllByName(String host) throws UnknownHostException {
        return Names.resolve(host == null ? "" : host).toArray(InetAddress[]::new);
    }

    /**
     * What the library says of itself.
     *
     * @return JSON: name, addresses, peers with their paths, counters
     * @throws IOException if the node cannot begin
     */
    public static String status() throws IOException {
        int room = NativeBuffer.LARGE;
        while (true) {
            ByteBuffer text = ByteBuffer.allocateDirect(room);
            int length = check(Library.calls().status(Library.calls().address(text), room));
            if (length < room) {
                byte[] json = new byte[length];
                text.get(json);
                return new String(json, StandardCharsets.UTF_8);
            }
            room = length + NativeBuffer.SMALL;
        }
    }

    /**
     * Has everything that happens told from now on, on a thread of the library's own. There is one listener a process.
     *
     * @param listener is given JSON objects: {@code "event"} is {@code registered}, {@code peer up},
     *     {@code path changed}, …
     * @throws IOException if the node cannot begin, or there is a listener already
     */
    public static void onEvent(Consumer<String> listener) throws IOException {
        check(Library.calls().onEvent(listener));
    }

    private static int check(int result) throws IOException {
        if (result < 0) {
            throw Failure.library(-result);
        }
        return result;
    }
}
