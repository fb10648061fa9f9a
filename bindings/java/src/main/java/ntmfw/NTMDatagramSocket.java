package ntmfw;

import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.SocketException;
import java.net.UnknownHostException;
import ntmfw.internal.DatagramImpl;
import ntmfw.internal.Names;

/**
 * A {@link DatagramSocket} that reaches nodes by their names. Its first destination decides: if that is no node, it is a
 * socket of the operating system from then on.
 *
 * <p>There is no multicast between nodes, and no channel.
 */
public class NTMDatagramSocket extends DatagramSocket {
    private final DatagramImpl datagrams;

    /**
     * At a port that is free.
     *
     * @throws SocketException if there is none
     */
    public NTMDatagramSocket() throws SocketException {
        this(0);
    }

    /**
     * At a port.
     *
     * @param port the port, 0 for any that is free
     * @throws SocketException if it cannot be had
     */
    public NTMDatagramSocket(int port) throws SocketException {
        this(port, null);
    }

    /**
     * At a port of one address.
     *
     * @param port the port, 0 for any that is free
     * @param address an address of this node, {@code null} for all
     * @throws SocketException if it cannot be had
     */
    public NTMDatagramSocket(int port, InetAddress address) throws SocketException {
        this(new InetSocketAddress(address, port));
    }

    /**
     * At an address.
     *
     * @param address the address, {@code null} for a socket that is to be bound
     * @throws SocketException if it cannot be had
     */
    public NTMDatagramSocket(SocketAddress address) throws SocketException {
        this(new DatagramImpl());
        if (address != null) {
            try {
                bind(address);
            } catch (SocketException | IllegalArgumentException failure) {
                close();
                throw failure;
            }
        }
    }

    private NTMDatagramSocket(DatagramImpl datagrams) {
        super(datagrams);
        this.datagrams = datagrams;
    }

    @Override
    public void connect(SocketAddress address) throws SocketException {
        try {
            super.connect(Names.resolved(address));
        } catch (UnknownHostException nobody) {
            SocketException failure = new SocketException(nobody.getMessage());
            failure.initCause(nobody);
            throw failure;
        }
    }

    /**
     * How packets to the peer travel now.
     *
     * @return the path
     * @throws SocketException if the socket is not connected, or not to a node
     */
    public PathInfo getPathInfo() throws SocketException {
        return PathInfo.of(datagrams.path());
    }
}
