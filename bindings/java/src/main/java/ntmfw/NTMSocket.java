package ntmfw;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketException;
import java.nio.channels.SocketChannel;
import ntmfw.internal.Names;
import ntmfw.internal.StreamImpl;

/**
 * A {@link Socket} to a node, by its name, wherever it is. To any other address it is a socket of the operating system.
 *
 * <p>All of {@link Socket} works, except urgent data and {@link Socket#getChannel}. Names are resolved by the library:
 * an {@link InetSocketAddress} that Java could not resolve may be given as it is.
 */
public class NTMSocket extends Socket {
    private final StreamImpl stream;

    /**
     * A socket that is to be connected.
     *
     * @throws SocketException if none can be made
     */
    public NTMSocket() throws SocketException {
        this(new StreamImpl());
    }

    NTMSocket(StreamImpl stream) throws SocketException {
        super(stream);
        this.stream = stream;
    }

    /**
     * Connects to a node or any other host.
     *
     * @param host the name, {@code null} for the loopback address
     * @param port the port
     * @throws IOException if it cannot be reached; {@link java.net.UnknownHostException} if nobody has that name
     */
    public NTMSocket(String host, int port) throws IOException {
        this(NTMfw.getByName(host), port);
    }

    /**
     * Connects to an address.
     *
     * @param address the address
     * @param port the port
     * @throws IOException if it cannot be reached
     */
    public NTMSocket(InetAddress address, int port) throws IOException {
        this(address, port, null, 0);
    }

    /**
     * Connects from an address of this node's own.
     *
     * @param host the name, {@code null} for the loopback address
     * @param port the port
     * @param localAddress this node's address, {@code null} for any
     * @param localPort this node's port, 0 for any
     * @throws IOException if it cannot be reached or the own address cannot be had
     */
    public NTMSocket(String host, int port, InetAddress localAddress, int localPort) throws IOException {
        this(NTMfw.getByName(host), port, localAddress, localPort);
    }

    /**
     * Connects from an address of this node's own.
     *
     * @param address the address
     * @param port the port
     * @param localAddress this node's address, {@code null} for any
     * @param localPort this node's port, 0 for any
     * @throws IOException if it cannot be reached or the own address cannot be had
     */
    public NTMSocket(InetAddress address, int port, InetAddress localAddress, int localPort) throws IOException {
        this();
        try {
            if (localAddress != null || localPort > 0) {
                bind(new InetSocketAddress(localAddress, localPort));
            }
            connect(new InetSocketAddress(address, port));
        } catch (IOException | IllegalArgumentException failure) {
            close();
            throw failure;
        }
    }

    @Override
    public void connect(SocketAddress endpoint) throws IOException {
        connect(endpoint, 0);
    }

    @Override
    public void connect(SocketAddress endpoint, int timeout) throws IOException {
        super.connect(Names.resolved(endpoint), timeout);
    }

    /**
     * How packets to the peer travel now.
     *
     * @return the path
     * @throws SocketException if the socket is not connected, or not to a node
     */
    public PathInfo getPathInfo() throws SocketException {
        return PathInfo.of(stream.path());
    }

    /** A channel of Java's own with the connection behind it; the socket's part is over then. */
    SocketChannel toChannel() throws IOException {
        return stream.toChannel();
    }
}
